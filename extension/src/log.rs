//! The announcements and the ids of the log: the writer's part of the rule that no reader ever
//! skips an event (`sql/log.sql` has the reader's part, and says why the rule holds).

use std::cell::{Cell, RefCell};

use pgrx::{
    GucContext, GucFlags, GucRegistry, GucSetting, PgSqlErrorCode, pg_sys::panic::ErrorReport,
    prelude::*,
};
use tidings_core::{log::Sequence, ulid::Exhausted};

use crate::{
    error::error,
    head::newest_committed,
    lock::{announce, announce_to_older, has_announced, least_announced},
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
        c"Whether tidings.wake() notifies the channel \"tidings\".",
        c"Notifications only wake readers up; they never carry what the log says.",
        &NOTIFY,
        GucContext::Userset,
        GucFlags::default(),
    );
}

#[pg_extern(sql = false)]
fn notifies() -> bool {
    NOTIFY.get()
}

/// Begins to write to the log: announces, until the end of the transaction, that it may
/// take ids from a certain millisecond on, and starts a run of ids. The millisecond is that of
/// the clock, or that of the greatest committed id if the clock is behind it. One announcement serves a whole
/// transaction.
#[pg_extern(sql = false)]
fn begin_log() -> Result<(), ErrorReport> {
    let announced = ANNOUNCED.get();
    if announced == 0 || !has_announced(announced) {
        let newest = newest_committed();
        let ms = clock_ms().max(newest.map_or(0, |newest| newest.0.ms()));
        announce(ms);
        ANNOUNCED.set(ms);
    }
    // What was committed before the announcement is seen only now.
    start(newest_committed())
}

/// `_log_enter` of 0.1.0 to 0.4.0.
#[pg_extern(sql = false)]
fn enter() {
    let ms = clock_ms();
    if announce_to_older(ms, ANNOUNCED.get()) {
        ANNOUNCED.set(ms);
    }
}

/// The last id before the least millisecond that a writer has announced, or `newest` if that
/// is less.
#[pg_extern(sql = false)]
fn below_locks(newest: Ulid) -> Ulid {
    let last_before = |ms: u64| {
        let before = ms.checked_sub(1);
        let last = before.and_then(|ms| tidings_core::Ulid::new(ms, [0xff; 10]));
        last.unwrap_or(tidings_core::Ulid::MIN)
    };
    let last = least_announced().map_or(newest.0, last_before);
    Ulid(last.min(newest.0))
}

/// Starts a run of ids above `newest`, the greatest id that is committed, which has to be
/// read under the lock. No id lies before the millisecond of the lock. `_log_start` of 0.1.0 to
/// 0.4.0 calls it.
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

/// The position right above this one.
#[pg_extern(sql = false)]
fn above(id: Ulid) -> Result<Ulid, ErrorReport> {
    id.0.advance(1)
        .map(Ulid)
        .ok_or_else(|| exhausted(Exhausted))
}

fn exhausted(_: Exhausted) -> ErrorReport {
    error(
        PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        "the log has no id left",
    )
    .set_detail("The clock, or the greatest id in tidings.log_head, is at the end of the year 10889.")
    .set_hint("Correct the clock, and delete the events and the rows of tidings.log_head with ids from the future.")
}
