//! Ppoppo: a gRPC stream of events about send requests, dialed by us and resumed by
//! event id. Source: Ppoppo Docs, "Event Streaming".
//!
//! Liberal where the page is silent:
//! - field names in snake_case (the page's) or lowerCamelCase (protobuf's own JSON);
//! - an event type with the prefix that protobuf's style guide asks for, or a number
//!   that this version does not know, which becomes `other`;
//! - `recipient` and `summary` absent from any event;
//! - an event id that is no ULID: it is hashed, and `occurred_at` is then needed.

use std::borrow::Cow;

use super::{
    Entry, Provider, Scheme,
    options::{Form, Spec},
};
use crate::{
    event::{Event, ItemError},
    json::{self, Object},
    kind::Kind,
    time::Micros,
    ulid::Ulid,
};

pub(super) static PROVIDER: Provider = Provider {
    name: "ppoppo",
    scheme: Scheme::Dialed,
    options: &[
        Spec {
            name: "endpoint",
            form: Form::Url,
        },
        Spec {
            name: "send_request_id",
            form: Form::Text,
        },
        Spec {
            name: "overlap",
            form: Form::Seconds,
        },
        Spec {
            name: "token_env",
            form: Form::Text,
        },
        Spec {
            name: "token_file",
            form: Form::Text,
        },
    ],
    wrapper: None,
    counts_repeats: false,
    read,
};

const TYPE_PREFIX: &str = "SEND_REQUEST_EVENT_TYPE_";

fn read<'a>(entry: &Entry<'a, '_>) -> Result<Event<'a>, ItemError> {
    let object = &entry.object;
    let id = json::required("event_id", get(object, "event_id", "eventId"))?;
    let ulid = id.parse::<Ulid>().ok();
    let occurred_at = match text(object, "occurred_at", "occurredAt") {
        Some(text) => Some(
            Micros::from_text(&text, entry.zone).ok_or(ItemError::Invalid {
                field: "occurred_at",
                expected: "an RFC 3339 date-time from 1970 on",
            })?,
        ),
        None => ulid.and_then(|ulid| Micros::from_ms(ulid.ms())),
    };
    let occurred_at = occurred_at.ok_or(ItemError::Missing("occurred_at"))?;
    let event_id = ulid.or_else(|| entry.derive(occurred_at, [Some(id.as_bytes())]));

    let provider_kind = text(object, "event_type", "eventType").unwrap_or(Cow::Borrowed("0"));
    let recipient = object
        .get("recipient")
        .and_then(|json| Object::parse(json).ok());
    let of_recipient = |snake, camel| text(recipient.as_ref()?, snake, camel);
    Ok(Event {
        event_id,
        kind: kind(
            provider_kind
                .strip_prefix(TYPE_PREFIX)
                .unwrap_or(&provider_kind),
        ),
        channel: Some(Cow::Borrowed("chat")),
        occurred_at: Some(occurred_at),
        request_id: text(object, "send_request_id", "sendRequestId"),
        message_id: of_recipient("message_id", "messageId"),
        recipient: of_recipient("ppnum", "ppnum"),
        campaign: None,
        error_code: of_recipient("error_code", "errorCode"),
        reason: None,
        provider_kind,
    })
}

fn kind(word: &str) -> Kind {
    match word {
        "RECIPIENT_DELIVERED" => Kind::MessageDelivered,
        "RECIPIENT_FAILED" => Kind::MessageFailed,
        "RECIPIENT_PENDING_CONSENT" => Kind::ConsentRequested,
        "CONSENT_GRANTED" => Kind::ConsentGranted,
        "CONSENT_DENIED" => Kind::ConsentDenied,
        "REQUEST_COMPLETED" => Kind::RequestCompleted,
        "POLL_RESPONSE_RECEIVED" => Kind::PollAnswered,
        _ => Kind::Other,
    }
}

fn text<'a>(object: &Object<'a>, snake: &str, camel: &str) -> Option<Cow<'a, str>> {
    get(object, snake, camel).and_then(json::text)
}

fn get<'a>(object: &Object<'a>, snake: &str, camel: &str) -> Option<&'a str> {
    object.get(snake).or_else(|| object.get(camel))
}
