//! What a stream of the gRPC transport carries.

use jiff::Timestamp;
use tidings_proto::pushwoosh::Event;

use super::message::Events;
use crate::{
    draw::Draw,
    ledger::{Entry, Sending},
};

/// "At least 1,000 events are ready for delivery."
pub(super) const LEAST: usize = 1000;

/// An event on its way.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parcel {
    pub(super) number: u32,
    pub(super) event: Event,
    pub(super) sending: Sending,
    /// Goes again on a later stream although it was answered.
    pub(super) again: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chunk {
    pub(super) parcels: Vec<Parcel>,
    pub(super) opened: Vec<Entry>,
    /// Closes its half of the stream once all are sent, rather than once all are
    /// answered: the page allows both.
    pub(super) closes_early: bool,
}

/// Draws chunks until the events are used up.
#[derive(Debug)]
pub(super) struct Chunks {
    events: Events,
    duplicates: f64,
    number: u32,
}

impl Chunks {
    pub(super) fn new(draw: Draw, from: Timestamp, events: u32, duplicates: f64) -> Self {
        Self {
            events: Events::new(draw, from, events),
            duplicates,
            number: 0,
        }
    }
}

impl Iterator for Chunks {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        if self.events.left() == 0 {
            return None;
        }
        let size = LEAST + self.events.draw().index(200);
        let closes_early = self.events.draw().chance(0.5);
        let mut parcels = Vec::with_capacity(size);
        let mut opened = Vec::with_capacity(size);
        while parcels.len() < size {
            let Some(event) = self.events.next() else {
                break;
            };
            opened.push(Entry::once(event.uuid.clone()));
            parcels.push(Parcel {
                number: self.number,
                event,
                sending: Sending::Own,
                again: self.events.draw().chance(self.duplicates),
            });
            self.number += 1;
        }
        Some(Chunk {
            parcels,
            opened,
            closes_early,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Purpose;

    fn chunks(seed: u64) -> Vec<Chunk> {
        let from = "2026-11-01T21:00:00Z".parse().unwrap();
        Chunks::new(Draw::new(seed, Purpose::PushwooshGrpc), from, 5000, 0.05).collect()
    }

    #[test]
    fn a_seed_gives_the_same_chunks() {
        assert_eq!(chunks(1), chunks(1));
        assert_ne!(chunks(1), chunks(2));
    }

    #[test]
    fn pushwoosh_batching_by_grpc() {
        let chunks = chunks(1);
        let sizes: Vec<usize> = chunks.iter().map(|chunk| chunk.parcels.len()).collect();
        let (_, whole) = sizes.split_last().unwrap();
        assert!(whole.iter().all(|&size| size >= LEAST), "{sizes:?}");
        assert_eq!(sizes.iter().sum::<usize>(), 5000);
        let again = chunks.iter().flat_map(|chunk| &chunk.parcels);
        let again = again.filter(|parcel| parcel.again).count();
        assert!((150..350).contains(&again), "{again}");
    }
}
