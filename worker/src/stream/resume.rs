//! Where a stream is resumed: after its stored cursor, or `overlap` before it.
//!
//! Ids that several hosts generate may arrive out of order, so that an event may arrive
//! later than the cursor's event and have a smaller id. A stream therefore re-reads the
//! last `overlap`; an event that arrives twice is stored once. The stored cursor,
//! however, follows what is read, also back in time. A stream that rewound at every
//! connection, and read less in each than the overlap contains, would make no progress.
//! Hence:
//!
//! - After the end of a connection that brought events, and at the first connection, a
//!   re-read is owed, because an event with an older id may have been added meanwhile.
//!   The re-read goes back to `overlap` before the position at the first end for which
//!   one is owed.
//! - The re-read is due at the first connection, after a failure, and when a few
//!   consecutive connections bring nothing. While one clean end follows another, it is
//!   due only when the stream has advanced by more than the overlap, in the time of its
//!   events, so that no event is read more than four times.
//! - While a re-read has not passed the cursor from which it rewound (its mark), there is
//!   no further re-read: the next one waits until the mark is passed, or until the mark
//!   is reached and a connection from there brings nothing. After a re-read that ends
//!   cleanly none is owed until a new event has arrived, because a quiet stream would
//!   otherwise be re-read for ever.
//! - A cursor that is not a ULID has no time by which to go back, and is sent as it is.
//! - A provider may no longer replay what comes after the earlier cursor, and still replay
//!   what comes after the stored one. The stream then goes on from the stored cursor, and
//!   never again goes back that far.

use std::time::Duration;

use tidings_core::Ulid;

/// Number of consecutive connections without events after which a stream counts as quiet.
const QUIET: u32 = 5;

/// The state of these decisions for one stream.
#[derive(Debug)]
pub(crate) struct Overlap {
    overlap: Duration,
    /// Whether a re-read is owed after the last end.
    owes: bool,
    /// Position of the stream at the first end after which a re-read is owed.
    since: Option<Ulid>,
    /// Whether the debt has another cause than the clean end of a re-read.
    is_owed: bool,
    failed: bool,
    mark: Option<Ulid>,
    /// Number of consecutive connections without events.
    idle: u32,
    /// The earlier cursor, if the last one that was sent was not the stored one.
    earlier: Option<Ulid>,
    /// The latest of the earlier cursors that had expired.
    expired: Option<Ulid>,
}

impl Overlap {
    pub(crate) fn new(overlap: Duration) -> Self {
        Self {
            overlap,
            owes: true,
            since: None,
            is_owed: true,
            failed: true,
            mark: None,
            idle: 0,
            earlier: None,
            expired: None,
        }
    }

    /// Records that a connection ended after so many events. It may have `failed` without
    /// an error.
    pub(crate) fn ended(&mut self, failed: bool, events: usize) {
        self.idle = if events > 0 {
            0
        } else {
            self.idle.saturating_add(1)
        };
        self.owes |= failed || events > 0;
        self.failed |= failed;
        self.is_owed |= failed;
    }

    /// Whether the last cursor that was sent is an earlier one than the stored one.
    pub(crate) fn went_back(&self) -> bool {
        self.earlier.is_some()
    }

    /// Records that the earlier cursor which was sent has expired: the stored one, which
    /// comes next then, may be as good as ever.
    pub(crate) fn expired(&mut self) {
        if let Some(earlier) = self.earlier.take() {
            self.expired = self.expired.max(Some(earlier));
            self.mark = None;
        }
    }

    /// The cursor to send, given the stored cursor.
    pub(crate) fn cursor(&mut self, stored: Option<String>) -> Option<String> {
        self.earlier = None;
        let Some(stored) = stored else {
            // There is no position yet from which to go back.
            self.owes = false;
            self.settle();
            return None;
        };
        let Ok(position) = stored.parse::<Ulid>() else {
            return Some(stored);
        };
        if std::mem::take(&mut self.owes) {
            // During a re-read the position of the stream is its mark.
            let furthest = self.mark.map_or(position, |mark| mark.max(position));
            self.since.get_or_insert(furthest);
            self.is_owed |= self.mark.is_none_or(|mark| position > mark);
        }
        let passed = |mark| position > mark || (position == mark && self.idle > 0);
        if self.mark.is_some_and(passed) {
            self.mark = None;
        }
        if self.mark.is_none() && self.is_owed {
            self.earlier = self.rewind(position);
        }
        Some(self.earlier.map_or(stored, |earlier| earlier.to_string()))
    }

