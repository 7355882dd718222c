//! An event of the stream `send_requests`.
//!
//! Liberal where the sources are silent or differ:
//! - a type in any case, with or without underscores and the prefix that the contract has,
//!   or a number that this version does not know, which becomes `other`;
//! - `recipient` and `summary` absent from any event, and the recipient's fields at the
//!   top, where the source's own schema is flat;
//! - `occurred_at` as text, a number, or a `google.protobuf.Timestamp`, or absent, or never
//!   set: then the ULID says when;
//! - an id that is no ULID: it is hashed. One that is a ULID behind a prefix
//!   (`evt_01HQ..`) is hashed too, but still says when.
//!
//! In the contract a recipient who refuses consent, or does not give it in time, has failed,
//! and the error code says why: such an event is `consent.denied` or `consent.expired`. The
//! only sign that a recipient consented is the delivery. The page has separate types for
//! consent and for polls.

use std::borrow::Cow;

use super::{get, text, timestamp, value, word};
use crate::{
    event::{Event, ItemError},
    json::{self, Object},
    kind::Kind,
    provider::Entry,
    time::Micros,
    ulid::Ulid,
};

/// The types that this module reads: those of the contract, and those of the page.
pub(super) const TYPES: &[&str] = &[
    "RECIPIENT_DELIVERED",
    "RECIPIENT_FAILED",
    "RECIPIENT_PENDING_CONSENT",
    "REQUEST_COMPLETED",
    "REQUEST_FAILED",
    "CONSENT_GRANTED",
    "CONSENT_DENIED",
    "POLL_RESPONSE_RECEIVED",
];

pub(super) fn read<'a>(entry: &Entry<'a, '_>) -> Result<Event<'a>, ItemError> {
    let object = entry.object;
    let id = json::required("event_id", get(object, "event_id", "eventId"))?;
    let ulid = id.parse::<Ulid>().ok();
    let said = timestamp(
        entry,
        "occurred_at",
        value(object, "occurred_at", "occurredAt"),
    )?;
    let occurred_at = said.or_else(|| {
        let bare = id.rsplit(|c: char| !c.is_ascii_alphanumeric()).next()?;
        Micros::from_ms(bare.parse::<Ulid>().ok()?.ms())
    });
    let event_id = ulid.or_else(|| entry.derive(occurred_at, [Some(id.as_bytes())]));

    let provider_kind = text(object, "event_type", "eventType").unwrap_or(Cow::Borrowed("0"));
    let recipient = object.object("recipient");
    let of_recipient = |snake, camel| {
        let nested = recipient.and_then(|it| text(it, snake, camel));
        nested.or_else(|| text(object, snake, camel))
    };
    let error_code = of_recipient("error_code", "errorCode");
    Ok(Event {
        event_id,
        kind: kind(&provider_kind, error_code.as_deref()),
        channel: Some(Cow::Borrowed("chat")),
        occurred_at,
        request_id: text(object, "send_request_id", "sendRequestId"),
        message_id: of_recipient("message_id", "messageId"),
        recipient: of_recipient("ppnum", "ppnum"),
        campaign: None,
        error_code,
        reason: None,
        provider_kind,
    })
}

pub(super) fn cursor<'a>(object: Object<'a, '_>) -> Option<Cow<'a, str>> {
    object
        .string("event_id")
        .or_else(|| object.string("eventId"))
}

fn kind(event_type: &str, error_code: Option<&str>) -> Kind {
    match word(event_type, "sendrequesteventtype").as_str() {
        "recipientdelivered" => Kind::MessageDelivered,
        "recipientfailed" => failed(error_code),
        "recipientpendingconsent" => Kind::ConsentRequested,
        "consentgranted" => Kind::ConsentGranted,
        "consentdenied" => Kind::ConsentDenied,
        "requestcompleted" => Kind::RequestCompleted,
        "requestfailed" => Kind::RequestFailed,
        "pollresponsereceived" => Kind::PollAnswered,
        _ => Kind::Other,
    }
}

/// The kind of an event that reports the failure of one recipient.
pub(super) fn failed(error_code: Option<&str>) -> Kind {
    match word(error_code.unwrap_or_default(), "").as_str() {
        "consentdenied" => Kind::ConsentDenied,
        "consentexpired" => Kind::ConsentExpired,
        _ => Kind::MessageFailed,
    }
}
