//! Arpoone: SMS states, e-mail events and inbound SMS, in arrays of up to 1000, in no
//! order. Sources: Arpoone API, "SMS Webhooks", "Email Webhooks", "2WM Webhooks".
//!
//! The three are told apart by their fields, so that one URL may take all of them:
//! an item with `Status` is an SMS state, one with `EventType` an e-mail event, one with
//! `From` and `ReceiveDateTime` or `Text` an inbound SMS.
//!
//! None has an id of its own, but for the inbound SMS: an SMS state is told by message,
//! status, report time and description, an e-mail event by all that it says, whatever
//! the order and the blanks of its details.
//!
//! The pages do not say how times are written. The source's `time_format` is tried
//! first, then numbers and ISO 8601, in the source's `timezone` (UTC by default) where
//! there is no offset; a date in digits alone needs a `time_format`. .NET's year 1 stands for a time that was never set. Field names
//! are read in any case, because receivers in the field have met both `Msisdn` and
//! `msisdn`.

use std::borrow::Cow;

use super::{
    Entry, Provider, Scheme,
    options::{Form, Spec},
};
use crate::{
    event::{Event, Facts, ItemError},
    json::{self, Object},
    kind::Kind,
    time::{self, Micros},
};

pub(super) static PROVIDER: Provider = Provider {
    name: "arpoone",
    scheme: Scheme::UrlToken,
    secret: "the last part of the URL",
    gives_up_after_4xx: false,
    calls: &[],
    options: &[
        Spec::new(
            "timezone",
            Form::TimeZone,
            "The time zone of times without an offset (default UTC).",
        ),
        Spec::new(
            "time_format",
            Form::TimeFormat,
            "The format of times, in the syntax of strptime. It is tried before every other format.",
        ),
    ],
    wrapper: None,
    counts_repeats: false,
    read,
    facts: Facts::none,
};

fn read<'a>(entry: &Entry<'a, '_>) -> Result<Event<'a>, ItemError> {
    let item = Fields(entry);
    let has = |name| item.get(name).is_some();
    if has("Status") {
        sms_state(&item)
    } else if has("EventType") {
        email_event(&item)
    } else if has("From") && (has("ReceiveDateTime") || has("Text")) {
        inbound_sms(&item)
    } else {
        sms_state(&item)
    }
}

/// The fields of an item, whatever the case of their names.
struct Fields<'e, 'a, 's>(&'e Entry<'a, 's>);

impl<'a> Fields<'_, 'a, '_> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.object.get_any_case(name)
    }

    fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).and_then(json::text)
    }

    fn required(&self, name: &'static str) -> Result<Cow<'a, str>, ItemError> {
        json::required(name, self.get(name))
    }

    fn time(&self, name: &'static str) -> Result<Option<Micros>, ItemError> {
        let said = self.text(name).filter(|text| !time::is_never(text));
        said.map(|text| self.0.time_as(name, &text, true))
            .transpose()
    }
}

fn sms_state<'a>(item: &Fields<'_, 'a, '_>) -> Result<Event<'a>, ItemError> {
    let message_id = item.required("MessageId")?;
    let provider_kind = item.required("Status")?;
    let occurred_at = item.time("ReportDateTime")?;
    let reason = item.text("ReportDescription");
    // The time as written is not part of the identity: the time it means is, down to
    // the microsecond, so that a retry written with another offset is the same state.
    let micros = occurred_at.map(|at| at.get().to_be_bytes());
    let event_id = item.0.derive(
        occurred_at,
        [
            Some(message_id.as_bytes()),
            Some(provider_kind.as_bytes()),
            micros.as_ref().map(<[u8; 8]>::as_slice),
            reason.as_deref().map(str::as_bytes),
        ],
    );
    let kind = match provider_kind.to_ascii_uppercase().as_str() {
        "DELIVERED" => Kind::MessageDelivered,
        "NOT_DELIVERED" => Kind::MessageFailed,
        "PENDING" => Kind::MessagePending,
        _ => Kind::Other,
    };
    Ok(Event {
        event_id,
        kind,
        channel: Some(Cow::Borrowed("sms")),
        occurred_at,
        request_id: None,
        message_id: Some(message_id),
        recipient: item.text("Msisdn"),
        campaign: None,
        error_code: None,
        reason,
        provider_kind,
    })
}

fn email_event<'a>(item: &Fields<'_, 'a, '_>) -> Result<Event<'a>, ItemError> {
    let provider_kind = item.required("EventType")?;
    let message_id = item.required("MessageId")?;
    let recipient = item.text("Email");
    let occurred_at = item.time("Time")?;
    let details = item.get("EventDetails").and_then(json::canonical);
    let micros = occurred_at.map(|at| at.get().to_be_bytes());
    let event_id = item.0.derive(
        occurred_at,
        [
            Some(&b"email"[..]),
            Some(message_id.as_bytes()),
            Some(provider_kind.as_bytes()),
            recipient.as_deref().map(str::as_bytes),
            micros.as_ref().map(<[u8; 8]>::as_slice),
            details.as_deref().map(str::as_bytes),
        ],
    );
    let kind = match provider_kind.to_ascii_lowercase().as_str() {
        "bounced" => Kind::MessageBounced,
        "clicked" => Kind::MessageClicked,
        "opened" => Kind::MessageOpened,
        "spam" => Kind::MessageComplained,
        "unsubscribed" => Kind::MessageUnsubscribed,
        // Refused by Arpoone itself, before it was sent.
        "blocked" => Kind::MessageRejected,
        _ => Kind::Other,
    };
    Ok(Event {
        event_id,
        kind,
        channel: Some(Cow::Borrowed("email")),
        occurred_at,
        request_id: None,
        message_id: Some(message_id),
        recipient,
        campaign: None,
        error_code: None,
        reason: item.get("EventDetails").and_then(reason),
        provider_kind,
    })
}

/// The words in an e-mail event's details, which the page shows as an object without
/// saying what is in it.
fn reason(details: &str) -> Option<Cow<'_, str>> {
    match Object::parse(details) {
        Ok(object) => ["Reason", "Description", "Error", "Message"]
            .into_iter()
            .find_map(|name| object.get_any_case(name).and_then(json::text)),
        Err(_) if details.starts_with('"') => json::text(details),
        Err(_) => None,
    }
}

/// What is called an inbound SMS, which has no word for it.
const INBOUND: &str = "2WM";

fn inbound_sms<'a>(item: &Fields<'_, 'a, '_>) -> Result<Event<'a>, ItemError> {
    let message_id = item.required("Id")?;
    let occurred_at = item.time("ReceiveDateTime")?;
    let identity = [Some(INBOUND.as_bytes()), Some(message_id.as_bytes())];
    Ok(Event {
        event_id: item.0.derive(occurred_at, identity),
        kind: Kind::InboundReceived,
        channel: Some(Cow::Borrowed("sms")),
        occurred_at,
        request_id: None,
        recipient: item.text("From"),
        message_id: Some(message_id),
        campaign: None,
        error_code: None,
        reason: None,
        provider_kind: Cow::Borrowed(INBOUND),
    })
}