    fn rewind(&mut self, position: Ulid) -> Option<Ulid> {
        let since = self.since?.ms();
        let overlap = u64::try_from(self.overlap.as_millis()).unwrap_or(u64::MAX);
        let further = position.ms() >= since.saturating_add(overlap);
        if overlap == 0 || !(self.failed || self.idle >= QUIET || further) {
            return None;
        }
        let earlier = Ulid::at(since.saturating_sub(overlap))?;
        self.settle();
        if self.expired.is_some_and(|expired| earlier <= expired) {
            return None;
        }
        self.mark = Some(position);
        Some(earlier)
    }

    fn settle(&mut self) {
        (self.since, self.is_owed, self.failed) = (None, false, false);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const CURSOR: &str = "01ARYZ6S41TSV4RRFFQ69G5FAV";
    const CURSOR_MS: u64 = 1_469_918_176_385;

    fn next(overlap: &mut Overlap, stored: &str) -> String {
        overlap.cursor(Some(stored.to_owned())).unwrap()
    }

    fn ms(cursor: &str) -> u64 {
        cursor.parse::<Ulid>().unwrap().ms()
    }

    #[test]
    fn the_first_connection_rewinds_and_a_clean_end_does_not_at_once() {
        let mut overlap = Overlap::new(MINUTE);
        let earlier = next(&mut overlap, CURSOR);
        assert_eq!(ms(&earlier), CURSOR_MS - 60_000);
        assert!(earlier.as_str() < CURSOR);
        assert_eq!(next(&mut overlap, CURSOR), CURSOR);
        overlap.ended(true, 0);
        assert_eq!(ms(&next(&mut overlap, CURSOR)), CURSOR_MS - 60_000);
    }

    #[test]
    fn without_an_overlap_or_a_time_nothing_rewinds() {
        assert_eq!(next(&mut Overlap::new(Duration::ZERO), CURSOR), CURSOR);
        assert_eq!(next(&mut Overlap::new(MINUTE), "evt_17"), "evt_17");
        let beginning = next(&mut Overlap::new(Duration::MAX), CURSOR);
        assert_eq!(beginning, "00000000000000000000000000");
        let mut from_the_start = Overlap::new(MINUTE);
        assert_eq!(from_the_start.cursor(None), None);
        assert_eq!(next(&mut from_the_start, CURSOR), CURSOR);
    }

    #[test]
    fn a_re_read_is_not_interrupted_by_another_and_the_owed_one_follows() {
        let at = |ms| Ulid::at(ms).unwrap().to_string();
        let mut overlap = Overlap::new(MINUTE);
        assert_eq!(next(&mut overlap, &at(1_000_000)), at(940_000));
        for behind in [950_000, 960_000, 999_999, 1_000_000] {
            overlap.ended(true, 1);
            assert_eq!(next(&mut overlap, &at(behind)), at(behind));
        }
        overlap.ended(true, 1);
        assert_eq!(next(&mut overlap, &at(1_000_001)), at(940_000), "owed");
    }

    #[test]
    fn clean_ends_rewind_when_the_stream_has_come_further_than_the_overlap() {
        let at = |ms| Ulid::at(ms).unwrap().to_string();
        let mut overlap = Overlap::new(MINUTE);
        assert_eq!(next(&mut overlap, &at(1_000_000)), at(940_000));
        for further in [1_001_000, 1_030_000, 1_060_999] {
            overlap.ended(false, 1);
            assert_eq!(next(&mut overlap, &at(further)), at(further));
        }
        overlap.ended(false, 1);
        let earlier = at(1_001_000 - 60_000);
        assert_eq!(
            next(&mut overlap, &at(1_061_000)),
            earlier,
            "since the first"
        );
    }

    #[test]
    fn a_quiet_stream_rewinds_once() {
        let at = |ms| Ulid::at(ms).unwrap().to_string();
        let mut overlap = Overlap::new(MINUTE);
        assert_eq!(next(&mut overlap, &at(1_000_000)), at(940_000));
        overlap.ended(false, 9);
        assert_eq!(next(&mut overlap, &at(1_001_000)), at(1_001_000));
        for _ in 1..QUIET {
            overlap.ended(false, 0);
            assert_eq!(next(&mut overlap, &at(1_001_000)), at(1_001_000));
        }
        overlap.ended(false, 0);
        assert_eq!(next(&mut overlap, &at(1_001_000)), at(941_000));
        overlap.ended(false, 9);
        for _ in 0..2 * QUIET {
            assert_eq!(next(&mut overlap, &at(1_001_000)), at(1_001_000), "once");
            overlap.ended(false, 0);
        }
    }

    #[test]
    fn a_re_read_that_never_began_is_begun_again() {
        let mut overlap = Overlap::new(MINUTE);
        let earlier = next(&mut overlap, CURSOR);
        overlap.ended(true, 0);
        assert_eq!(next(&mut overlap, CURSOR), earlier);
        overlap.ended(true, 5);
        assert_eq!(next(&mut overlap, CURSOR), CURSOR, "it is back");
        overlap.ended(true, 0);
        assert_eq!(
            next(&mut overlap, CURSOR),
            earlier,
            "and nothing is behind it"
        );
    }

    #[test]
    fn an_earlier_cursor_that_has_expired_is_followed_by_the_stored_one() {
        let at = |ms| Ulid::at(ms).unwrap().to_string();
        let mut overlap = Overlap::new(MINUTE);
        assert_eq!(next(&mut overlap, &at(1_000_000)), at(940_000));
        assert!(overlap.went_back());
        overlap.expired();
        assert_eq!(next(&mut overlap, &at(1_000_000)), at(1_000_000));
        assert!(!overlap.went_back());
        // However often the stream breaks there.
        for _ in 0..3 {
            overlap.ended(true, 0);
            assert_eq!(next(&mut overlap, &at(1_000_000)), at(1_000_000));
        }
        // Later events are read again as before.
        overlap.ended(true, 1);
        assert_eq!(next(&mut overlap, &at(1_000_001)), at(940_001));
        assert!(overlap.went_back());
    }

    #[test]
    fn a_stored_cursor_is_no_earlier_one() {
        let mut overlap = Overlap::new(Duration::ZERO);
        assert_eq!(next(&mut overlap, CURSOR), CURSOR);
        assert!(!overlap.went_back());
        let mut overlap = Overlap::new(MINUTE);
        assert_eq!(overlap.cursor(None), None);
        assert!(!overlap.went_back());
        assert_eq!(next(&mut overlap, "evt_17"), "evt_17");
        assert!(!overlap.went_back());
    }

    /// Connections: how many events each brings, and whether it then fails.
    fn sessions() -> impl Strategy<Value = Vec<(usize, bool)>> {
        prop::collection::vec((1_usize..8, any::<bool>()), 1..120)
    }

    fn gaps() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec(1_u64..2_000, 1..150)
    }

