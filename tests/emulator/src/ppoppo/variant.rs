//! The stream as `ppoppo_variant.proto` has it.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use tidings_proto::ppoppo::{
    SendRequestEvent, SendRequestEventType as Type, StreamSendRequestEventsReq,
    send_request_event::{Recipient, Summary},
};
use tonic::{Request, Response, Status};

use super::service::Service;

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
        let events = self.subscribe(request.map(asked))?;
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

fn asked(request: FollowNoticesRequest) -> StreamSendRequestEventsReq {
    StreamSendRequestEventsReq {
        send_request_id: (!request.campaign.is_empty()).then_some(request.campaign),
        after_event_id: request.since,
    }
}

fn notice(event: SendRequestEvent) -> Notice {
    let at = event.occurred_at.parse::<jiff::Timestamp>().ok();
    Notice {
        what: what(event.event_type).into(),
        at: at.map(|at| prost_types::Timestamp {
            seconds: at.as_second(),
            nanos: at.subsec_nanosecond(),
        }),
        who: event.recipient.map(person),
        totals: event.summary.map(totals),
        request: event.send_request_id,
        id: event.event_id,
    }
}

fn what(event_type: i32) -> What {
    match Type::try_from(event_type) {
        Ok(Type::RecipientDelivered) => What::Arrived,
        Ok(Type::RecipientFailed) => What::Lost,
        Ok(Type::RecipientPendingConsent) => What::Asked,
        Ok(Type::ConsentGranted) => What::Allowed,
        Ok(Type::ConsentDenied) => What::Forbidden,
        Ok(Type::RequestCompleted) => What::Done,
        Ok(Type::PollResponseReceived) => What::Voted,
        Ok(Type::Unspecified) | Err(_) => What::Nothing,
    }
}

fn person(recipient: Recipient) -> Person {
    Person {
        message: recipient.message_id,
        fault: recipient.error_code,
        number: recipient.ppnum,
    }
}

fn totals(summary: Summary) -> Totals {
    Totals {
        bad: summary.failed,
        good: u32::try_from(summary.delivered).unwrap_or(u32::MAX),
    }
}
