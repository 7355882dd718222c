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

/// Announces, by a lock that lasts until the end of the transaction, that ids from this
/// millisecond on may be taken: that of the clock, or of `newest`, the greatest committed
/// id, if the clock is behind it.
///
/// One lock serves a whole transaction: if it is still held, no other is taken. The lock
/// manager is asked, because the lock is lost if a subtransaction that took it was rolled
/// back.
#[pg_extern(sql = false)]
fn lock_log(newest: Option<Ulid>) {
    lock(
        clock_ms().max(newest.map_or(0, |newest| newest.0.ms())),
        KIND,
    );
}

/// Locks this millisecond, unless the transaction holds the lock of an earlier one.
pub(crate) fn lock(ms: u64, kind: u16) {
    let announced = ANNOUNCED.get();
    if announced != 0 && holds(&tag(announced, kind)) {
        return;
    }
    // SAFETY: the tag lives as long as the call, which may raise an ERROR. The lock belongs
    // to the transaction.
    unsafe { pg_sys::LockAcquire(&tag(ms, kind), SHARE, false, false) };
    ANNOUNCED.set(ms);
}

/// The last id before the least millisecond that a writer has locked, or `newest` if that is
/// less.
#[pg_extern(sql = false)]
fn below_locks(newest: Ulid) -> Ulid {
    let least = least_lock().and_then(|ms| ms.checked_sub(1));
    let last = least.and_then(|ms| tidings_core::Ulid::new(ms, [0xff; 10]));
    Ulid(last.map_or(newest.0, |last| last.min(newest.0)))
}

/// The least millisecond that a transaction of this database has locked.
fn least_lock() -> Option<u64> {
    // SAFETY: the function returns a copy of the lock table in the current memory context,
    // whose array has the stated number of elements.
    let locks = unsafe {
        let data = &*pg_sys::GetLockStatusData();
        let elements = usize::try_from(data.nelements).unwrap_or_default();
        if elements == 0 {
            return None;
        }
        std::slice::from_raw_parts(data.locks, elements)
    };
    let granted = locks.iter().filter(|lock| lock.holdMask != 0);
    granted.filter_map(|lock| milliseconds(&lock.locktag)).min()
}

/// Starts a run of ids above `newest`, the greatest id that is committed, which has to be
/// read under the lock. No id lies before the millisecond of the lock.
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

const SHARE: pg_sys::LOCKMODE = pg_sys::ShareLock as pg_sys::LOCKMODE;
/// The kind of the log's locks. SQL's functions can take the kinds 1 and 2 only, so that no
/// session can hold readers back by a lock of its own.
const KIND: u16 = 3;

/// The lock of this millisecond, of one of the kinds of advisory locks.
fn tag(ms: u64, kind: u16) -> pg_sys::LOCKTAG {
    let key = TAG << 48 | ms;
    pg_sys::LOCKTAG {
        locktag_field1: database(),
        locktag_field2: (key >> 32) as u32,
        locktag_field3: (key & 0xffff_ffff) as u32,
        locktag_field4: kind,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    }
}

/// The millisecond of a lock of the log.
fn milliseconds(tag: &pg_sys::LOCKTAG) -> Option<u64> {
    let key = u64::from(tag.locktag_field2) << 32 | u64::from(tag.locktag_field3);
    let is_ours = tag.locktag_type == pg_sys::LockTagType::LOCKTAG_ADVISORY as u8
        && tag.locktag_field4 == KIND
        && tag.locktag_field1 == database()
        && key >> 48 == TAG;
    is_ours.then_some(key & ((1 << 48) - 1))
}

fn database() -> u32 {
    // SAFETY: reading a global that is set before any function is called.
    unsafe { pg_sys::MyDatabaseId }.to_u32()
}

/// Whether this transaction holds this lock.
fn holds(tag: &pg_sys::LOCKTAG) -> bool {
    // SAFETY: the tag lives as long as the call, which only looks into local memory.
    #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
    unsafe {
        pg_sys::LockHeldByMe(tag, SHARE)
    }
    // SAFETY: as above; a stronger lock would not be ours.
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    unsafe {
        pg_sys::LockHeldByMe(tag, SHARE, false)
    }
}

fn exhausted(_: Exhausted) -> ErrorReport {
    error(
        PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        "the log has no id left",
    )
    .set_detail("The clock, or the greatest id in tidings.log_head, is at the end of the year 10889.")
    .set_hint("Correct the clock, and delete the events and the rows of tidings.log_head with ids from the future.")
}
