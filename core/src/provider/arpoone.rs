//! Arpoone: SMS webhooks, arrays of up to 1000 states, in no order.
//! Source: Arpoone API, "SMS Webhooks".
//!
//! A message has several states and no state has an id, so a state is told by message,
//! status, report time and description. The page does not say how `ReportDateTime` is
//! written: any ISO 8601 date-time is read, in the source's `timezone` (UTC by default)
//! where it has no offset. Field names are read in any case, because receivers in the
//! field have met both `Msisdn` and `msisdn`.

use std::borrow::Cow;

use super::{
    Entry, Provider, Scheme,
    options::{Form, Spec},
};
use crate::{
    event::{Event, ItemError},
    json,
    kind::Kind,
    time::Micros,
};

pub(super) static PROVIDER: Provider = Provider {
    name: "arpoone",
    scheme: Scheme::UrlToken,
    options: &[Spec {
        name: "timezone",
        form: Form::TimeZone,
    }],
    wrapper: None,
    counts_repeats: false,
    read,
};

fn read<'a>(entry: &Entry<'a, '_>) -> Result<Event<'a>, ItemError> {
    let get = |name| entry.object.get_any_case(name);
    let text = |name| get(name).and_then(json::text);
    let required = |name| json::required(name, get(name));

    let message_id = required("MessageId")?;
    let provider_kind = required("Status")?;
    let reported_at = required("ReportDateTime")?;
    let reason = text("ReportDescription");
    let occurred_at = Micros::from_text(&reported_at, entry.zone).ok_or(ItemError::Invalid {
        field: "ReportDateTime",
        expected: "an ISO 8601 date-time from 1970 on",
    })?;
    // The time as written is not part of the identity: the time it means is, down to
    // the microsecond, so that a retry written with another offset is the same state.
    let micros = occurred_at.get().to_be_bytes();
    let event_id = entry.derive(
        occurred_at,
        [
            Some(message_id.as_bytes()),
            Some(provider_kind.as_bytes()),
            Some(&micros),
            reason.as_deref().map(str::as_bytes),
        ],
    );
    Ok(Event {
        event_id,
        kind: kind(&provider_kind),
        channel: Some(Cow::Borrowed("sms")),
        occurred_at: Some(occurred_at),
        request_id: None,
        message_id: Some(message_id),
        recipient: text("Msisdn"),
        campaign: None,
        error_code: None,
        reason,
        provider_kind,
    })
}

fn kind(status: &str) -> Kind {
    match status.to_ascii_uppercase().as_str() {
        "DELIVERED" => Kind::MessageDelivered,
        "NOT_DELIVERED" => Kind::MessageFailed,
        "PENDING" => Kind::MessagePending,
        _ => Kind::Other,
    }
}
