//! PushPushGo: webhooks signed with HMAC-SHA1, one object each.
//! Source: PushPushGo help, "Webhooks".
//!
//! - The signature's key is the ProjectId, which stands in every site's script: it
//!   proves that the body is whole, not who sent it. A URL token on top proves that.
//! - `ppgId` (subscriber events) and `subscriberId` (message events) are one identity.
//! - Message events are told apart by kind, message, subscriber, time and click action.
//!   The page gives each a `ts`; without one the rest is the identity.
//! - Of any other event the page does not say what tells it from others: then the bytes
//!   are part of its identity as well.
//! - Subscriber events carry neither an id nor a time: each receipt is an event of its
//!   own, at the time of its receipt, because nothing tells two apart.

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
    gives_up_after_4xx: false,
    calls: &[],
    options: &[],
    wrapper: None,
    counts_repeats: false,
    read,
    facts,
};

fn read<'a>(entry: &Entry<'a, '_>) -> Result<Event<'a>, ItemError> {
    let object = &entry.object;
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
    // Without a time, a message event is told by whose message it is.
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

fn facts<'a>(object: &Object<'a>) -> Facts<'a> {
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
