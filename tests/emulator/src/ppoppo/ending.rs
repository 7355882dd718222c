//! How each stream ends: drawn by its place among the streams, or dealt from the faults
//! that were asked for.

use std::{
    collections::VecDeque,
    iter,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tonic::Code;

use crate::{
    draw::{Draw, Purpose},
    faults::{Fault, Faults, Part},
};

/// Every status of the page's table but RESOURCE_EXHAUSTED, which comes with a hint.
pub(crate) const REFUSALS: &[(Code, &str)] = &[
    (Code::Unavailable, "try again later"),
    (Code::Internal, "something went wrong"),
    (Code::Unauthenticated, "fetch a new token"),
    (Code::PermissionDenied, "the app is suspended"),
    (Code::NotFound, "no such app"),
    (Code::InvalidArgument, "after_event_id is not known"),
    (Code::FailedPrecondition, "the app is not ready"),
    (Code::AlreadyExists, "there is such a stream already"),
];

/// How often the faults asked for are gone through, refusals once.
const ROUNDS: usize = 2;

/// The form of the hint how long callers are to stay away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// `retry-after` in the trailers.
    Seconds,
    /// `retry-after-ms` in the trailers.
    Trailers,
    /// `retry-after-ms` in the message.
    Message,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Status OK: "the server closes the stream (normal end - reconnect to resume)".
    Clean,
    Fails(Code, &'static str),
    /// The connection is gone, in the middle of whatever was on its way.
    Cut,
    Exhausted(Hint),
    /// As [`How::Clean`]; then the cursor of the next stream has expired.
    Expires,
    /// The connection stays, and nothing more comes out of it.
    Silent,
    /// The connection answers pings, but the stream sends nothing more.
    Wedged,
    /// The connection takes no new streams; this one goes on for a while.
    GoAway {
        cut: bool,
    },
}

/// A stream ends once it has sent this many events, if it gets that far; at 0 a status
/// is a refusal of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) after: u32,
    pub(super) how: How,
    /// What has happened then.
    pub(super) part: Option<Part>,
}

/// Deals an ending to each stream.
#[derive(Debug)]
pub(crate) struct Endings {
    plan: Plan,
    streams: AtomicUsize,
    /// What was asked for, and dealt to streams that did not get that far.
    returned: Mutex<VecDeque<Ending>>,
    expiry: Expiry,
}

/// Whether the next cursor has expired, however old it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expiry(Arc<AtomicBool>);

impl Expiry {
    /// Lets the cursor of the next stream that has one expire.
    pub(crate) fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the cursor that is shown now has expired; then the next one has not.
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

#[derive(Debug)]
enum Plan {
    Drawn {
        seed: u64,
        /// How many events a stream has on average.
        mean: u32,
    },
    /// One for each stream, and one for all that follow.
    Dealt(Vec<Ending>, Option<Ending>),
}

impl Endings {
    /// Those of the faults that were asked for; where they concern no stream, a handful
    /// in a run, whatever its size.
    pub(crate) fn new(seed: u64, events: u32, faults: &Faults) -> Self {
        const OF_STREAMS: [Fault; 9] = [
            Fault::TokenExpiry,
            Fault::Exhausted,
            Fault::HalfOpen,
            Fault::Wedged,
            Fault::Goaway,
            Fault::Clean100,
            Fault::CursorExpired,
            Fault::Disorder,
            Fault::Refusals,
        ];
        let plan = if OF_STREAMS.iter().any(|&fault| faults.asks(fault)) {
            asked(seed, faults)
        } else {
            let mean = (events / 6).clamp(25, 20_000);
            Plan::Drawn { seed, mean }
        };
        Self::by(plan)
    }

    /// Streams that never end.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self::by(Plan::Dealt(Vec::new(), None))
    }

    /// These, one a stream.
    #[cfg(test)]
    pub(super) fn these(endings: &[Ending]) -> Self {
        Self::by(Plan::Dealt(endings.to_vec(), None))
    }

    fn by(plan: Plan) -> Self {
        Self {
            plan,
            streams: AtomicUsize::new(0),
            returned: Mutex::default(),
            expiry: Expiry::default(),
        }
    }

    pub(super) fn deal(&self) -> Option<Ending> {
        if let Some(ending) = self.returned().pop_front() {
            return Some(ending);
        }
        let stream = self.streams.fetch_add(1, Ordering::Relaxed);
        match &self.plan {
            Plan::Dealt(endings, then) => endings.get(stream).copied().or(*then),
            Plan::Drawn { seed, mean } => {
                let stream = u32::try_from(stream).unwrap_or(u32::MAX);
                let draw = Draw::new(*seed, Purpose::PpoppoEnding(stream));
                Some(drawn(draw, *mean))
            }
        }
    }

    /// An ending that its stream has not met, for the next one to meet: a caller may leave
    /// a stream that is silent for too long.
    pub(super) fn give_back(&self, ending: Ending) {
        if ending.part.is_some() {
            self.returned().push_back(ending);
        }
    }

    pub(crate) fn expiry(&self) -> Expiry {
        self.expiry.clone()
    }

