//! Arpoone: SMS states, e-mail events and inbound SMS, in arrays of up to 1000, in no
//! order. Sources: Arpoone API, "SMS Webhooks", "Email Webhooks", "2WM Webhooks".
//!
//! The fields of an item tell which of the three it is, so that one URL can receive all
//! of them: an item with `Status` is an SMS state, an item with `EventType` an e-mail
//! event, and an item with `From` and `ReceiveDateTime` or `Text` an inbound SMS.
//!
//! Only the inbound SMS has an id of its own. An SMS state is identified by message,
//! status, report time and description, and an e-mail event by all its content, whatever
//! the order and the blanks of its details.
//!
//! The documentation does not say how times are written. The source's `time_format` is
//! tried first, then numbers and ISO 8601, in the source's `timezone` (UTC by default) if
//! there is no offset. A date in digits alone needs a `time_format`. .NET's year 1 means
//! a time that was never set. Field names may be in any case, because existing receivers
//! have seen both `Msisdn` and `msisdn`.
//!
//! A webhook that is not answered 200 "will be retried": the page names no end of that.

use std::borrow::Cow;

use super::{
    Entry, Provider, Scheme,
    options::{Form, Spec},
};
use crate::{
    event::{Event, Facts, ItemError},
    json::{self, Value},
    kind::Kind,
    time::Micros,
};

pub(super) static PROVIDER: Provider = Provider {
    name: "arpoone",
    scheme: Scheme::UrlToken,
    secret: "the last part of the URL",
    retries: None,
    gives_up_after_4xx: false,
    asks_consent: false,
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

impl<'a, 's> Fields<'_, 'a, 's> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.value(name).map(Value::text)
    }

    fn value(&self, name: &str) -> Option<Value<'a, 's>> {
        self.0.object.value_any_case(name)
    }

    fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).and_then(json::text)
    }

    fn required(&self, name: &'static str) -> Result<Cow<'a, str>, ItemError> {
        json::required(name, self.get(name))
    }

    fn time(&self, name: &'static str) -> Result<Option<Micros>, ItemError> {
        match self.text(name) {
            Some(text) => self.0.time_as(name, &text, true),
            None => Ok(None),
        }
    }
}

const SMS_KINDS: &[(&str, Kind)] = &[
    ("DELIVERED", Kind::MessageDelivered),
    ("NOT_DELIVERED", Kind::MessageFailed),
    ("PENDING", Kind::MessagePending),
];

const EMAIL_KINDS: &[(&str, Kind)] = &[
    ("bounced", Kind::MessageBounced),
    ("clicked", Kind::MessageClicked),
    ("opened", Kind::MessageOpened),
    ("spam", Kind::MessageComplained),
    ("unsubscribed", Kind::MessageUnsubscribed),
    // Arpoone itself refused the message before it was sent.
    ("blocked", Kind::MessageRejected),
];

/// The kind of this word, in any case.
fn kind(word: &str, kinds: &[(&str, Kind)]) -> Kind {
    let known = kinds
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(word));
    known.map_or(Kind::Other, |(_, kind)| *kind)
}

fn sms_state<'a>(item: &Fields<'_, 'a, '_>) -> Result<Event<'a>, ItemError> {
    let message_id = item.required("MessageId")?;
    let provider_kind = item.required("Status")?;
    let occurred_at = item.time("ReportDateTime")?;
    let reason = item.text("ReportDescription");
    // The identity contains the time that is meant, to the microsecond, rather than the
    // text, so that a retry with another offset is the same state.
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
    let kind = kind(&provider_kind, SMS_KINDS);
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
    let details = item.value("EventDetails");
    let canonical = details.and_then(json::canonical);
    let micros = occurred_at.map(|at| at.get().to_be_bytes());
    let event_id = item.0.derive(
        occurred_at,
        [
            Some(&b"email"[..]),
            Some(message_id.as_bytes()),
            Some(provider_kind.as_bytes()),
            recipient.as_deref().map(str::as_bytes),
            micros.as_ref().map(<[u8; 8]>::as_slice),
            canonical.as_deref().map(str::as_bytes),
        ],
    );
    let kind = kind(&provider_kind, EMAIL_KINDS);
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
        reason: details.and_then(reason),
        provider_kind,
    })
}

/// The texts in the details of an e-mail event, which the documentation shows as an
/// object without describing its content.
fn reason<'a>(details: Value<'a, '_>) -> Option<Cow<'a, str>> {
    match details.object() {
        Some(object) => ["Reason", "Description", "Error", "Message"]
            .into_iter()
            .find_map(|name| object.get_any_case(name).and_then(json::text)),
        None if details.text().starts_with('"') => json::text(details.text()),
        None => None,
    }
}

/// The provider kind of an inbound SMS, which carries no name of its kind.
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
