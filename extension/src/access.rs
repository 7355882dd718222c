//! The conditions under which a transaction can write or read the log, and the limit on its
//! idle time.

use std::num::NonZeroUsize;

use pgrx::{
    FromDatum, PgSqlErrorCode,
    htup::heap_getattr_raw,
    pg_sys::{self, Oid, panic::ErrorReport},
    prelude::*,
};

use crate::error::error;

unsafe extern "C-unwind" {
    fn get_partition_parent(relation: Oid, even_if_detached: bool) -> Oid;
}

/// `pg_catalog.pg_subscription_rel`, which has the same number in every server.
const SUBSCRIBED: Oid = Oid::from_u32(6102);
const SHARE: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;

/// Raises an error unless the log can be used in this transaction, on this server.
#[pg_extern(sql = false)]
fn require_log_access() -> Result<(), ErrorReport> {
    // SAFETY: reading a global that belongs to the transaction.
    let isolation = unsafe { pg_sys::XactIsoLevel } as u32;
    if isolation >= pg_sys::XACT_REPEATABLE_READ {
        let name = match isolation {
            pg_sys::XACT_REPEATABLE_READ => "REPEATABLE READ",
            _ => "SERIALIZABLE",
        };
        return Err(error(
            PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION,
            format!("the log cannot be used in a {name} transaction"),
        )
        .set_detail("The snapshot of the transaction is older than the locks that show which events are complete.")
        .set_hint("Use READ COMMITTED."));
    }
    // SAFETY: a look at the state of the server.
    if unsafe { pg_sys::RecoveryInProgress() } {
        return Err(error(
            PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            "the log cannot be followed on a standby",
        )
        .set_detail("The locks that show which events are complete exist only on the primary.")
        .set_hint("Connect to the primary."));
    }
    if is_subscribed() {
        return Err(error(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "the log cannot be used where a subscription fills it",
        )
        .set_detail("The events of the publisher arrive without the locks that show which of them are complete.")
        .set_hint("Connect to the publisher. After DROP SUBSCRIPTION this database has a log of its own."));
    }
    Ok(())
}

/// Returns whether a subscription fills the events, one of their partitions, or the log.
fn is_subscribed() -> bool {
    // SAFETY: the catalog is opened before the scan and closed after it, and a row is read
    // before the next one. An ERROR in between unwinds past no value that has a
    // destructor, and the end of the transaction closes what was opened.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"tidings".as_ptr(), false);
        let event = pg_sys::get_relname_relid(c"event".as_ptr(), schema);
        let log_head = pg_sys::get_relname_relid(c"log_head".as_ptr(), schema);
        let is_ours = |relation: Oid| {
            relation == event
                || relation == log_head
                || pg_sys::get_rel_relispartition(relation) && parent(relation) == event
        };
        let catalog = pg_sys::table_open(SUBSCRIBED, SHARE);
        // The catalog is nearly always empty, so an index would not help.
        let scan = pg_sys::systable_beginscan(
            catalog,
            Oid::INVALID,
            false,
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
        );
        let mut found = false;
        while !found {
            let row = pg_sys::systable_getnext(scan);
            if row.is_null() {
                break;
            }
            // srrelid is the second column, after srsubid.
            let relation = heap_getattr_raw(row, SECOND, (*catalog).rd_att);
            found = relation
                .and_then(|it| Oid::from_datum(it, false))
                .is_some_and(is_ours);
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalog, SHARE);
        found
    }
}

/// The table that a relation is a partition of.
fn parent(partition: Oid) -> Oid {
    // SAFETY: if the relation is no longer a partition, the ERROR becomes a panic, as in pgrx's
    // functions.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| get_partition_parent(partition, true)) }
}

const SECOND: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// Lets this transaction be idle for at most 10 s, because readers wait for a transaction that
/// has taken ids.
#[pg_extern(sql = false)]
fn bound_idle() {
    // SAFETY: reading a global that belongs to the session.
    let limit = unsafe { pg_sys::IdleInTransactionSessionTimeout };
    if (1..=10_000).contains(&limit) {
        return;
    }
    // SAFETY: both are constants. The setting is the transaction's.
    unsafe {
        pg_sys::set_config_option(
            c"idle_in_transaction_session_timeout".as_ptr(),
            c"10s".as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_LOCAL,
            true,
            0,
            false,
        );
    }
}
