//! State of the session that `sql/consumer.sql` uses: the last id of a poll, and the session's
//! start.

use std::cell::Cell;

use pgrx::{
    datum::TimestampWithTimeZone,
    pg_sys::{self, Datum, panic::ErrorReport},
    prelude::*,
};

use crate::{
    compare::c_function,
    ulid::{POSTGRES_EPOCH, Ulid, timestamptz},
};

thread_local! {
    /// The id of the last event that a poll returned.
    static NOTED: Cell<[u8; 16]> = const { Cell::new([0; 16]) };
}

// The server calls this function for each event of a page, so it must be cheap: it has no guard.
c_function!(note_id, pg_finfo_note_id, |fcinfo| {
    let id = (*(*fcinfo).args.as_ptr()).value;
    NOTED.set(id.cast_mut_ptr::<[u8; 16]>().read_unaligned());
    Datum::from(true)
});

/// The id that `note_id` was last called with.
#[pg_extern(sql = false)]
fn noted_id() -> Ulid {
    Ulid(tidings_core::Ulid::from_bytes(NOTED.get()))
}

/// Time at which this process started, as in `pg_stat_activity.backend_start`.
#[pg_extern(sql = false)]
fn session_start() -> Result<TimestampWithTimeZone, ErrorReport> {
    // SAFETY: reading a global that is set when the process starts.
    let started = unsafe { pg_sys::MyStartTimestamp };
    timestamptz(started.saturating_add(POSTGRES_EPOCH))
}
