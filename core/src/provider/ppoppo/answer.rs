//! The answer to `GetSendRequestStatus`: the status of a send request, or of one of its
//! recipients. The worker asks for it where events are missing.
//!
//! [`Question::items`](crate::wire::Question::items) makes the items: one for each recipient,
//! and one for the request as a whole.
//!
//! An answer has neither an id nor a time of its own. Its identity is derived from its
//! contents, so that the same answer, received again, is a duplicate. A final status gets the
//! time at which it is first received, because that is later than all that led to it. A
//! status that is not final gets the time at which the recipient was created, so that it
//! overrules no event that arrives late.

use std::borrow::Cow;

use super::{event, get, text, timestamp, word};
use crate::{
    event::{Event, ItemError},
    json::{self, Object},
    kind::Kind,
    provider::Entry,
};

/// The field that only answers have.
pub(super) const MARK: &str = "reconciled";

/// The prefix of an answer's `provider_kind`; the provider's word for the status follows.
const ASKED: &str = "GetSendRequestStatus/";

pub(super) fn read<'a>(entry: &Entry<'a, '_>) -> Result<Event<'a>, ItemError> {
    let object = &entry.object;
    let request_id = json::required(
        "send_request_id",
        get(object, "send_request_id", "sendRequestId"),
    )?;
    let part = |name| object.get(name).and_then(|json| Object::parse(json).ok());
    let (recipient, answer) = match (part("recipient"), part("summary")) {
        (Some(recipient), _) => (true, recipient),
        (None, Some(summary)) => (false, summary),
        (None, None) => return Err(ItemError::Missing("recipient")),
    };
    let status = text(&answer, "status", "status").unwrap_or(Cow::Borrowed("0"));
    let error_code = text(&answer, "error_code", "errorCode");
    let (kind, is_final) = if recipient {
        of_recipient(&status, error_code.as_deref())
    } else {
        of_request(&status)
    };
    let occurred_at = if is_final {
        None
    } else {
        timestamp(entry, "created_at", get(&answer, "created_at", "createdAt"))?
    };
    let ppnum = text(&answer, "ppnum", "ppnum");
    let message_id = text(&answer, "message_id", "messageId");
    let said = [&ppnum, &message_id, &error_code];
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

/// What the status of a recipient means, and whether the status is final.
fn of_recipient(status: &str, error_code: Option<&str>) -> (Kind, bool) {
    match word(status, "recipientdeliverystatus").as_str() {
        "delivered" => (Kind::MessageDelivered, true),
        "failed" => (event::failed(error_code), true),
        "pendingconsent" => (Kind::ConsentRequested, false),
        "pending" => (Kind::MessagePending, false),
        _ => (Kind::Other, false),
    }
}

fn of_request(status: &str) -> (Kind, bool) {
    match word(status, "sendrequeststatus").as_str() {
        "completed" => (Kind::RequestCompleted, true),
        "failed" => (Kind::RequestFailed, true),
        _ => (Kind::Other, false),
    }
}
