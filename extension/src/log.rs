//! The lock and the ids of the log: the writer's part of the rule that no reader ever
//! skips an event (`sql/log.sql` has the reader's part, and says why the rule holds).

use std::cell::{Cell, RefCell};

use pgrx::{
    GucContext, GucFlags, GucRegistry, GucSetting, PgSqlErrorCode,
    pg_sys::{self, panic::ErrorReport},
    prelude::*,
};
use tidings_core::{
    log::{Sequence, TAG},
    ulid::Exhausted,
};

use crate::{
    error::error,
    ulid::{Ulid, clock_ms, random},
};

thread_local! {
    /// The millisecond that this backend announced last.
    static ANNOUNCED: Cell<u64> = const { Cell::new(0) };
    static SEQUENCE: RefCell<Sequence> = const { RefCell::new(Sequence::new()) };
}

static NOTIFY: GucSetting<bool> = GucSetting::<bool>::new(true);

pub(crate) fn register_settings() {
    GucRegistry::define_bool_guc(
        c"tidings.notify",
        c"Whether a transaction that stored events notifies the channel \"tidings\".",
        c"Notifications only wake readers up; they never carry what the log says. \
          Turning them off removes a lock that every notifying commit takes.",
        &NOTIFY,
        GucContext::Userset,
        GucFlags::default(),
    );
}

#[pg_extern(sql = false)]
fn notifies() -> bool {
    NOTIFY.get()
}

#[pg_extern(sql = false)]
fn clock() -> i64 {
    i64::try_from(clock_ms()).unwrap_or(i64::MAX)
}

/// Announces, by a lock that lasts until the end of the transaction, that ids from this
/// millisecond on may be taken.
///
/// One lock serves a whole transaction: if it is still held, no other is taken. The lock
/// manager is asked, because the lock is lost if a subtransaction that took it was rolled
/// back.
#[pg_extern(sql = false)]
fn enter() {
    let announced = ANNOUNCED.get();
    if announced != 0 && holds(key(announced)) {
        return;
    }
    let now = clock_ms();
    // SAFETY: the function takes one int8; it may raise an ERROR, which pgrx carries on.
    unsafe {
        pgrx::direct_function_call_as_datum(
            pg_sys::pg_advisory_xact_lock_shared_int8,
            &[Some(pg_sys::Datum::from(key(now) as i64))],
        );
    }
    ANNOUNCED.set(now);
}

/// Starts a run of ids above `newest`, the greatest id that is committed.
///
/// The clock is read a second time here, under the lock: a reader that did not see the
/// lock has read its own clock before.
#[pg_extern(sql = false)]
fn start(newest: Option<Ulid>) -> Result<(), ErrorReport> {
    let now = clock_ms().max(ANNOUNCED.get());
    let random = random()?;
    SEQUENCE
        .with_borrow_mut(|sequence| sequence.start(now, newest.map(|newest| newest.0), random))
        .map_err(exhausted)
}

#[pg_extern(sql = false)]
fn next_id() -> Result<Ulid, ErrorReport> {
    SEQUENCE
        .with_borrow_mut(Sequence::next_id)
        .map(Ulid)
        .map_err(exhausted)
}

const fn key(ms: u64) -> u64 {
    TAG << 48 | ms
}

/// Whether this transaction holds the lock of this key.
fn holds(key: u64) -> bool {
    // SAFETY: reading a global that is set before any function is called.
    let database = unsafe { pg_sys::MyDatabaseId };
    let tag = pg_sys::LOCKTAG {
        locktag_field1: database.to_u32(),
        locktag_field2: (key >> 32) as u32,
        locktag_field3: (key & 0xffff_ffff) as u32,
        locktag_field4: 1, // a key of one int8, as lockfuncs.c sets it
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    };
    let mode = pg_sys::ShareLock as pg_sys::LOCKMODE;
    // SAFETY: the tag lives as long as the call, which only looks into local memory.
    #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
    unsafe {
        pg_sys::LockHeldByMe(&tag, mode)
    }
    // SAFETY: as above; a stronger lock would not be ours.
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    unsafe {
        pg_sys::LockHeldByMe(&tag, mode, false)
    }
}

fn exhausted(_: Exhausted) -> ErrorReport {
    error(
        PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        "the log has no id left",
    )
    .set_detail("The clock, or the greatest id in tidings.event, is at the end of the year 10889.")
    .set_hint("Correct the clock, and delete the events with ids from the future.")
}