    /// The events that a stream has read, by their numbers.
    #[derive(Default)]
    struct Story {
        read: Vec<usize>,
        /// How much had been read at each end of a connection that brought events.
        ends: Vec<usize>,
        /// How much had been read at each rewind, and the event that it went back from.
        rewinds: Vec<(usize, usize)>,
    }

    impl Story {
        fn furthest(&self, of: usize) -> usize {
            self.read[..of].iter().copied().max().unwrap()
        }
    }

    /// When each event occurred, from the milliseconds between them.
    fn times(gaps: &[u64]) -> Vec<u64> {
        let add = |clock: &mut u64, gap: &u64| {
            *clock += gap;
            Some(*clock)
        };
        gaps.iter().scan(10_000, add).collect()
    }

    /// Reads until nothing comes any more, also of what is owed, or there were far too many.
    fn read(
        gaps: &[u64],
        sessions: impl Iterator<Item = (usize, bool)>,
        overlap: Duration,
    ) -> Story {
        let times = times(gaps).into_iter();
        let events: Vec<Ulid> = times.map(|ms| Ulid::at(ms).unwrap()).collect();
        let mut decision = Overlap::new(overlap);
        let (mut story, mut stored, mut idle) = (Story::default(), None::<usize>, 0);
        for (length, fails) in sessions.take(100_000) {
            let cursor = stored.map(|n| events[n].to_string());
            let from = decision.cursor(cursor.clone());
            if let (Some(n), true) = (stored, from != cursor) {
                story.rewinds.push((story.read.len(), n));
            }
            let after = from.map(|from| from.parse::<Ulid>().unwrap());
            let first = events.partition_point(|event| after.is_some_and(|after| *event <= after));
            let session = first..events.len().min(first + length);
            let Some(last) = session.clone().last() else {
                decision.ended(false, 0);
                idle += 1;
                if idle > 2 * QUIET {
                    break;
                }
                continue;
            };
            idle = 0;
            decision.ended(fails, session.len());
            story.read.extend(session);
            stored = Some(last);
            story.ends.push(story.read.len());
        }
        story
    }

