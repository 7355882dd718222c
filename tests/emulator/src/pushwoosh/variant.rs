//! Events and answers as `pushwoosh_variant.proto` has them.

use tidings_proto::pushwoosh::{Event, EventStatus};

#[allow(
    clippy::pedantic,
    missing_debug_implementations,
    unreachable_pub,
    reason = "generated code"
)]
pub(super) mod hits {
    tonic::include_proto!("acme.hits.v3");
}

use hits::{DeliverHitsRequest, DeliverHitsResponse, Hit, Result as Outcome};

/// With the number of the batch.
pub(super) fn batch((number, events): (usize, Vec<Event>)) -> DeliverHitsRequest {
    DeliverHitsRequest {
        batch: u32::try_from(number).unwrap_or(u32::MAX),
        hits: events.into_iter().map(hit).collect(),
    }
}

fn hit(event: Event) -> Hit {
    Hit {
        at: event.timestamp,
        name: event.event_name,
        device: event.platform,
        key: event.uuid,
        message: event.message_id.unwrap_or_default(),
        code: event.message_code,
        // Drawn below a million.
        campaign: u32::try_from(event.campaign_id.unwrap_or_default()).unwrap_or_default(),
        application: event.application_code,
        hardware: event.hwid,
        user: event.user_id,
        content: event.payload,
        journey: event.journey_title,
        point: event.journey_point_title,
        activity: event.live_activity_id.unwrap_or_default(),
    }
}

/// One for each event, in the words of the documented schema.
pub(super) fn answers(answer: DeliverHitsResponse) -> impl Iterator<Item = EventStatus> {
    answer.acks.into_iter().map(|ack| EventStatus {
        status: match ack.result() {
            Outcome::Ok => "Success".to_owned(),
            other => other.as_str_name().to_owned(),
        },
        uuid: ack.key,
    })
}
