//! How each stream ends: drawn by its place among the streams.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::draw::{Draw, Purpose};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Status OK: "the server closes the stream (normal end - reconnect to resume)".
    Clean,
    Unavailable,
    Internal,
    /// The connection is gone, in the middle of whatever was on its way.
    Cut,
}

/// A stream ends once it has sent this many events, if it gets that far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) after: u32,
    pub(super) how: How,
}

/// Deals an ending to each stream.
#[derive(Debug)]
pub(crate) struct Endings {
    seed: u64,
    mean: Option<u32>,
    streams: AtomicU32,
}

impl Endings {
    /// A handful of endings in a run, whatever its size.
    pub(crate) fn new(seed: u64, events: u32) -> Self {
        Self::every(seed, Some((events / 6).clamp(25, 20_000)))
    }

    /// Streams that never end.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self::every(0, None)
    }

    fn every(seed: u64, mean: Option<u32>) -> Self {
        Self {
            seed,
            mean,
            streams: AtomicU32::new(0),
        }
    }

    pub(super) fn deal(&self) -> Option<Ending> {
        let mean = self.mean?;
        let stream = self.streams.fetch_add(1, Ordering::Relaxed);
        let mut draw = Draw::new(self.seed, Purpose::PpoppoEnding(stream));
        if draw.chance(0.1) {
            return Some(Ending {
                after: 0,
                how: How::Unavailable,
            });
        }
        Some(Ending {
            after: draw.between(mean / 2, mean.saturating_mul(3) / 2),
            how: match draw.between(0, 7) {
                0..4 => How::Clean,
                4..6 => How::Unavailable,
                6 => How::Internal,
                _ => How::Cut,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dealt(seed: u64) -> Vec<Ending> {
        let endings = Endings::new(seed, 60_000);
        (0..200).filter_map(|_| endings.deal()).collect()
    }

    #[test]
    fn a_seed_deals_the_same_endings() {
        assert_eq!(dealt(1), dealt(1));
        assert_ne!(dealt(1), dealt(2));
    }

    #[test]
    fn every_way_to_end_is_dealt() {
        for how in [How::Clean, How::Unavailable, How::Internal, How::Cut] {
            assert!(dealt(1).iter().any(|ending| ending.how == how), "{how:?}");
        }
        let refused = dealt(1).iter().filter(|ending| ending.after == 0).count();
        assert!((5..50).contains(&refused), "{refused}");
    }
}
