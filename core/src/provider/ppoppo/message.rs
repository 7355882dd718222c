//! A message of the stream `channels`: one that was written in one of the app's channels.
//!
//! A message from a person is `inbound.received`. The person is stored as the recipient, by
//! whom messages are looked up and erased. The stream also carries the app's own messages
//! (`from_app`). They are `other`, so that nobody mistakes them for an answer.

use std::borrow::Cow;

use super::{get, text, timestamp, value};
use crate::{
    event::{Event, ItemError},
    json::{self, Object},
    kind::Kind,
    provider::Entry,
    time::Micros,
    ulid::Ulid,
};

pub(super) fn read<'a>(entry: &Entry<'a, '_>) -> Result<Event<'a>, ItemError> {
    let object = entry.object;
    let message = object.value("message").ok_or(ItemError::Missing("message"))?;
    let message = message.object().ok_or_else(|| json::not_an_object(message))?;
    let id = json::required("message.id", message.get("id"))?;
    let ulid = id.parse::<Ulid>().ok();
    let said = timestamp(
        entry,
        "message.created_at",
        value(message, "created_at", "createdAt"),
    )?;
    let occurred_at = said.or_else(|| Micros::from_ms(ulid?.ms()));
    let from_app = get(object, "from_app", "fromApp") == Some("true");
    let provider_kind = text(message, "type", "type").unwrap_or(Cow::Borrowed("0"));
    Ok(Event {
        event_id: ulid.or_else(|| entry.derive(occurred_at, [Some(id.as_bytes())])),
        kind: if from_app {
            Kind::Other
        } else {
            Kind::InboundReceived
        },
        channel: Some(Cow::Borrowed("chat")),
        occurred_at,
        request_id: None,
        recipient: text(message, "sender_ppnum", "senderPpnum").filter(|_| !from_app),
        campaign: None,
        error_code: None,
        reason: None,
        message_id: Some(id),
        provider_kind,
    })
}

pub(super) fn cursor<'a>(object: Object<'a, '_>) -> Option<Cow<'a, str>> {
    object.object("message")?.string("id")
}
