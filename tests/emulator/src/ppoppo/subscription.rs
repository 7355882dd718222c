//! A caller's way through the log.

use std::{future::pending, sync::Arc};

use futures_util::{Stream, stream};
use tidings_proto::ppoppo::SendRequestEvent;
use tokio::sync::watch;
use tonic::Status;

use super::{
    cord::Cord,
    ending::{Ending, How},
    log::Log,
};

/// "Replays what was missed, then goes on with what happens."
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) log: Arc<Log>,
    /// Exclusive: "only after this event".
    pub(super) after: Option<String>,
    /// Only this send request's events.
    pub(super) send_request_id: Option<String>,
    pub(super) ending: Option<Ending>,
    pub(super) cord: Option<Cord>,
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
        let after = self.after.as_deref();
        let state = State {
            place: after.map_or(0, |after| self.log.place_after(after)),
            length: self.log.watch_length(),
            subscription: self,
            sent: 0,
            over: false,
        };
        stream::unfold(state, |mut state| async {
            let item = state.next().await?;
            Some((item, state))
        })
    }

    fn wants(&self, event: &SendRequestEvent) -> bool {
        // A cursor beyond the log's end: what happens up to it is skipped, too.
        let later = self
            .after
            .as_ref()
            .is_none_or(|after| event.event_id > *after);
        let request = self.send_request_id.as_ref();
        later && request.is_none_or(|request| event.send_request_id == *request)
    }
}

impl State {
    async fn next(&mut self) -> Option<Result<SendRequestEvent, Status>> {
        if self.over {
            return None;
        }
        let due = self
            .subscription
            .ending
            .filter(|ending| self.sent >= ending.after);
        if let Some(ending) = due {
            self.over = true;
            return self.end(ending.how).await.map(Err);
        }
        loop {
            let Some(event) = self.subscription.log.get(self.place) else {
                let place = self.place;
                // The log outlives its streams: an error cannot be.
                self.length.wait_for(|length| *length > place).await.ok()?;
                continue;
            };
            let wanted = self.subscription.wants(&event);
            if wanted {
                self.subscription.log.send(self.place);
                self.sent += 1;
            }
            self.place += 1;
            self.subscription.log.pass(self.place);
            if wanted {
                return Some(Ok(SendRequestEvent::clone(&event)));
            }
        }
    }

    async fn end(&self, how: How) -> Option<Status> {
        match (how, &self.subscription.cord) {
            (How::Clean, _) => None,
            (How::Internal, _) => Some(Status::internal("stream failed")),
            (How::Cut, Some(cord)) => {
                cord.cut();
                pending().await
            }
            (How::Unavailable | How::Cut, _) => Some(Status::unavailable("try again later")),
        }
    }
}
