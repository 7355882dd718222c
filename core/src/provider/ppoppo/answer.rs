//! The answer to `GetSendRequestStatus`: the status of a send request, or of one of its
//! recipients. The worker asks for it where events are missing.
//!
//! [`Question::items`](crate::wire::Question::items) makes the items: one for each recipient,
//! and one for the request as a whole.
//!
//! An answer has neither an id nor a time of its own. Its identity is derived from its
//! contents, so that the same answer, received again, is a duplicate.
//!
//! The status of a recipient gets the time at which the recipient was created. That is
//! earlier than every event of the recipient, so that the event itself, whether it arrived
//! before or arrives late, overrules the answer. The outcome of a send request gets the time
//! at which it is first received, and its counts are part of its identity. That is later than
//! the event that reported it, so that the newest counts are those that remain.

use std::borrow::Cow;

use super::{event, get, text, timestamp, value, word};
use crate::{
    event::{Event, ItemError},
    json,
    kind::Kind,
    provider::Entry,
};

/// The field that only answers have.
pub(super) const MARK: &str = "reconciled";

/// The prefix of an answer's `provider_kind`; the provider's word for the status follows.
const ASKED: &str = "GetSendRequestStatus/";

/// The counts of a request.
const COUNTS: [(&str, &str); 4] = [
    ("total_recipients", "totalRecipients"),
    ("delivered", "delivered"),
    ("pending_consent", "pendingConsent"),
    ("failed", "failed"),
];

pub(super) fn read<'a>(entry: &Entry<'a, '_>) -> Result<Event<'a>, ItemError> {
    let object = entry.object;
    let request_id = json::required(
        "send_request_id",
        get(object, "send_request_id", "sendRequestId"),
    )?;
    let (recipient, answer) = match (object.object("recipient"), object.object("summary")) {
        (Some(recipient), _) => (true, recipient),
        (None, Some(summary)) => (false, summary),
        (None, None) => return Err(ItemError::Missing("recipient")),
    };
    let status = text(answer, "status", "status").unwrap_or(Cow::Borrowed("0"));
    let error_code = text(answer, "error_code", "errorCode");
    let kind = if recipient {
        of_recipient(&status, error_code.as_deref())
    } else {
        of_request(&status)
    };
    let created_at = timestamp(
        entry,
        "created_at",
        value(answer, "created_at", "createdAt"),
    )?;
    let occurred_at = created_at.filter(|_| recipient || kind == Kind::Other);
    let ppnum = text(answer, "ppnum", "ppnum");
    let message_id = text(answer, "message_id", "messageId");
    let said = [&ppnum, &message_id, &error_code];
    let counts = COUNTS.map(|(snake, camel)| text(answer, snake, camel));
    let said = said.into_iter().chain(counts.iter().filter(|_| !recipient));
    let said = said.map(|text| text.as_deref().map(str::as_bytes));
    let word = if recipient {
        word(&status, "recipientdeliverystatus")
    } else {
        word(&status, "sendrequeststatus")
    };
    let identity = [
        Some(MARK.as_bytes()),
        Some(request_id.as_bytes()),
        Some(if recipient { "recipient" } else { "request" }.as_bytes()),
        Some(word.as_bytes()),
    ];
    Ok(Event {
        event_id: entry.derive(occurred_at, identity.into_iter().chain(said)),
        kind,
        channel: Some(Cow::Borrowed("chat")),
        occurred_at,
        provider_kind: Cow::Owned(format!("{ASKED}{status}")),
        request_id: Some(request_id),
        message_id,
        recipient: ppnum,
        campaign: None,
        error_code,
        reason: None,
    })
}

/// The kind of an answer with this status of a recipient.
fn of_recipient(status: &str, error_code: Option<&str>) -> Kind {
    match word(status, "recipientdeliverystatus").as_str() {
        "delivered" => Kind::MessageDelivered,
        "failed" => event::failed(error_code),
        "pendingconsent" => Kind::ConsentRequested,
        "pending" => Kind::MessagePending,
        _ => Kind::Other,
    }
}

/// The kind of an answer with this status of a request, which is [`Kind::Other`] until the
/// request has ended.
fn of_request(status: &str) -> Kind {
    match word(status, "sendrequeststatus").as_str() {
        "completed" => Kind::RequestCompleted,
        "failed" => Kind::RequestFailed,
        _ => Kind::Other,
    }
}
