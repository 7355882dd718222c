//! A caller's way through the log.

use std::{
    future::{Future, pending},
    sync::Arc,
};

use futures_util::{Stream, future::Either, stream};
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};
use tonic::Status;

use super::{
    cord::Cord,
    desk::Desk,
    ending::{Ending, How},
    feed::{Feed, Filter},
    log::{Content, Logged},
    token::Token,
};

/// How many entries a stream goes on after GOAWAY, or after it has passed a late one.
const GOES_ON: u32 = 10;

/// A message of a stream.
#[derive(Debug)]
pub(super) enum Frame<T> {
    Entry(T),
    KeepAlive,
    CursorExpired,
}

/// Where a stream begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    LiveEdge(usize),
    /// At the live edge, after a frame that says that the cursor has expired.
    Expired(usize),
    After {
        order: u128,
        place: usize,
    },
}

pub(super) struct Subscription<T: Content> {
    pub(super) feed: Arc<Feed<T>>,
    pub(super) desk: Arc<Desk>,
    pub(super) start: Start,
    pub(super) wants: Filter<T>,
    /// What is still to come.
    pub(super) ending: Option<Ending>,
    pub(super) cord: Option<Cord>,
    pub(super) token: Option<Arc<Token>>,
}

impl<T: Content> Drop for Subscription<T> {
    fn drop(&mut self) {
        if let Some(ending) = self.ending.take() {
            self.feed.endings.give_back(ending);
        }
    }
}

struct State<T: Content> {
    subscription: Subscription<T>,
    length: watch::Receiver<usize>,
    keep_alive: Interval,
    /// Whether the frame that says that the cursor has expired is still to be sent.
    expired: bool,
    place: usize,
    sent: u32,
    over: bool,
}

/// The reasons for which a wait for an entry ends.
enum Waited {
    Grown,
    KeepAlive,
    TokenEnded,
}

impl<T: Content> Subscription<T> {
    pub(super) fn stream(self) -> impl Stream<Item = Result<Frame<T>, Status>> + Send + use<T> {
        let log = &self.feed.log;
        let (place, expired) = match self.start {
            Start::LiveEdge(place) => (place, false),
            Start::Expired(place) => (place, true),
            Start::After { place, .. } => (place, false),
        };
        log.pass(place);
        let every = self.feed.keep_alive;
        let mut keep_alive = interval_at(Instant::now() + every, every);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let state = State {
            place,
            expired,
            length: log.watch_length(),
            keep_alive,
            subscription: self,
            sent: 0,
            over: false,
        };
        stream::unfold(state, |mut state| async {
            let item = state.next().await?;
            Some((item, state))
        })
    }

    fn wants(&self, logged: &Logged<T>) -> bool {
        // A cursor beyond the log's end: what happens up to it is skipped, too.
        let is_before = |order: u128| logged.order <= order;
        let skipped = matches!(self.start, Start::After { order, .. } if is_before(order));
        !skipped && (self.wants)(&logged.content)
    }
}

impl<T: Content> State<T> {
    async fn next(&mut self) -> Option<Result<Frame<T>, Status>> {
        if self.over {
            return None;
        }
        if std::mem::take(&mut self.expired) {
            return Some(Ok(Frame::CursorExpired));
        }
        while let Some(ending) = self.due() {
            if let Some(part) = ending.part.filter(|_| ending.how != How::Expires) {
                self.subscription.desk.faults.happened(part);
            }
            let How::GoAway { cut } = ending.how else {
                self.over = true;
                return self.end(ending.how).await.map(Err);
            };
            if let Some(cord) = &self.subscription.cord {
                cord.go_away();
            }
            self.end_soon(if cut { How::Cut } else { How::Clean });
        }
        loop {
            let feed = Arc::clone(&self.subscription.feed);
            let Some(logged) = feed.log.get(self.place) else {
                match self.wait().await {
                    Waited::Grown => continue,
                    Waited::KeepAlive => return Some(Ok(Frame::KeepAlive)),
                    Waited::TokenEnded => return self.end_with_token().map(Err),
                }
            };
            let late = feed.log.is_late(self.place);
            if late {
                self.end_soon(How::Clean);
            }
            let wanted = !late && self.subscription.wants(&logged);
            if wanted {
                let token = self.subscription.token.as_ref();
                if token.is_some_and(|token| !token.spend()) {
                    return self.end_with_token().map(Err);
                }
                feed.log.send(self.place);
                self.sent += 1;
            }
            self.place += 1;
            feed.log.pass(self.place);
            if wanted {
                return Some(Ok(Frame::Entry(T::clone(&logged.content))));
            }
        }
    }

    fn due(&mut self) -> Option<Ending> {
        let ending = &mut self.subscription.ending;
        ending.take_if(|ending| self.sent >= ending.after)
    }

    /// Ends so after a few more entries, unless it is dealt an end that is still to come.
    fn end_soon(&mut self, how: How) {
        let sent = self.sent;
        let ending = &mut self.subscription.ending;
        if ending.is_none_or(|ending| ending.after <= sent || ending.part.is_none()) {
            *ending = Some(Ending {
                after: sent + GOES_ON,
                how,
                part: None,
            });
        }
    }

    async fn wait(&mut self) -> Waited {
        let place = self.place;
        let ended = match &self.subscription.token {
            Some(token) => Either::Left(token.wait_end()),
            None => Either::Right(pending()),
        };
        tokio::select! {
            // The log outlives its streams: an error cannot be.
            _ = self.length.wait_for(|length| *length > place) => Waited::Grown,
            () = ended => Waited::TokenEnded,
            _ = self.keep_alive.tick() => Waited::KeepAlive,
        }
    }

    fn end_with_token(&mut self) -> Option<Status> {
        self.over = true;
        let Subscription { desk, token, .. } = &self.subscription;
        desk.end(token.as_ref()?)
    }

    fn end(&self, how: How) -> impl Future<Output = Option<Status>> + Send + use<T> {
        let Subscription {
            feed, desk, cord, ..
        } = &self.subscription;
        let status = match (how, cord) {
            (How::Clean, _) => Some(None),
            (How::Expires, _) => {
                feed.endings.expiry().ask();
                Some(None)
            }
            (How::Fails(code, message), _) => Some(Some(Status::new(code, message))),
            (How::Exhausted(hint), _) => Some(Some(desk.quota.exhaust(hint))),
            (How::Cut, Some(cord)) => {
                cord.cut();
                None
            }
            (How::Silent, Some(cord)) => {
                cord.silence();
                None
            }
            (How::Wedged, _) => None,
            (How::Cut | How::Silent | How::GoAway { .. }, _) => {
                Some(Some(Status::unavailable("try again later")))
            }
        };
        async {
            match status {
                Some(status) => status,
                None => pending().await,
            }
        }
    }
}
