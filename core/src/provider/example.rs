//! Acme: e-mail webhooks, one object each, signed with HMAC-SHA1.
//! Source: Acme's page, "Webhooks".
//!
//! - An event's `id` is its identity; a retry carries the same.
//! - The page does not say how `at` is written, so any form of time is accepted.

use std::borrow::Cow;

use super::{
    Entry, Provider, Scheme,
    options::{Form, Spec},
};
use crate::{
    event::{Event, Facts, ItemError},
    kind::Kind,
};

pub(super) static PROVIDER: Provider = Provider {
    name: "acme",
    scheme: Scheme::HmacSha1 {
        header: "x-acme-signature",
        readable_key: None,
    },
    secret: "the key of the signature",
    retries: None,
    gives_up_after_4xx: false,
    asks_consent: false,
    calls: &[],
    options: &[Spec::new(
        "timezone",
        Form::TimeZone,
        "The time zone of times without an offset (default UTC).",
    )],
    wrapper: None,
    counts_repeats: false,
    read,
    facts: Facts::none,
};

fn read<'a>(entry: &Entry<'a, '_>) -> Result<Event<'a>, ItemError> {
    let object = &entry.object;
    let id = object.required_text("id")?;
    let provider_kind = object.required_text("type")?;
    let occurred_at = entry.time("at", object.get("at"))?;
    let kind = match provider_kind.as_ref() {
        "delivered" => Kind::MessageDelivered,
        "opened" => Kind::MessageOpened,
        "bounced" => Kind::MessageBounced,
        _ => Kind::Other,
    };
    Ok(Event {
        event_id: entry.derive(occurred_at, [Some(id.as_bytes())]),
        kind,
        provider_kind,
        channel: Some(Cow::Borrowed("email")),
        occurred_at,
        request_id: None,
        message_id: object.text("message"),
        recipient: object.text("to"),
        campaign: None,
        error_code: object.text("code"),
        reason: object.text("reason"),
    })
}
