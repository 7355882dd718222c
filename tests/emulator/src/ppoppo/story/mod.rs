//! What becomes of send requests and their recipients.

use std::sync::Arc;

use jiff::Timestamp;
use prost_types::Timestamp as Time;
use tidings_proto::ppoppo::SendRequestEvent;

use self::request::Request;
use super::requests::Requests;
use crate::{clock::Time as Clock, draw::Draw, ulid::Ulids};

mod fate;
mod request;
#[cfg(test)]
mod tests;

pub(super) use request::{CONSENT_DENIED, CONSENT_GRANTED, POLL_RESPONSE_RECEIVED};

/// How many requests are under way at once.
const OPEN: usize = 12;

/// Which types of events happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kinds {
    /// Those of the published contract.
    Published,
    /// Those of the page "Event Streaming": consent and polls have events of their own, and
    /// no request fails as a whole.
    Page,
}

/// Draws events until there are as many as asked for; requests still under way then stay
/// unfinished.
#[derive(Debug)]
pub(crate) struct Stories {
    draw: Draw,
    kinds: Kinds,
    clock: Clock,
    ids: Ulids,
    others: Ulids,
    left: u32,
    now: Timestamp,
    open: Vec<Request>,
    requests: Arc<Requests>,
}

impl Stories {
    pub(crate) fn new(
        draw: Draw,
        kinds: Kinds,
        mut clock: Clock,
        events: u32,
        requests: Arc<Requests>,
    ) -> Self {
        let now = clock.tick();
        Self {
            draw,
            kinds,
            clock,
            ids: Ulids::default(),
            others: Ulids::default(),
            left: events,
            now,
            open: Vec::new(),
            requests,
        }
    }

    /// The next event of any request under way, without its id.
    fn step(&mut self) -> Option<SendRequestEvent> {
        while self.open.len() < OPEN {
            let millisecond = self.now.as_millisecond();
            let (draw, others) = (&mut self.draw, &mut self.others);
            let mut id = |draw: &mut Draw| others.next(millisecond, draw);
            let request = Request::new(draw, self.kinds, time(self.now), &mut id);
            let recipients = request.recipients().to_vec();
            self.requests.open(request.id(), time(self.now), recipients);
            self.open.push(request);
        }
        let at = self.draw.index(self.open.len());
        let request = self.open.get_mut(at)?;
        let event = request.step(time(self.now))?;
        if request.is_over() {
            self.open.swap_remove(at);
        }
        Some(event)
    }
}

impl Iterator for Stories {
    type Item = SendRequestEvent;

    fn next(&mut self) -> Option<SendRequestEvent> {
        self.left = self.left.checked_sub(1)?;
        self.now = self.clock.tick();
        let event = self.step()?;
        Some(SendRequestEvent {
            event_id: self.ids.next(self.now.as_millisecond(), &mut self.draw),
            ..event
        })
    }
}

pub(super) fn time(at: Timestamp) -> Time {
    Time {
        seconds: at.as_second(),
        nanos: at.subsec_nanosecond(),
    }
}
