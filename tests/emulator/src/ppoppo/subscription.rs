//! A caller's way through the log.

use std::{
    future::{Future, pending},
    sync::Arc,
};

use futures_util::{Stream, future::Either, stream};
use tidings_proto::ppoppo::SendRequestEvent;
use tokio::sync::watch;
use tonic::Status;

use super::{
    cord::Cord,
    ending::{Ending, Endings, How},
    log::{Log, Logged},
    quota::Quota,
    token::{Token, Tokens},
};
use crate::faults::Faults;

/// How many events a stream goes on after GOAWAY, or after it has passed a late event.
const GOES_ON: u32 = 10;

/// What all streams share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) log: Arc<Log>,
    pub(super) faults: Arc<Faults>,
    pub(super) quota: Quota,
    pub(super) tokens: Option<Arc<Tokens>>,
}

/// "Replays what was missed, then goes on with what happens."
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) shared: Arc<Shared>,
    /// Exclusive: "only after this event".
    pub(super) after: Option<u128>,
    /// Only this send request's events.
    pub(super) send_request_id: Option<String>,
    /// What is still to come.
    pub(super) ending: Option<Ending>,
    pub(super) endings: Arc<Endings>,
    pub(super) cord: Option<Cord>,
    pub(super) token: Option<Arc<Token>>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(ending) = self.ending.take() {
            self.endings.give_back(ending);
        }
    }
}

struct State {
    subscription: Subscription,
    length: watch::Receiver<usize>,
    place: usize,
    sent: u32,
    over: bool,
}

impl Subscription {
    pub(super) fn stream(
        self,
    ) -> impl Stream<Item = Result<SendRequestEvent, Status>> + Send + 'static {
        let log = &self.shared.log;
        log.let_late_come();
        let state = State {
            place: self.after.map_or(0, |after| log.place_after(after)),
            length: log.watch_length(),
            subscription: self,
            sent: 0,
            over: false,
        };
        stream::unfold(state, |mut state| async {
            let item = state.next().await?;
            Some((item, state))
        })
    }

    fn wants(&self, logged: &Logged) -> bool {
        // A cursor beyond the log's end: what happens up to it is skipped, too.
        let later = self.after.is_none_or(|after| logged.order > after);
        let request = self.send_request_id.as_ref();
        later && request.is_none_or(|request| logged.event.send_request_id == *request)
    }
}

impl State {
    async fn next(&mut self) -> Option<Result<SendRequestEvent, Status>> {
        if self.over {
            return None;
        }
        while let Some(ending) = self.due() {
            if let Some(part) = ending.part {
                self.subscription.shared.faults.happened(part);
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
            let log = Arc::clone(&self.subscription.shared.log);
            let Some(logged) = log.get(self.place) else {
                if !self.wait().await {
                    return self.end_with_token().map(Err);
                }
                continue;
            };
            let late = log.is_late(self.place);
            if late {
                self.end_soon(How::Clean);
            }
            let wanted = !late && self.subscription.wants(&logged);
            if wanted {
                let token = self.subscription.token.as_ref();
                if token.is_some_and(|token| !token.spend()) {
                    return self.end_with_token().map(Err);
                }
                log.send(self.place);
                self.sent += 1;
            }
            self.place += 1;
            log.pass(self.place);
            if wanted {
                return Some(Ok(SendRequestEvent::clone(&logged.event)));
            }
        }
    }

    fn due(&mut self) -> Option<Ending> {
        let ending = &mut self.subscription.ending;
        ending.take_if(|ending| self.sent >= ending.after)
    }

    /// Ends so after a few more events, unless it is dealt an end that is still to come.
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

    /// Waits for an event; false when the token has ended before.
    async fn wait(&mut self) -> bool {
        let place = self.place;
        let ended = match &self.subscription.token {
            Some(token) => Either::Left(token.wait_end()),
            None => Either::Right(pending()),
        };
        tokio::select! {
            // The log outlives its streams: an error cannot be.
            grown = self.length.wait_for(|length| *length > place) => grown.is_ok(),
            () = ended => false,
        }
    }

    fn end_with_token(&mut self) -> Option<Status> {
        self.over = true;
        let Subscription { shared, token, .. } = &self.subscription;
        shared.tokens.as_ref()?.end(token.as_ref()?)
    }

    fn end(&self, how: How) -> impl Future<Output = Option<Status>> + Send + use<> {
        let Subscription { shared, cord, .. } = &self.subscription;
        let status = match (how, cord) {
            (How::Clean, _) => Some(None),
            (How::Fails(code, message), _) => Some(Some(Status::new(code, message))),
            (How::Exhausted(hint), _) => Some(Some(shared.quota.exhaust(hint))),
            (How::Cut, Some(cord)) => {
                cord.cut();
                None
            }
            (How::Silent, Some(cord)) => {
                cord.silence();
                None
            }
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
