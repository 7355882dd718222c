//! The locks by which writers announce the ids that they will take.
//!
//! A writer locks a millisecond in share mode until its transaction ends, and every range of
//! milliseconds around it: 64 of them, 64 times 64, up to all of time. A reader that looks for
//! the least locked millisecond goes down from the greatest range, at each step to the first
//! part that is locked. It asks for some hundred locks by name, and none if nobody writes. A
//! look into the list of all locks would cost more the more tables the cluster's other
//! sessions read.

use pgrx::pg_sys;
use tidings_core::log::{KIND, TAG};

/// Ranges of one step contain 2 to the power of this many of the step below.
const BITS: u32 = 6;
/// Number of steps from a millisecond to all 2^48 of them.
const STEPS: u16 = 8;
const SHARE: pg_sys::LOCKMODE = pg_sys::ShareLock as pg_sys::LOCKMODE;

/// A millisecond, or a range of them.
struct Range {
    /// The millisecond without its last bits, [`BITS`] for each step.
    number: u64,
    step: u16,
}

impl Range {
    fn around(ms: u64, step: u16) -> Self {
        Self {
            number: ms >> (BITS * u32::from(step)),
            step,
        }
    }

    fn is_locked(&self) -> bool {
        // SAFETY: the tag lives as long as the call, which looks for one lock and counts those
        // who hold it. Nobody waits for a lock that is only taken in share mode.
        unsafe { pg_sys::LockWaiterCount(&tag(self.number, KIND + self.step)) > 0 }
    }
}

/// Locks this millisecond until the transaction ends.
pub(crate) fn announce(ms: u64) {
    // The millisecond comes first: whoever finds a range locked finds a part of it locked too,
    // unless the transaction has ended meanwhile.
    for step in 0..=STEPS {
        let range = Range::around(ms, step);
        acquire(&tag(range.number, KIND + step));
    }
}

/// Whether this transaction has announced this millisecond. The lock manager is asked, because
/// the locks are lost if a subtransaction that took them was rolled back.
pub(crate) fn has_announced(ms: u64) -> bool {
    is_held(&tag(ms, KIND))
}

/// The least millisecond that a transaction of this database has announced, this one included.
///
/// An announcement that was made before the call, and still holds at its end, is not less.
pub(crate) fn least_announced() -> Option<u64> {
    let all = Range::around(0, STEPS);
    while all.is_locked() {
        if let Some(ms) = first_locked() {
            return Some(ms);
        }
        // The transaction whose locks led there has ended.
        pgrx::check_for_interrupts!();
    }
    None
}

fn first_locked() -> Option<u64> {
    (0..STEPS).rev().try_fold(0, |number: u64, step| {
        let first = number << BITS;
        (first..first + (1 << BITS)).find(|&number| Range { number, step }.is_locked())
    })
}

/// Locks this millisecond as SQL of 0.1.0 to 0.4.0 does, unless this transaction has locked
/// the other one so.
pub(crate) fn announce_to_older(ms: u64, before: u64) -> bool {
    const ONE_INT8: u16 = 1;
    let is_new = before == 0 || !is_held(&tag(before, ONE_INT8));
    if is_new {
        acquire(&tag(ms, ONE_INT8));
    }
    is_new
}

fn acquire(tag: &pg_sys::LOCKTAG) {
    // SAFETY: the tag lives as long as the call, which may raise an ERROR. The lock belongs to
    // the transaction.
    unsafe { pg_sys::LockAcquire(tag, SHARE, false, false) };
}

/// The advisory lock of this number. A millisecond's is of the kind [`KIND`], a range's of the
/// kinds after it.
fn tag(number: u64, kind: u16) -> pg_sys::LOCKTAG {
    let key = TAG << 48 | number;
    // SAFETY: reading a global that is set before any function is called.
    let database = unsafe { pg_sys::MyDatabaseId };
    pg_sys::LOCKTAG {
        locktag_field1: database.to_u32(),
        locktag_field2: (key >> 32) as u32,
        locktag_field3: (key & 0xffff_ffff) as u32,
        locktag_field4: kind,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    }
}

/// Whether this transaction holds this lock.
fn is_held(tag: &pg_sys::LOCKTAG) -> bool {
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
