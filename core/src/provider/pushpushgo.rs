//! PushPushGo: webhooks signed with HMAC-SHA1, one object each.
//! Source: PushPushGo help, "Webhooks".
//!
//! - The key of the signature is the ProjectId, which is part of the script on every
//!   site. The signature therefore proves that the body was not changed, but not who sent
//!   it. A URL token in addition proves that.
//! - The page does not say whether the signature of a compressed body covers the bytes as
//!   sent or the body without its coding, so either is accepted.
//! - `ppgId` (subscriber events) and `subscriberId` (message events) are one identity.
//! - A message event is identified by kind, message, subscriber, time and click action.
//!   Each should have a `ts`; without it the other fields are the identity.
//! - For any other event the documentation does not say what distinguishes it from
//!   others, so its bytes are part of its identity too.
//! - Subscriber events carry neither an id nor a time. Each delivery is an event of its
//!   own, at the time of its arrival, because two of them cannot be distinguished.
//! - The page does not say whether, or how often, a request is sent again that was not
//!   accepted.

use std::borrow::Cow;

use super::{Entry, Provider, Scheme};
use crate::{
    event::{Event, Facts, ItemError},
    json::Object,
    kind::Kind,
};

pub(super) static PROVIDER: Provider = Provider {
    name: "pushpushgo",
    scheme: Scheme::HmacSha1 {
        header: "x-ppg-signature",
        readable_key: Some("the ProjectId, which every visitor of the site can read"),
    },
    secret: "the ProjectId, with which bodies are signed",
    retries: None,
    gives_up_after_4xx: false,
    asks_consent: false,
    calls: &[],
    options: &[],
    wrapper: None,
    counts_repeats: false,
    read,
    facts,
};

fn read<'a>(entry: &Entry<'a, '_>) -> Result<Event<'a>, ItemError> {
    let object = entry.object;
    let provider_kind = object.required_text("kind")?;
    let message_id = object.text("messageId");
    let recipient = object.text("subscriberId").or_else(|| object.text("ppgId"));
    let occurred_at = entry.time("ts", object.get("ts"))?;
    let micros = occurred_at.map(|at| at.get().to_be_bytes());
    let click_action = object.text("clickAction");
    let identity = [
        Some(provider_kind.as_bytes()),
        message_id.as_deref().map(str::as_bytes),
        recipient.as_deref().map(str::as_bytes),
        micros.as_ref().map(<[u8; 8]>::as_slice),
        click_action.as_deref().map(str::as_bytes),
    ];
    let kind = kind(&provider_kind);
    let of_one = message_id.is_some() && recipient.is_some();
    let documented = of_one && kind != Kind::Other && is_message(&provider_kind);
    let bytes = (!documented).then_some(Some(entry.text.as_bytes()));
    // Without a time, a message event is identified by its message and subscriber.
    let told_apart = occurred_at.is_some() || of_one && is_message(&provider_kind);
    let event_id = told_apart
        .then(|| entry.derive(occurred_at, identity.into_iter().chain(bytes)))
        .flatten();
    let reason = object.text("reason").or_else(|| object.text("error"));
    Ok(Event {
        event_id,
        kind,
        channel: Some(Cow::Borrowed("push")),
        occurred_at,
        request_id: None,
        message_id,
        recipient,
        campaign: None,
        error_code: None,
        reason,
        provider_kind,
    })
}

fn facts<'a>(object: Object<'a, '_>) -> Facts<'a> {
    Facts {
        custom_id: object.text("customId"),
        ..Facts::default()
    }
}

fn is_message(word: &str) -> bool {
    word.starts_with("transaction:")
}

fn kind(word: &str) -> Kind {
    match word {
        "subscriber:update" => Kind::SubscriberUpdated,
        "subscriber:subscribe" => Kind::SubscriberSubscribed,
        "subscriber:unsubscribe" => Kind::SubscriberUnsubscribed,
        "transaction:message:delivered" => Kind::MessageDelivered,
        "transaction:message:clicked" => Kind::MessageClicked,
        "transaction:message:rejected" => Kind::MessageRejected,
        "transaction:message:error" => Kind::MessageFailed,
        _ => Kind::Other,
    }
}
