//! Pushwoosh: event streaming, pushed to us by HTTP or by a bidirectional gRPC stream.
//! Source: Pushwoosh Docs, "Event streaming integration".
//!
//! The page shows one body, calls batches batches without showing one, and says that
//! the list of events "may change over time". So a body is one object, an array, an
//! object that wraps one array of objects, or several of these one after another; and an
//! event name is read by its words, with `other` for those that say nothing known.
//!
//! An event has an id only on gRPC (`uuid`). By HTTP it is its bytes, together with how
//! many equal ones stood before it in the request: two equal events of a batch stay
//! two, and a batch that is sent again meets itself. Neither needs a `timestamp`.
//!
//! The page does not show the message that carries the `uuid`: the event's fields may stand
//! beside it, or in the one field that holds the event, as an object or as its text.
//!
//! Live activity events "contain only metadata including live_activity_id", so they need
//! no name. That id, the journey and the application stay in the payload.
//!
//! A soft bounce is `message.pending`: its sender tries again, and may yet deliver,
//! while `message.bounced` is final.

use std::{borrow::Cow, time::Duration};

use super::{Entry, Provider, Scheme};
use crate::{
    event::{Event, Facts, ItemError},
    json::{self, Object, Tape, Wrapper},
    kind::Kind,
    wire::{Call, Role},
};

/// "If all retries fail, the request is discarded." Over gRPC the page gives no schedule.
const RETRIES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(8),
];

pub(super) static PROVIDER: Provider = Provider {
    name: "pushwoosh",
    scheme: Scheme::Authorization,
    secret: "the whole value of the header `Authorization`",
    retries: Some(&RETRIES),
    gives_up_after_4xx: true,
    asks_consent: false,
    calls: &[Call {
        stream: "",
        method: "/pushwoosh.event_streaming.v1.EventStreaming/StreamEvents",
        proto: proto!("pushwoosh/v1/event_streaming.proto"),
        key: "uuid",
        needs: "event_name",
        beside: true,
        time: None,
        values: &[],
        frame: None,
        role: Role::Served {
            status: "status",
            success: "Success",
            reason: "reason",
        },
        inquiry: None,
    }],
    options: &[],
    wrapper: Some(Wrapper {
        unless: &["event_name", "live_activity_id", "uuid"],
    }),
    counts_repeats: true,
    read,
    facts: Facts::none,
};

fn read<'a>(entry: &Entry<'a, '_>) -> Result<Event<'a>, ItemError> {
    match nested(entry) {
        Some(Nested::Object(event)) => fields(entry, event),
        Some(Nested::Text(text, tape)) => {
            let event = tape.value(&text).object();
            event.map_or_else(
                || fields(entry, entry.object),
                |event| fields(entry, event).map(owned),
            )
        }
        None => fields(entry, entry.object),
    }
}

