//! One of the two streams, and where in its log a caller begins.

use std::{sync::Arc, time::Duration};

use futures_util::Stream;
use tonic::{Extensions, Status};

use super::{
    cord::Cord,
    desk::Desk,
    ending::{Ending, Endings, How},
    log::{Content, Log},
    subscription::{Frame, Start, Subscription},
    token::Token,
};
use crate::faults::Part;

/// The entries that a caller asks for.
pub(super) type Filter<T> = Box<dyn Fn(&T) -> bool + Send>;

/// The request of a caller.
pub(super) struct Asked<T> {
    /// The id of the entry after which the stream is to begin.
    pub(super) cursor: Option<String>,
    pub(super) wants: Filter<T>,
    pub(super) token: Option<Arc<Token>>,
    pub(super) cord: Option<Cord>,
}

/// The connection on which a call arrived.
pub(super) fn cord(extensions: &Extensions) -> Option<Cord> {
    extensions.get::<Cord>().cloned()
}

#[derive(Debug)]
pub(crate) struct Feed<T> {
    pub(super) log: Arc<Log<T>>,
    pub(super) endings: Endings,
    /// The time between two signs of life.
    pub(super) keep_alive: Duration,
}

impl<T: Content> Feed<T> {
    pub(crate) fn new(log: Arc<Log<T>>, endings: Endings, keep_alive: Duration) -> Arc<Self> {
        Arc::new(Self {
            log,
            endings,
            keep_alive,
        })
    }

    pub(super) fn subscribe(
        self: &Arc<Self>,
        desk: &Arc<Desk>,
        asked: Asked<T>,
    ) -> Result<impl Stream<Item = Result<Frame<T>, Status>> + Send + use<T>, Status> {
        let after = match asked.cursor {
            None => None,
            Some(cursor) => Some(
                self.log
                    .order_of(&cursor)
                    .ok_or_else(|| Status::invalid_argument("the cursor is no ULID"))?,
            ),
        };
        if let Some(status) = desk.quota.refuse() {
            return Err(status);
        }
        let ending = self.deal(desk)?;
        let subscription = Subscription {
            start: self.start(desk, after),
            feed: Arc::clone(self),
            desk: Arc::clone(desk),
            wants: asked.wants,
            ending,
            cord: asked.cord,
            token: asked.token,
        };
        Ok(subscription.stream())
    }

    /// Refuses at once where the stream is dealt that.
    fn deal(&self, desk: &Desk) -> Result<Option<Ending>, Status> {
        let ending = self.endings.deal();
        let Some(refusal) = ending.filter(|ending| ending.after == 0) else {
            return Ok(ending);
        };
        let status = match refusal.how {
            How::Fails(code, message) => Status::new(code, message),
            How::Exhausted(hint) => desk.quota.exhaust(hint),
            _ => return Ok(ending),
        };
        if let Some(part) = refusal.part {
            desk.faults.happened(part);
        }
        Err(status)
    }

    /// Where a stream begins: without a cursor at the live edge, and there too, after a frame
    /// that says so, if the cursor is too old.
    fn start(&self, desk: &Desk, after: Option<u128>) -> Start {
        self.log.begin();
        let live_edge = self.log.live_edge();
        let Some(order) = after else {
            self.log.skip(live_edge);
            return Start::LiveEdge(live_edge);
        };
        let place = self.log.place_after(order);
        self.log.confirm(place.min(live_edge));
        let is_made_to = self.endings.expiry().take();
        if is_made_to {
            desk.faults.happened(Part::CursorExpired);
        }
        if is_made_to || self.log.has_dropped(place) {
            self.log.skip(live_edge);
            return Start::Expired(live_edge);
        }
        Start::After { order, place }
    }
}
