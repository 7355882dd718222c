//! Ppoppo: two gRPC streams, dialed by us and resumed by the id of what came last. Sources:
//! the contract that the provider has published (`pcs.external.v1`, October 2026), and
//! Ppoppo Docs, "Event Streaming", which has other names and types.
//!
//! - [`event`]: what happens to send requests and their recipients
//! - [`answer`]: how one of them stands, because the worker has asked
//! - [`message`]: what is written in the app's channels
//!
//! Field names are read in snake_case (the provider's) or lowerCamelCase (protobuf's own
//! JSON).
//!
//! # Not tested
//!
//! The other services of the same package (templates, apps): none is called.

mod answer;
mod event;
mod message;

use std::borrow::Cow;

use super::{
    Dialing, Entry, Grant, Provider, Scheme, Settings,
    options::{self, Spec},
};
use crate::{
    event::{Event, Facts, ItemError},
    json::{self, Object, Value},
    time::{self, Micros},
    wire::{Call, Frame, Inquiry, Proto, Role, Start},
};

const PROTO: Proto = proto!("ppoppo/v1/external.proto");

/// Each stream sends a sign of life every 20 seconds.
const FRAME: Frame = Frame {
    event: "event",
    alive: &["keep_alive"],
    expired: Some("cursor_expired"),
};

const SEND_REQUESTS: &str = "send_requests";
const CHANNELS: &str = "channels";

pub(super) static PROVIDER: Provider = Provider {
    name: "ppoppo",
    // The values of the provider's own client. The limit allows for three signs of life that
    // do not arrive, and for a margin.
    scheme: Scheme::Dialed(Dialing {
        endpoint: Some("https://chat.ppoppo.com/ext"),
        keepalive: 20,
        idle_limit: 65,
        grant: Grant {
            issuer: Some("https://accounts.ppoppo.com"),
            resource: true,
            in_form: true,
            scope: Some("chat.read"),
        },
    }),
    secret: "the client secret, if `client_id` is set; otherwise the bearer token",
    gives_up_after_4xx: false,
    asks_consent: true,
    calls: &[
        Call {
            stream: SEND_REQUESTS,
            method: "/pcs.external.v1.MessageService/StreamSendRequestEvents",
            proto: PROTO,
            key: "event_id",
            needs: "event_type",
            beside: false,
            time: Some("occurred_at"),
            values: event::TYPES,
            frame: Some(FRAME),
            role: Role::Dialed {
                cursor: "after_event_id",
                start: Start::LiveEdge,
                filters: &["send_request_id"],
            },
            inquiry: Some(Inquiry {
                method: "/pcs.external.v1.MessageService/GetSendRequestStatus",
                proto: PROTO,
                id: "id",
                summary: "request",
                recipients: "recipients",
            }),
        },
        Call {
            stream: CHANNELS,
            method: "/pcs.external.v1.ChannelService/StreamChannelEvents",
            proto: PROTO,
            key: "message.id",
            needs: "channel_id",
            beside: false,
            time: None,
            values: &[],
            frame: Some(FRAME),
            role: Role::Dialed {
                cursor: "after_message_id",
                start: Start::LiveEdge,
                filters: &["channel_ids"],
            },
            inquiry: None,
        },
    ],
    options: &[
        Spec::new(
            "stream",
            options::Form::OneOf(&[SEND_REQUESTS, CHANNELS]),
            "The stream that the source follows: `send_requests` (default), what happens to send requests and their recipients, or `channels`, the messages in the app's channels. Use a source for each.",
        ),
        Spec::new(
            "send_request_id",
            options::Form::Text,
            "Restricts the stream `send_requests` to the events of one send request.",
        ),
        Spec::new(
            "channel_ids",
            options::Form::Texts,
            "Restricts the stream `channels` to these channels: an array of their ids.",
        ),
    ],
    retries: None,
    wrapper: None,
    counts_repeats: false,
    read,
    facts,
};

/// The three kinds of items.
enum Form {
    Answer,
    Message,
    Event,
}

impl Form {
    fn of(object: Object<'_, '_>) -> Self {
        if object.get(answer::MARK).is_some() {
            Self::Answer
        } else if get(object, "event_id", "eventId").is_none() && object.get("message").is_some() {
            Self::Message
        } else {
            Self::Event
        }
    }
}

fn read<'a>(entry: &Entry<'a, '_>) -> Result<Event<'a>, ItemError> {
    match Form::of(entry.object) {
        Form::Answer => answer::read(entry),
        Form::Message => message::read(entry),
        Form::Event => event::read(entry),
    }
}

fn facts<'a>(object: Object<'a, '_>) -> Facts<'a> {
    let id = match Form::of(object) {
        // An answer is not part of a stream.
        Form::Answer => None,
        Form::Message => message::cursor(object),
        Form::Event => event::cursor(object),
    };
    Facts {
        cursor: id.filter(|id| !id.is_empty()),
        summary: object.get("summary"),
        asked_at: object.object("recipient").and_then(created_at),
        ..Facts::default()
    }
}

/// When the entry of a recipient was created, in the forms of the contract: by RFC 3339, or
/// as the message of a `google.protobuf.Timestamp`.
fn created_at(recipient: Object<'_, '_>) -> Option<Micros> {
    let value = value(recipient, "created_at", "createdAt")?;
    let at = match value.object() {
        Some(message) => of_message(message)??,
        None => Settings::default().time(&json::text(value.text())?)?,
    };
    at.if_set()
}

/// A `google.protobuf.Timestamp` as its message, or any other form of time. Its zero
/// values are absent from the wire, so a message without seconds says nothing.
fn timestamp(
    entry: &Entry<'_, '_>,
    field: &'static str,
    value: Option<Value<'_, '_>>,
) -> Result<Option<Micros>, ItemError> {
    let Some(message) = value.and_then(Value::object) else {
        return entry.time(field, value.map(Value::text));
    };
    of_message(message).ok_or(ItemError::Invalid {
        field,
        expected: "a Timestamp from 1970 on",
    })
}

/// The time in a Timestamp message; `None` if it has none that can be represented,
/// `Some(None)` if it was never set.
fn of_message(message: Object<'_, '_>) -> Option<Option<Micros>> {
    let seconds = message.text("seconds");
    let Some(seconds) = seconds.filter(|text| !time::is_never(text)) else {
        return Some(None);
    };
    let nanos = message.text("nanos").unwrap_or(Cow::Borrowed("0"));
    let seconds = seconds.parse::<i64>().ok()?.checked_mul(1_000_000)?;
    let at = Micros::new(seconds.checked_add(nanos.parse::<i64>().ok()? / 1000)?)?;
    Some(at.if_set())
}

/// The letters and digits of a value of an enum, in lower case, without its prefix.
fn word(value: &str, prefix: &str) -> String {
    let letters = value.chars().filter(char::is_ascii_alphanumeric);
    let word: String = letters.map(|c| c.to_ascii_lowercase()).collect();
    match word.strip_prefix(prefix) {
        Some(rest) => rest.to_owned(),
        None => word,
    }
}

fn text<'a>(object: Object<'a, '_>, snake: &str, camel: &str) -> Option<Cow<'a, str>> {
    get(object, snake, camel).and_then(json::text)
}

fn get<'a>(object: Object<'a, '_>, snake: &str, camel: &str) -> Option<&'a str> {
    value(object, snake, camel).map(Value::text)
}

fn value<'a, 't>(object: Object<'a, 't>, snake: &str, camel: &str) -> Option<Value<'a, 't>> {
    object.value(snake).or_else(|| object.value(camel))
}
