//! PushPushGo: webhooks signed with HMAC-SHA1, one object each.
//! Source: PushPushGo help, "Webhooks".
//!
//! - The signature's key is the ProjectId, which stands in every site's script: it
//!   proves that the body is whole, not who sent it. A URL token on top proves that.
//! - `ppgId` (subscriber events) and `subscriberId` (message events) are one identity.
//! - Subscriber events carry neither an id nor a time: each receipt is an event of its
//!   own, at the time of its receipt, because nothing tells two apart.

use std::borrow::Cow;

use super::{Entry, Provider, Scheme};
use crate::{
    event::{Event, ItemError},
    kind::Kind,
    time::Micros,
};

pub(super) static PROVIDER: Provider = Provider {
    name: "pushpushgo",
    scheme: Scheme::HmacSha1 {
        header: "x-ppg-signature",
    },
    options: &[],
    wrapper: None,
    counts_repeats: false,
    read,
};

fn read<'a>(entry: &Entry<'a, '_>) -> Result<Event<'a>, ItemError> {
    let object = &entry.object;
    let provider_kind = object.required_text("kind")?;
    let kind = kind(&provider_kind);
    let recipient = object.text("subscriberId").or_else(|| object.text("ppgId"));
    let message_id = object.text("messageId");
    let occurred_at = match object.text("ts") {
        Some(ts) => Some(Micros::from_any(&ts, entry.zone).ok_or(ItemError::Invalid {
            field: "ts",
            expected: "an ISO 8601 date-time or a number of milliseconds since 1970",
        })?),
        // A message event always has its time; without it a retry could not be told
        // from a second event.
        None if provider_kind.starts_with("transaction:") => return Err(ItemError::Missing("ts")),
        None => None,
    };
    let click_action = object.text("clickAction");
    let event_id = occurred_at.and_then(|at| {
        let micros = at.get().to_be_bytes();
        let part = |text: &'_ Option<Cow<'_, str>>| text.as_deref().map(|t| t.as_bytes().to_vec());
        let parts = [
            part(&message_id),
            part(&recipient),
            Some(micros.to_vec()),
            part(&click_action),
        ];
        let kind = Some(provider_kind.as_bytes());
        entry.derive(
            at,
            [kind].into_iter().chain(parts.iter().map(Option::as_deref)),
        )
    });
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
