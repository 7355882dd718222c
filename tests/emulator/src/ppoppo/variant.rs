//! The stream as `ppoppo_variant.proto` has it.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _, future::ready};
use tidings_proto::ppoppo::{
    RecipientStatus, SendRequestEvent, SendRequestEventType as Type, SendRequestSummary,
    StreamSendRequestEventsRequest,
};
use tonic::{Request, Response, Status};

use super::{
    service::Service,
    story::{CONSENT_DENIED, CONSENT_GRANTED, POLL_RESPONSE_RECEIVED},
    subscription::Frame,
};

#[allow(
    clippy::pedantic,
    missing_debug_implementations,
    unreachable_pub,
    reason = "generated code"
)]
mod notices {
    tonic::include_proto!("acme.notices.v2");
}

pub(crate) use notices::notice_service_server::NoticeServiceServer;
use notices::{
    FollowNoticesRequest, FollowNoticesResponse, Notice, Person, Totals, What,
    notice_service_server::NoticeService,
};

/// How many events stand in one message, at most.
const BATCH: usize = 20;

type Batches = Pin<Box<dyn Stream<Item = Result<FollowNoticesResponse, Status>> + Send>>;

#[tonic::async_trait]
impl NoticeService for Service {
    type FollowNoticesStream = Batches;

    async fn follow_notices(
        &self,
        request: Request<FollowNoticesRequest>,
    ) -> Result<Response<Batches>, Status> {
        // This schema has no message for signs of life or expired cursors.
        let events = self.follow_requests(request.map(asked))?;
        let events = events.filter_map(|frame| {
            ready(match frame {
                Ok(Frame::Entry(event)) => Some(Ok(event)),
                Ok(Frame::KeepAlive | Frame::CursorExpired) => None,
                Err(status) => Some(Err(status)),
            })
        });
        let batches = events.ready_chunks(BATCH).flat_map(|events| {
            // An error ends the stream, after what came before it.
            let mut notices = Vec::with_capacity(events.len());
            let mut error = None;
            for event in events {
                match event {
                    Ok(event) => notices.push(notice(event)),
                    Err(status) => error = Some(Err(status)),
                }
            }
            let batch = FollowNoticesResponse {
                made_at: 0,
                notices,
            };
            futures_util::stream::iter([Ok(batch)].into_iter().chain(error))
        });
        Ok(Response::new(Box::pin(batches)))
    }
}

fn asked(request: FollowNoticesRequest) -> StreamSendRequestEventsRequest {
    StreamSendRequestEventsRequest {
        send_request_id: (!request.campaign.is_empty()).then_some(request.campaign),
        after_event_id: request.since,
    }
}

fn notice(event: SendRequestEvent) -> Notice {
    Notice {
        what: what(event.event_type).into(),
        at: event.occurred_at,
        who: event.recipient.map(person),
        totals: event.summary.map(totals),
        request: event.send_request_id,
        id: event.event_id,
    }
}

fn what(event_type: i32) -> What {
    match event_type {
        CONSENT_GRANTED => return What::Allowed,
        CONSENT_DENIED => return What::Forbidden,
        POLL_RESPONSE_RECEIVED => return What::Voted,
        _ => {}
    }
    match Type::try_from(event_type) {
        Ok(Type::RecipientDelivered) => What::Arrived,
        Ok(Type::RecipientFailed) => What::Lost,
        Ok(Type::RecipientPendingConsent) => What::Asked,
        Ok(Type::RequestCompleted) => What::Done,
        Ok(Type::RequestFailed | Type::Unspecified) | Err(_) => What::Nothing,
    }
}

fn person(recipient: RecipientStatus) -> Person {
    Person {
        message: recipient.message_id,
        fault: recipient.error_code,
        number: recipient.ppnum,
    }
}

fn totals(summary: SendRequestSummary) -> Totals {
    Totals {
        bad: summary.failed.into(),
        good: u32::try_from(summary.delivered).unwrap_or(u32::MAX),
    }
}
