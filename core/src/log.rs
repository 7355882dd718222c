//! The ids that give events their positions in the log.
//!
//! A transaction takes a run of ids: consecutive ULIDs from the millisecond in which
//! it holds the log's lock. Two rules make the log free of gaps whatever the clocks do:
//!
//! - no id lies below the millisecond that the transaction's lock announces, so that a
//!   reader which stops below the lock skips none of them;
//! - every id lies above all ids whose commit was visible once the lock was held, so that
//!   a reader which stops at the greatest id that it saw skips none of them either.
//!
//! The clock is in neither rule: it only chooses where a run starts.

use crate::ulid::{Exhausted, Ulid};

/// Upper 16 bits of the key of the advisory lock by which a transaction announces its ids;
/// the lower 48 are milliseconds. SQL repeats them where it looks for these locks.
pub const TAG: u64 = 0x7469;

/// The kind of the advisory locks that announce a millisecond (`objsubid` in `pg_locks`). The
/// functions of SQL can take the kinds 1 and 2 only, so that no session can hold readers back
/// by a lock of its own.
pub const KIND: u16 = 3;

/// Clears the top bit of the 80, so that a run can count up without leaving its
/// millisecond.
const START_MASK: u8 = 0x7f;

/// The ids of one backend's transactions, one run after another.
#[derive(Debug, Default)]
pub struct Sequence {
    last: Option<Ulid>,
}

impl Sequence {
    pub const fn new() -> Self {
        Self { last: None }
    }

    /// Starts a run at `ms`, which is not before the millisecond of the lock. `newest` is
    /// the greatest id that is committed, read under the lock.
    ///
    /// Runs of concurrent transactions must not overlap, because ids are positions. A run
    /// therefore starts at 79 random bits, or, if `newest` is not before `ms`, up to 64
    /// random bits above `newest`. The id right above `newest` is never given, so that it
    /// can stand for the horizon.
    pub fn start(
        &mut self,
        ms: u64,
        newest: Option<Ulid>,
        random: [u8; 10],
    ) -> Result<(), Exhausted> {
        let [first, rest @ ..] = random;
        let start = match newest {
            Some(newest) if newest.ms() >= ms => {
                let [_, step @ ..] = rest;
                newest.advance(u128::from(u64::from_be_bytes(step)) + 1)
            }
            _ => {
                let [a, b, c, d, e, f, g, h, i] = rest;
                Ulid::new(ms, [first & START_MASK, a, b, c, d, e, f, g, h, i])
            }
        }
        .ok_or(Exhausted)?;
        self.last = Some(match self.last {
            // Runs of one millisecond are in order, also those that stored no event.
            Some(last) if last.ms() <= start.ms() => last.max(start),
            // A clock was ahead, and what it led to was not committed.
            _ => start,
        });
        Ok(())
    }

    /// The next id of the run.
    pub fn next_id(&mut self) -> Result<Ulid, Exhausted> {
        let next = self
            .last
            .and_then(|last| last.advance(1))
            .ok_or(Exhausted)?;
        self.last = Some(next);
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::ops::Range;

    /// Few, so that clocks and ids often meet in one.
    const MS: Range<u64> = 0..4;

    proptest! {
        #[test]
        fn ids_grow_and_stay_above_the_clock_and_the_newest(
            runs in prop::collection::vec(
                (MS, prop::option::of((MS, any::<[u8; 10]>())), any::<[u8; 10]>(), 1..50usize), 1..20),
        ) {
            let mut sequence = Sequence::new();
            let mut before = None;
            for (ms, newest, random, count) in runs {
                let newest = newest.and_then(|(ms, random)| Ulid::new(ms, random));
                sequence.start(ms, newest, random).unwrap();
                for _ in 0..count {
                    let id = sequence.next_id().unwrap();
                    prop_assert!(before.is_none_or(|before: Ulid| before < id || before.ms() > ms));
                    prop_assert!(id >= Ulid::at(ms).unwrap());
                    prop_assert!(Some(id) > newest);
                    prop_assert!(newest.is_none_or(|newest| Some(id) > newest.advance(1)));
                    before = Some(id);
                }
            }
        }
    }

    #[test]
    fn a_run_has_room_in_its_millisecond() {
        let mut sequence = Sequence::new();
        sequence.start(7, None, [0xff; 10]).unwrap();
        for _ in 0..100_000 {
            assert_eq!(sequence.next_id().unwrap().ms(), 7);
        }
    }

    #[test]
    fn nothing_is_given_before_a_start_or_past_the_end() {
        assert_eq!(Sequence::new().next_id(), Err(Exhausted));
        let mut sequence = Sequence::new();
        assert_eq!(sequence.start(0, Some(Ulid::MAX), [1; 10]), Err(Exhausted));
    }
}