/// An event in a field of an item: an object, or the text of one.
enum Nested<'a, 's> {
    Object(Object<'a, 's>),
    Text(Cow<'a, str>, Tape),
}

/// The event that stands in a field of the item; none where the item is the event, or
/// where two could be meant.
fn nested<'a, 's>(entry: &Entry<'a, 's>) -> Option<Nested<'a, 's>> {
    let is_event = |object: Object<'_, '_>| {
        let has = |field| object.get(field).is_some();
        has("event_name") || has("live_activity_id")
    };
    if is_event(entry.object) {
        return None;
    }
    let mut events = entry.object.values().filter_map(|value| {
        if let Some(object) = value.object() {
            return is_event(object).then_some(Nested::Object(object));
        }
        let text = json::text(value.text()).filter(|text| text.trim_start().starts_with('{'))?;
        let tape = Tape::of(&text, entry.pause).ok()?;
        tape.check_numbers().ok()?;
        let is_one = tape.value(&text).object().is_some_and(is_event);
        is_one.then_some(Nested::Text(text, tape))
    });
    events.next().filter(|_| events.next().is_none())
}

/// The event whose fields are those of `object`: the item's, or those of one in it.
fn fields<'o>(entry: &Entry<'_, '_>, object: Object<'o, '_>) -> Result<Event<'o>, ItemError> {
    let provider_kind = match object.get("event_name") {
        None if object.get("live_activity_id").is_some() => Cow::Borrowed("Live activity"),
        name => json::required("event_name", name)?,
    };
    let occurred_at = entry.time("timestamp", object.get("timestamp"))?;
    let uuid = entry.object.get("uuid").filter(|uuid| *uuid != "\"\"");
    let uuid = uuid.or_else(|| object.get("uuid").filter(|uuid| *uuid != "\"\""));
    let event_id = match uuid {
        Some(uuid) => {
            let uuid = json::required("uuid", Some(uuid))?;
            entry.derive(occurred_at, [Some(uuid.as_bytes())])
        }
        None => {
            let repeat = entry.repeat.to_be_bytes();
            entry.derive(
                occurred_at,
                [None, Some(entry.text.as_bytes()), Some(&repeat)],
            )
        }
    };
    let message_id = object
        .text("message_code")
        .or_else(|| object.text("message_id"));
    let recipient = object.text("hwid").or_else(|| object.text("user_id"));
    Ok(Event {
        event_id,
        kind: kind(&provider_kind),
        channel: object.text("platform").map(channel),
        occurred_at,
        request_id: None,
        message_id,
        recipient,
        campaign: object.text("campaign_id"),
        error_code: None,
        reason: None,
        provider_kind,
    })
}

/// The same event, of a text that is gone when the item has been read.
fn owned(event: Event<'_>) -> Event<'static> {
    let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
    Event {
        event_id: event.event_id,
        kind: event.kind,
        provider_kind: own(event.provider_kind),
        channel: event.channel.map(own),
        occurred_at: event.occurred_at,
        request_id: event.request_id.map(own),
        message_id: event.message_id.map(own),
        recipient: event.recipient.map(own),
        campaign: event.campaign.map(own),
        error_code: event.error_code.map(own),
        reason: event.reason.map(own),
    }
}

/// The words of an event name that say something.
const KINDS: &[(&[&str], Kind)] = &[
    (&["accepted"], Kind::MessageAccepted),
    (&["sent"], Kind::MessageSent),
    (&["pending", "queued", "deferred"], Kind::MessagePending),
    (&["delivered"], Kind::MessageDelivered),
    (
        &["undelivered", "undeliverable", "failed", "error"],
        Kind::MessageFailed,
    ),
    (&["rejected", "dropped"], Kind::MessageRejected),
    (&["expired"], Kind::MessageExpired),
    (&["opened", "open", "read", "seen"], Kind::MessageOpened),
    (&["clicked", "click"], Kind::MessageClicked),
    (&["bounced", "bounce"], Kind::MessageBounced),
    (
        &["complained", "complaint", "spam"],
        Kind::MessageComplained,
    ),
    (&["unsubscribed", "unsubscribe"], Kind::MessageUnsubscribed),
];

/// Reads an event name such as "Email Soft Bounced" by its words, the last one that
/// says something first.
fn kind(name: &str) -> Kind {
    let (mut negated, mut soft, mut known) = (false, false, None);
    for word in name.split(|c: char| !c.is_alphanumeric()) {
        let is = |what: &[&str]| what.iter().any(|what| what.eq_ignore_ascii_case(word));
        negated |= is(&["not", "never", "non"]);
        soft |= is(&["soft"]);
        known = KINDS
            .iter()
            .find(|(words, _)| is(words))
            .map(|(_, kind)| *kind)
            .or(known);
    }
    match known {
        Some(Kind::MessageDelivered | Kind::MessageSent) if negated => Kind::MessageFailed,
        Some(_) if negated => Kind::Other,
        Some(Kind::MessageBounced) if soft => Kind::MessagePending,
        Some(kind) => kind,
        None => Kind::Other,
    }
}

/// The channel of a platform. The page's list has device platforms, which are all
/// push, beside channels of their own; which device it was stays in the payload.
fn channel(platform: Cow<'_, str>) -> Cow<'_, str> {
    if PUSH.iter().any(|push| push.eq_ignore_ascii_case(&platform)) {
        return Cow::Borrowed("push");
    }
    if platform
        .chars()
        .all(|c| c.is_ascii() && !c.is_ascii_uppercase())
    {
        return platform;
    }
    Cow::Owned(platform.to_lowercase())
}

/// The platforms that are devices.
const PUSH: [&str; 12] = [
    "ios",
    "android",
    "macos",
    "windows",
    "amazon",
    "safari",
    "chrome",
    "firefox",
    "internet explorer",
    "baidu",
    "huawei",
    "xiaomi",
];
