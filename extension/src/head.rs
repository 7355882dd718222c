//! The greatest position that is committed: the last row of `tidings.log_head`.
//!
//! Ingest reads it twice, each time in a new snapshot. A query of PL/pgSQL would cost more than
//! storing a row of that table does.

use std::num::NonZeroUsize;

use pgrx::{
    FromDatum,
    htup::heap_getattr_raw,
    pg_sys::{self, ScanDirection::BackwardScanDirection},
    prelude::*,
};

use crate::ulid::Ulid;

const SHARE: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;

/// The greatest committed position, or null if there is none, in a snapshot that is taken now,
/// whatever snapshot the statement has.
#[pg_extern(sql = false)]
pub(crate) fn newest_committed() -> Option<Ulid> {
    // SAFETY: the table and its key are opened before the scan and closed after it. The row is
    // read before the scan ends. An ERROR in between unwinds past no value that has
    // a destructor, and the end of the transaction closes what was opened.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"tidings".as_ptr(), false);
        let relation = |name: &std::ffi::CStr| pg_sys::get_relname_relid(name.as_ptr(), schema);
        let table = pg_sys::table_open(relation(c"log_head"), SHARE);
        let key = pg_sys::index_open(relation(c"log_head_pkey"), SHARE);
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
        let scan =
            pg_sys::systable_beginscan_ordered(table, key, snapshot, 0, std::ptr::null_mut());
        let row = pg_sys::systable_getnext_ordered(scan, BackwardScanDirection);
        let newest = if row.is_null() {
            None
        } else {
            // last_id is the first column.
            let last_id = heap_getattr_raw(row, NonZeroUsize::MIN, (*table).rd_att);
            last_id.and_then(|id| Ulid::from_datum(id, false))
        };
        pg_sys::systable_endscan_ordered(scan);
        pg_sys::UnregisterSnapshot(snapshot);
        pg_sys::index_close(key, SHARE);
        pg_sys::table_close(table, SHARE);
        newest
    }
}
