//! Which lane commits the next batch, and when.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes that are worth a further lane. Two lanes that take turns halve the batches, and
/// each batch costs the server a transaction, which counts unless the batch is large.
pub(super) const LARGE: usize = 32 << 10;
/// Time for which every commit must have been in flight before less is worth a further
/// lane: they may be waiting for a lock or a disk.
const BUSY: Duration = Duration::from_millis(5);

/// The lanes, of which some are idle.
#[derive(Debug)]
pub(super) struct Lanes<L> {
    /// The lane that was used last is used next, so that the others stay unused, and
    /// unconnected, as long as one is enough.
    idle: Vec<L>,
    /// Time at which each of the commits in flight began.
    begun: Vec<Instant>,
}

/// The time at which the next batch may be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Now,
    /// Then, unless a commit ends before, or what waits has become large.
    At(Instant),
    /// The end of a commit.
    Later,
}

impl<L> Lanes<L> {
    pub(super) fn new(lanes: Vec<L>) -> Self {
        Self {
            idle: lanes,
            begun: Vec::new(),
        }
    }

    /// The time at which the next batch may be committed, if so many bytes wait.
    pub(super) fn next(&self, now: Instant, waiting: usize) -> Next {
        if self.idle.is_empty() {
            return Next::Later;
        }
        match self.begun.iter().max() {
            Some(newest) if waiting < LARGE && *newest + BUSY > now => Next::At(*newest + BUSY),
            _ => Next::Now,
        }
    }

    /// A lane for a commit that begins now.
    pub(super) fn take(&mut self, now: Instant) -> Option<L> {
        let lane = self.idle.pop()?;
        self.begun.push(now);
        Some(lane)
    }

    /// Returns the lane of a commit that began then.
    pub(super) fn put_back(&mut self, lane: L, begun: Instant) {
        if let Some(at) = self.begun.iter().position(|other| *other == begun) {
            self.begun.swap_remove(at);
        }
        self.idle.push(lane);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_further_lane_is_taken_when_all_commits_have_taken_long() {
        let start = Instant::now();
        let at = |n: u32| start + BUSY * n / 2;
        let mut lanes = Lanes::new(vec!["third", "second", "first"]);
        assert_eq!(lanes.next(at(0), 0), Next::Now);
        assert_eq!(lanes.take(at(0)), Some("first"));
        assert_eq!(lanes.next(at(0), 0), Next::At(at(2)));
        assert_eq!(lanes.next(at(1), 0), Next::At(at(2)));
        assert_eq!(lanes.next(at(2), 0), Next::Now);
        assert_eq!(lanes.take(at(2)), Some("second"));
        assert_eq!(lanes.next(at(3), 0), Next::At(at(4)));
        assert_eq!(lanes.take(at(4)), Some("third"));
        assert_eq!(lanes.next(at(9), 0), Next::Later);
        assert_eq!(lanes.take(at(9)), None);
    }

    #[test]
    fn a_further_lane_is_taken_at_once_for_much() {
        let now = Instant::now();
        let mut lanes = Lanes::new(vec!["second", "first"]);
        lanes.take(now);
        assert_eq!(lanes.next(now, LARGE - 1), Next::At(now + BUSY));
        assert_eq!(lanes.next(now, LARGE), Next::Now);
        lanes.take(now);
        assert_eq!(lanes.next(now, LARGE), Next::Later);
    }

    #[test]
    fn one_lane_is_used_again_and_again_beside_one_that_is_stuck() {
        let start = Instant::now();
        let mut lanes = Lanes::new(vec!["second", "first"]);
        assert_eq!(lanes.take(start), Some("first"));
        let mut now = start + BUSY;
        for _ in 0..3 {
            assert_eq!(lanes.next(now, 0), Next::Now);
            assert_eq!(lanes.take(now), Some("second"));
            let begun = now;
            now += BUSY / 4;
            lanes.put_back("second", begun);
        }
        lanes.put_back("first", start);
        assert_eq!(lanes.take(now), Some("first"), "the one that was used last");
        assert_eq!(lanes.next(now, 0), Next::At(now + BUSY));
    }
}
