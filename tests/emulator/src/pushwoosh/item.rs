//! An event as the HTTP transport writes it: the fields and their order of the page's
//! example. There is no uuid: the page has it for gRPC only.

use serde::Serialize;
use tidings_proto::pushwoosh::Event;

#[derive(Serialize)]
struct Item<'a> {
    event_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<u64>,
    message_code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    campaign_id: Option<u64>,
    platform: &'a str,
    payload: &'a str,
    application_code: &'a str,
    hwid: &'a str,
    user_id: &'a str,
    timestamp: i64,
    journey_title: &'a str,
    journey_point_title: &'a str,
}

/// Live activities "contain only metadata".
#[derive(Serialize)]
struct LiveActivity<'a> {
    event_name: &'a str,
    live_activity_id: &'a str,
    platform: &'a str,
    application_code: &'a str,
    user_id: &'a str,
    timestamp: i64,
}

pub(super) fn write(event: &Event) -> serde_json::Result<String> {
    if let Some(live_activity_id) = &event.live_activity_id {
        return serde_json::to_string(&LiveActivity {
            event_name: &event.event_name,
            live_activity_id,
            platform: &event.platform,
            application_code: &event.application_code,
            user_id: &event.user_id,
            timestamp: event.timestamp,
        });
    }
    serde_json::to_string(&Item {
        event_name: &event.event_name,
        message_id: event.message_id,
        message_code: &event.message_code,
        campaign_id: event.campaign_id,
        platform: &event.platform,
        payload: &event.payload,
        application_code: &event.application_code,
        hwid: &event.hwid,
        user_id: &event.user_id,
        timestamp: event.timestamp,
        journey_title: &event.journey_title,
        journey_point_title: &event.journey_point_title,
    })
}
