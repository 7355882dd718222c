//! Which lane commits the next batch, and when.

use std::time::Duration;

use tokio::time::Instant;

use super::settle::{GREATEST_PAUSE, LEAST_PAUSE};
use crate::process::backoff::Backoff;

/// Bytes that are worth a further lane. Two lanes that take turns halve the batches, and
/// each batch costs the server a transaction, which counts unless the batch is large.
pub(super) const LARGE: usize = 32 << 10;
/// Time for which every commit must have been in flight before less is worth a further
/// lane: they may be waiting for a lock or a disk.
const BUSY: Duration = Duration::from_millis(5);

/// The lanes, of which some are idle. A lane without a connection is opened before it gets a
/// batch, so that no batch waits for a connection while another lane has one.
#[derive(Debug)]
pub(super) struct Lanes<L> {
    /// The lanes with a connection. The lane that was used last is used next, so that the others
    /// stay unused, and unconnected, as long as one is enough.
    idle: Vec<L>,
    closed: Vec<Closed<L>>,
    /// Number of lanes that are being opened.
    opening: usize,
    /// Time at which each of the commits in flight began.
    begun: Vec<Instant>,
}

/// A lane without a connection.
#[derive(Debug)]
pub(super) struct Closed<L> {
    pub(super) lane: L,
    /// The time from which on it may be opened.
    due: Instant,
    pauses: Backoff,
}

/// The next step for the submissions that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The next batch is committed now.
    Now,
    /// A lane is opened for it.
    Open,
    /// The next batch is committed then, unless a commit ends before, or what waits has become
    /// large.
    At(Instant),
    /// A lane may be opened then.
    OpenAt(Instant),
    /// The next batch waits for the end of a commit, or for a lane that is being opened.
    Later,
}

impl<L> Lanes<L> {
    pub(super) fn new(lanes: Vec<L>) -> Self {
        let now = Instant::now();
        let closed = lanes.into_iter().map(|lane| Closed {
            lane,
            due: now,
            pauses: pauses(),
        });
        Self {
            idle: Vec::new(),
            closed: closed.collect(),
            opening: 0,
            begun: Vec::new(),
        }
    }

    /// The next step for the next batch, if so many bytes wait.
    pub(super) fn next(&self, now: Instant, waiting: usize) -> Next {
        let newest = self.begun.iter().max();
        let wait = newest.map(|newest| *newest + BUSY);
        let wait = wait.filter(|until| waiting < LARGE && *until > now);
        let due = self.closed.iter().map(|closed| closed.due).min();
        match (self.idle.is_empty(), due, wait) {
            (false, _, None) => Next::Now,
            (false, _, Some(until)) => Next::At(until),
            (true, None, _) => Next::Later,
            (true, Some(_), _) if self.opening > 0 => Next::Later,
            (true, Some(due), Some(until)) if due <= until => Next::At(until),
            (true, Some(due), _) if due > now => Next::OpenAt(due),
            (true, Some(_), _) => Next::Open,
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
        self.end(begun);
        self.idle.push(lane);
    }

    /// Returns the lane of a commit that began then, and has lost its connection.
    pub(super) fn put_back_closed(&mut self, lane: L, begun: Instant, now: Instant) {
        self.end(begun);
        let pauses = pauses();
        self.close(
            Closed {
                lane,
                due: now,
                pauses,
            },
            now,
        );
    }

    fn end(&mut self, begun: Instant) {
        if let Some(at) = self.begun.iter().position(|other| *other == begun) {
            self.begun.swap_remove(at);
        }
    }

    /// A lane to be opened: the one that may be opened first, and the last of several.
    pub(super) fn open(&mut self, now: Instant) -> Option<Closed<L>> {
        let due = self.closed.iter().map(|closed| closed.due).min()?;
        let at = self.closed.iter().rposition(|closed| closed.due == due)?;
        if due > now {
            return None;
        }
        self.opening += 1;
        Some(self.closed.remove(at))
    }

    /// Returns a lane that has been opened.
    pub(super) fn opened(&mut self, closed: Closed<L>) {
        self.opening = self.opening.saturating_sub(1);
        self.idle.push(closed.lane);
    }

    /// Returns a lane that could not be opened.
    pub(super) fn unopened(&mut self, closed: Closed<L>, now: Instant) {
        self.opening = self.opening.saturating_sub(1);
        self.close(closed, now);
    }

    fn close(&mut self, mut closed: Closed<L>, now: Instant) {
        closed.due = now + closed.pauses.pause();
        self.closed.push(closed);
    }

    /// Whether some lane has a connection, as far as is known.
    pub(super) fn has_connection(&self) -> bool {
        !self.idle.is_empty() || !self.begun.is_empty()
    }
}

fn pauses() -> Backoff {
    Backoff::between(LEAST_PAUSE, GREATEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lanes with a connection each.
    fn open(names: Vec<&'static str>) -> Lanes<&'static str> {
        let mut lanes = Lanes::new(names);
        let closed: Vec<_> = lanes.closed.drain(..).collect();
        closed.into_iter().for_each(|closed| lanes.opened(closed));
        lanes
    }

    #[test]
    fn a_lane_is_opened_before_it_gets_a_batch() {
        let mut lanes = Lanes::new(vec!["second", "first"]);
        let start = Instant::now();
        assert_eq!(lanes.next(start, 0), Next::Open);
        let first = lanes.open(start).unwrap();
        assert_eq!(first.lane, "first");
        assert_eq!(lanes.next(start, LARGE), Next::Later, "one at a time");
        lanes.opened(first);
        assert_eq!(lanes.take(start), Some("first"));
        assert_eq!(lanes.next(start, 0), Next::At(start + BUSY));
        assert_eq!(lanes.next(start + BUSY, 0), Next::Open);
    }

    #[test]
    fn a_lane_that_cannot_be_opened_is_tried_later_and_holds_nothing_up() {
        let mut lanes = Lanes::new(vec!["second", "first"]);
        let start = Instant::now();
        let first = lanes.open(start).unwrap();
        lanes.opened(first);
        lanes.take(start);
        let second = lanes.open(start).unwrap();
        lanes.unopened(second, start);
        assert!(lanes.open(start).is_none());
        let Next::OpenAt(due) = lanes.next(start + BUSY, LARGE) else {
            panic!("{lanes:?}")
        };
        assert!(due > start && due < start + GREATEST_PAUSE);
        assert!(lanes.has_connection());
        lanes.put_back("first", start);
        assert_eq!(lanes.next(start + BUSY, LARGE), Next::Now);
        assert_eq!(lanes.take(start), Some("first"));
        lanes.put_back_closed("first", start, start);
        assert!(!lanes.has_connection());
    }

    #[test]
    fn a_further_lane_is_taken_when_all_commits_have_taken_long() {
        let start = Instant::now();
        let at = |n: u32| start + BUSY * n / 2;
        let mut lanes = open(vec!["third", "second", "first"]);
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
        let mut lanes = open(vec!["second", "first"]);
        lanes.take(now);
        assert_eq!(lanes.next(now, LARGE - 1), Next::At(now + BUSY));
        assert_eq!(lanes.next(now, LARGE), Next::Now);
        lanes.take(now);
        assert_eq!(lanes.next(now, LARGE), Next::Later);
    }

    #[test]
    fn one_lane_is_used_again_and_again_beside_one_that_is_stuck() {
        let start = Instant::now();
        let mut lanes = open(vec!["second", "first"]);
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
