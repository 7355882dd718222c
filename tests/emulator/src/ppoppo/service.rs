//! The gRPC service: who may call, and from where on.

use std::{pin::Pin, sync::Arc};

use futures_util::Stream;
use tidings_proto::ppoppo::{
    SendRequestEvent, StreamSendRequestEventsReq,
    external_message_service_server::ExternalMessageService,
};
use tonic::{Request, Response, Status};

use super::{
    cord::Cord,
    ending::{Ending, Endings, How},
    log::Log,
    quota::Quota,
    subscription::{Shared, Subscription},
    token::{Token, Tokens},
};
use crate::faults::Faults;

/// What callers must show.
#[derive(Debug)]
pub(crate) enum Access {
    /// This bearer token.
    Token(String),
    /// One that was issued.
    Issued(Arc<Tokens>),
}

#[derive(Clone, Debug)]
pub(crate) struct Service {
    shared: Arc<Shared>,
    endings: Arc<Endings>,
    /// The whole value, where no tokens are issued.
    authorization: String,
}

/// An answer, event by event.
pub(super) type Events = Pin<Box<dyn Stream<Item = Result<SendRequestEvent, Status>> + Send>>;

impl Service {
    pub(crate) fn new(
        log: Arc<Log>,
        endings: Endings,
        access: Access,
        faults: Arc<Faults>,
    ) -> Self {
        let (authorization, tokens) = match access {
            Access::Token(token) => (format!("Bearer {token}"), None),
            Access::Issued(tokens) => (String::new(), Some(tokens)),
        };
        let quota = Quota::new(Arc::clone(&faults));
        Self {
            shared: Arc::new(Shared {
                log,
                faults,
                quota,
                tokens,
            }),
            endings: Arc::new(endings),
            authorization,
        }
    }

    fn admit<T>(&self, request: &Request<T>) -> Result<Option<Arc<Token>>, Status> {
        let shown = request.metadata().get("authorization");
        let shown = shown.and_then(|shown| shown.to_str().ok());
        match (&self.shared.tokens, shown) {
            (Some(tokens), Some(shown)) => tokens.admit(shown).map(Some),
            (None, Some(shown)) if shown == self.authorization => Ok(None),
            _ => Err(Status::unauthenticated("fetch a new token")),
        }
    }

    /// Refuses at once where the stream is dealt that.
    fn deal(&self) -> Result<Option<Ending>, Status> {
        let ending = self.endings.deal();
        let Some(refusal) = ending.filter(|ending| ending.after == 0) else {
            return Ok(ending);
        };
        let status = match refusal.how {
            How::Fails(code, message) => Status::new(code, message),
            How::Exhausted(hint) => self.shared.quota.exhaust(hint),
            _ => return Ok(ending),
        };
        if let Some(part) = refusal.part {
            self.shared.faults.happened(part);
        }
        Err(status)
    }

    pub(super) fn subscribe(
        &self,
        request: Request<StreamSendRequestEventsReq>,
    ) -> Result<Events, Status> {
        let token = self.admit(&request)?;
        let cord = request.extensions().get::<Cord>().cloned();
        let StreamSendRequestEventsReq {
            send_request_id,
            after_event_id,
        } = request.into_inner();
        let after = match after_event_id {
            None => None,
            Some(cursor) => Some(
                self.shared
                    .log
                    .order_of(&cursor)
                    .ok_or_else(|| Status::invalid_argument("after_event_id is no event's id"))?,
            ),
        };
        if let Some(status) = self.shared.quota.refuse() {
            return Err(status);
        }
        let subscription = Subscription {
            shared: Arc::clone(&self.shared),
            after,
            send_request_id,
            ending: self.deal()?,
            endings: Arc::clone(&self.endings),
            cord,
            token,
        };
        Ok(Box::pin(subscription.stream()))
    }
}

#[tonic::async_trait]
impl ExternalMessageService for Service {
    type StreamSendRequestEventsStream = Events;

    async fn stream_send_request_events(
        &self,
        request: Request<StreamSendRequestEventsReq>,
    ) -> Result<Response<Events>, Status> {
        self.subscribe(request).map(Response::new)
    }
}