    fn returned(&self) -> std::sync::MutexGuard<'_, VecDeque<Ending>> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn drawn(mut draw: Draw, mean: u32) -> Ending {
    let unavailable = How::Fails(Code::Unavailable, "try again later");
    if draw.chance(0.1) {
        return Ending {
            after: 0,
            how: unavailable,
            part: None,
        };
    }
    Ending {
        after: draw.between(mean / 2, mean.saturating_mul(3) / 2),
        how: match draw.between(0, 8) {
            0..4 => How::Clean,
            4..6 => unavailable,
            6 => How::Fails(Code::Internal, "stream failed"),
            // What a proxy between the two says when it gives up.
            7 => How::Fails(Code::Cancelled, "stream reset"),
            _ => How::Cut,
        },
        part: None,
    }
}

/// Each within fewer than 100 events, so that a clean end after 100 leaves room for it.
fn asked(seed: u64, faults: &Faults) -> Plan {
    let mut draw = Draw::new(seed, Purpose::Faults);
    let mut endings = Vec::new();
    let mut add = |at_once: bool, how, part| {
        let after = if at_once { 0 } else { draw.between(20, 80) };
        endings.push(Ending {
            after,
            how,
            part: Some(part),
        });
    };
    for round in 0..ROUNDS {
        // Each kind of hint comes with a refusal and in the middle of a stream.
        let even = round % 2 == 0;
        if faults.asks(Fault::Exhausted) {
            add(even, How::Exhausted(Hint::Seconds), Part::HintInSeconds);
            add(even, How::Exhausted(Hint::Trailers), Part::HintInTrailers);
            add(!even, How::Exhausted(Hint::Message), Part::HintInMessage);
        }
        if faults.asks(Fault::HalfOpen) {
            add(false, How::Silent, Part::HalfOpen);
        }
        if faults.asks(Fault::Wedged) {
            add(false, How::Wedged, Part::Wedged);
        }
        if faults.asks(Fault::CursorExpired) {
            add(false, How::Expires, Part::CursorExpired);
        }
        if faults.asks(Fault::Goaway) {
            add(false, How::GoAway { cut: !even }, Part::Goaway);
        }
        if even && faults.asks(Fault::Refusals) {
            for (at, &(code, message)) in REFUSALS.iter().enumerate() {
                add(true, How::Fails(code, message), Part::Refusal(at));
            }
        }
    }
    let then = faults.asks(Fault::Clean100).then_some(Ending {
        after: 100,
        how: How::Clean,
        part: Some(Part::Clean100),
    });
    // A stream between two faults: each is met by a caller that was well.
    let well = Ending {
        after: 30,
        how: How::Clean,
        part: None,
    };
    let endings = endings.into_iter().flat_map(|ending| {
        let rest = (ending.after == 0).then_some(well);
        iter::once(ending).chain(rest)
    });
    Plan::Dealt(endings.collect(), then)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dealt(seed: u64) -> Vec<Ending> {
        let endings = Endings::new(seed, 60_000, &Faults::default());
        (0..200).filter_map(|_| endings.deal()).collect()
    }

    #[test]
    fn a_seed_deals_the_same_endings() {
        assert_eq!(dealt(1), dealt(1));
        assert_ne!(dealt(1), dealt(2));
    }

    #[test]
    fn every_way_to_end_is_dealt() {
        let ways: [fn(How) -> bool; 5] = [
            |how| how == How::Clean,
            |how| matches!(how, How::Fails(Code::Unavailable, _)),
            |how| matches!(how, How::Fails(Code::Internal, _)),
            |how| matches!(how, How::Fails(Code::Cancelled, _)),
            |how| how == How::Cut,
        ];
        for (nth, way) in ways.iter().enumerate() {
            assert!(dealt(1).iter().any(|ending| way(ending.how)), "{nth}");
        }
        let refused = dealt(1).iter().filter(|ending| ending.after == 0).count();
        assert!((5..50).contains(&refused), "{refused}");
    }

    #[test]
    fn what_is_asked_for_is_dealt_and_nothing_else() {
        let played = [crate::mix::Provider::Ppoppo];
        let faults = Faults::new(&[Fault::Refusals, Fault::Clean100], &played);
        let endings = Endings::new(1, 60_000, &faults);
        let first: Vec<Ending> = (0..2 * REFUSALS.len())
            .filter_map(|_| endings.deal())
            .collect();
        for (at, pair) in first.chunks(2).enumerate() {
            assert_eq!(pair[0].part, Some(Part::Refusal(at)));
            assert_eq!((pair[0].after, pair[1].how), (0, How::Clean));
        }
        for _ in 0..3 {
            assert_eq!(endings.deal().unwrap().part, Some(Part::Clean100));
        }
        let silent = Faults::new(&[Fault::HalfOpen], &played);
        let endings = Endings::new(1, 60_000, &silent);
        let dealt: Vec<_> = (0..3).map(|_| endings.deal()).collect();
        assert_eq!(dealt[0].unwrap().how, How::Silent);
        assert_eq!(dealt[1].unwrap().how, How::Silent);
        assert_eq!(dealt[2], None);
    }
}
