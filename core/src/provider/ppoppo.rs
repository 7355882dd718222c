//! Ppoppo: a gRPC stream of events about send requests, dialed by us and resumed by
//! event id. Source: Ppoppo Docs, "Event Streaming".
//!
//! Liberal where the page is silent:
//! - field names in snake_case (the page's) or lowerCamelCase (protobuf's own JSON);
//! - an event type in any case, with or without underscores and the prefix that
//!   protobuf's style guide asks for, or a number that this version does not know, which
//!   becomes `other`;
//! - `recipient` and `summary` absent from any event, and the recipient's fields at the
//!   top, where the source's own schema is flat;
//! - `occurred_at` as text, a number, or a `google.protobuf.Timestamp`, or absent, or never
//!   set (the start of 1970, or Go's of the year 1): then the ULID says when;
//! - an event id that is no ULID: it is hashed. One that is a ULID behind a prefix
//!   (`evt_01HQ..`) is hashed too, but still says when.
//!
//! # Not tested
//!
//! The other services of the same package (templates, apps, channels): none is called.

use std::borrow::Cow;

use super::{
    Dialing, Entry, Provider, Scheme,
    options::{Form, Spec},
};
use crate::{
    event::{Event, Facts, ItemError},
    json::{self, Object},
    kind::Kind,
    time::{self, Micros},
    ulid::Ulid,
    wire::{Call, Role},
};

pub(super) static PROVIDER: Provider = Provider {
    name: "ppoppo",
    scheme: Scheme::Dialed(Dialing {
        endpoint: None,
        // Common servers take more than one ping in 300 s for abuse.
        keepalive: 320,
        idle_limit: 900,
    }),
    secret: "the bearer token; if `token_url` is set, the client secret",
    gives_up_after_4xx: false,
    calls: &[Call {
        stream: "",
        method: "/chat.external.ExternalMessageService/StreamSendRequestEvents",
        proto: proto!("ppoppo/v1/external.proto"),
        key: "event_id",
        needs: "event_type",
        beside: false,
        time: Some("occurred_at"),
        values: &[
            "RECIPIENT_DELIVERED",
            "RECIPIENT_FAILED",
            "RECIPIENT_PENDING_CONSENT",
            "CONSENT_GRANTED",
            "CONSENT_DENIED",
            "REQUEST_COMPLETED",
            "POLL_RESPONSE_RECEIVED",
        ],
        frame: None,
        role: Role::Dialed {
            cursor: "after_event_id",
            filters: &["send_request_id"],
        },
    }],
    options: &[Spec::new(
        "send_request_id",
        Form::Text,
        "Restricts the stream to the events of one send request.",
    )],
    wrapper: None,
    counts_repeats: false,
    read,
    facts,
};

fn read<'a>(entry: &Entry<'a, '_>) -> Result<Event<'a>, ItemError> {
    let object = &entry.object;
    let id = json::required("event_id", get(object, "event_id", "eventId"))?;
    let ulid = id.parse::<Ulid>().ok();
    let said =
        occurred_at(entry, get(object, "occurred_at", "occurredAt"))?.filter(|at| at.get() != 0);
    let occurred_at = said.or_else(|| {
        let bare = id.rsplit(|c: char| !c.is_ascii_alphanumeric()).next()?;
        Micros::from_ms(bare.parse::<Ulid>().ok()?.ms())
    });
    let event_id = ulid.or_else(|| entry.derive(occurred_at, [Some(id.as_bytes())]));

    let provider_kind = text(object, "event_type", "eventType").unwrap_or(Cow::Borrowed("0"));
    let recipient = object
        .get("recipient")
        .and_then(|json| Object::parse(json).ok());
    let of_recipient = |snake, camel| {
        let nested = recipient.as_ref().and_then(|it| text(it, snake, camel));
        nested.or_else(|| text(object, snake, camel))
    };
    Ok(Event {
        event_id,
        kind: kind(&provider_kind),
        channel: Some(Cow::Borrowed("chat")),
        occurred_at,
        request_id: text(object, "send_request_id", "sendRequestId"),
        message_id: of_recipient("message_id", "messageId"),
        recipient: of_recipient("ppnum", "ppnum"),
        campaign: None,
        error_code: of_recipient("error_code", "errorCode"),
        reason: None,
        provider_kind,
    })
}

fn facts<'a>(object: &Object<'a>) -> Facts<'a> {
    let id = object
        .string("event_id")
        .or_else(|| object.string("eventId"));
    Facts {
        cursor: id.filter(|id| !id.is_empty()),
        summary: object.get("summary"),
        ..Facts::default()
    }
}

/// A `google.protobuf.Timestamp` as its message, or any other form of time. Its zero
/// values are absent from the wire, so a message without seconds says nothing.
fn occurred_at(entry: &Entry<'_, '_>, value: Option<&str>) -> Result<Option<Micros>, ItemError> {
    let Some(message) = value.and_then(|json| Object::parse(json).ok()) else {
        let said = value.filter(|value| !time::is_never(value));
        return entry.time("occurred_at", said);
    };
    let seconds = message.text("seconds");
    let Some(seconds) = seconds.filter(|text| !time::is_never(text)) else {
        return Ok(None);
    };
    let nanos = message.text("nanos").unwrap_or(Cow::Borrowed("0"));
    let micros = || {
        let seconds = seconds.parse::<i64>().ok()?.checked_mul(1_000_000)?;
        Micros::new(seconds.checked_add(nanos.parse::<i64>().ok()? / 1000)?)
    };
    micros().map(Some).ok_or(ItemError::Invalid {
        field: "occurred_at",
        expected: "a Timestamp from 1970 on",
    })
}

fn kind(word: &str) -> Kind {
    let letters = word.chars().filter(char::is_ascii_alphanumeric);
    let word: String = letters.map(|c| c.to_ascii_lowercase()).collect();
    match word.strip_prefix("sendrequesteventtype").unwrap_or(&word) {
        "recipientdelivered" => Kind::MessageDelivered,
        "recipientfailed" => Kind::MessageFailed,
        "recipientpendingconsent" => Kind::ConsentRequested,
        "consentgranted" => Kind::ConsentGranted,
        "consentdenied" => Kind::ConsentDenied,
        "requestcompleted" => Kind::RequestCompleted,
        "pollresponsereceived" => Kind::PollAnswered,
        _ => Kind::Other,
    }
}

fn text<'a>(object: &Object<'a>, snake: &str, camel: &str) -> Option<Cow<'a, str>> {
    get(object, snake, camel).and_then(json::text)
}

fn get<'a>(object: &Object<'a>, snake: &str, camel: &str) -> Option<&'a str> {
    object.get(snake).or_else(|| object.get(camel))
}