    proptest! {
        #[test]
        fn any_sessions_get_to_the_end(
            gaps in gaps(),
            sessions in sessions(),
            overlap in 0_u64..100_000,
        ) {
            let sessions = sessions.into_iter().chain(std::iter::repeat((3, false)));
            let mut all = read(&gaps, sessions, Duration::from_millis(overlap)).read;
            all.sort_unstable();
            all.dedup();
            prop_assert_eq!(all, (0..gaps.len()).collect::<Vec<_>>());
        }

        /// If every connection brings one event and fails, each re-read still ends
        /// further than the one before.
        #[test]
        fn failures_alone_get_further(
            gaps in prop::collection::vec(1_u64..2_000, 40..60),
            overlap in 0_u64..100_000,
        ) {
            let sessions = std::iter::repeat_n((1, true), 60 * 60);
            let story = read(&gaps, sessions, Duration::from_millis(overlap));
            prop_assert!(story.read.contains(&(gaps.len() - 1)));
        }

        /// However short the connections and long the overlap, clean ends cost little.
        #[test]
        fn clean_ends_read_no_event_more_than_four_times(
            gaps in gaps(),
            lengths in prop::collection::vec(1_usize..8, 1..120),
            overlap in 0_u64..100_000,
        ) {
            let sessions = lengths.into_iter().map(|length| (length, false));
            let sessions = sessions.chain(std::iter::repeat((1, false)));
            let story = read(&gaps, sessions, Duration::from_millis(overlap));
            for event in 0..gaps.len() {
                let times = story.read.iter().filter(|read| **read == event).count();
                // And once more at the very end, where nothing comes any more.
                prop_assert!(times <= 5, "{} was read {} times", event, times);
            }
        }

        /// Holds whatever ended a connection, counted from the re-read that the end
        /// interrupts, if there is one.
        #[test]
        fn what_is_younger_than_the_overlap_is_read_again(
            gaps in gaps(),
            sessions in sessions(),
            overlap in 1_u64..20_000,
        ) {
            let sessions = sessions.into_iter().chain(std::iter::repeat((3, false)));
            let story = read(&gaps, sessions, Duration::from_millis(overlap));
            let times = times(&gaps);
            for end in story.ends.iter().copied() {
                let furthest = story.furthest(end);
                let rewind = story.rewinds.iter().rev().find(|(at, _)| *at < end);
                let from = match rewind {
                    Some((at, event)) if *event == furthest => *at,
                    _ => end,
                };
                let again = &story.read[from..];
                for event in (0..=furthest).filter(|e| times[*e] + overlap > times[furthest]) {
                    prop_assert!(again.contains(&event), "{} of {}", event, furthest);
                }
            }
        }
    }
}
