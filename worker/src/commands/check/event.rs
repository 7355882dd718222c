//! Examination of an event: whether its schema and its provider's module can read it.
//!
//! This is the only place in the worker that examines a payload. The result is reported,
//! and the event is dropped.

use jiff::Timestamp;
use serde_json::Value;
use tidings_core::{Kind, Settings, provider, wire::Decoded};

/// The result of examining an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The event is read completely.
    Known(String),
    /// The event can be stored, but a part of it is unknown.
    Partly(String),
    /// The event would be rejected.
    Unreadable(String),
}

pub(super) fn look(provider: &str, source: &str, options: &Value, decoded: &Decoded) -> Seen {
    if let Some(error) = &decoded.error {
        return Seen::Unreadable(format!(
            "an event came, and its message cannot be read: {error}"
        ));
    }
    match normalize(provider, source, options, &decoded.json) {
        Ok((told, is_known)) => {
            let json = serde_json::from_slice(&decoded.json).unwrap_or_default();
            let mut places = Vec::new();
            unknown(&json, "the event", &mut places);
            if !places.is_empty() {
                let places = places.join(" and ");
                Seen::Partly(format!(
                    "{told}, but {places} has fields that the schema does not know"
                ))
            } else if is_known {
                Seen::Known(told)
            } else {
                Seen::Partly(format!("{told}, which is no kind of event that is known"))
            }
        }
        Err(reason) => Seen::Unreadable(format!("an event came, and would be rejected: {reason}")),
    }
}

/// Normalizes the event, and returns its description and whether its kind is known.
fn normalize(
    provider: &str,
    source: &str,
    options: &Value,
    json: &[u8],
) -> Result<(String, bool), String> {
    let provider = provider::find(provider).ok_or("its provider is unknown")?;
    let settings = Settings::from_options(&options.to_string()).map_err(|e| e.to_string())?;
    let items = provider.normalize(source, &settings, json);
    let items = items.map_err(|error| error.to_string())?;
    let item = items.into_iter().next().ok_or("it is empty")?;
    let event = item.event.map_err(|error| error.to_string())?;
    let time = event
        .occurred_at
        .map(|at| Timestamp::from_microsecond(at.get()));
    let when = match time {
        Some(Ok(time)) => format!("of {time}"),
        _ => "without a time".to_owned(),
    };
    let told = format!("decoded {} {when}", event.provider_kind);
    Ok((told, event.kind != Kind::Other))
}

/// Collects the parts of an event that have fields which are not in its schema.
fn unknown(json: &Value, place: &str, places: &mut Vec<String>) {
    let Value::Object(fields) = json else {
        return;
    };
    for (name, value) in fields {
        if name == "@unknown" {
            places.push(place.to_owned());
        } else {
            unknown(value, name, places);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(json: Value) -> Seen {
        let decoded = Decoded {
            json: json.to_string().into_bytes(),
            key: None,
            error: None,
        };
        look("ppoppo", "chat", &json!({"endpoint": "http://h"}), &decoded)
    }

    #[test]
    fn an_event_tells_its_kind_and_time() {
        let mut event = json!({"event_id": "01JD0000000000000000000000", "event_type": "RECIPIENT_DELIVERED",
            "recipient": {"ppnum": "12300000001"}, "occurred_at": "2026-11-01T21:00:00.5Z"});
        let told = "decoded RECIPIENT_DELIVERED of 2026-11-01T21:00:00.5Z";
        assert_eq!(seen(event.clone()), Seen::Known(told.to_owned()));

        event["recipient"]["@unknown"] = json!("CAE=");
        let told = format!("{told}, but recipient has fields that the schema does not know");
        assert_eq!(seen(event.clone()), Seen::Partly(told));

        event["recipient"] = json!(null);
        event["event_type"] = json!(99);
        assert!(
            matches!(seen(event), Seen::Partly(told) if told.contains("decoded 99 of") && told.contains("no kind of event"))
        );
    }

    #[test]
    fn an_event_that_would_be_rejected_says_why() {
        let told = seen(json!({"event_type": "RECIPIENT_DELIVERED"}));
        assert!(matches!(told, Seen::Unreadable(why) if why.contains("event_id is missing")));
        let broken = Decoded {
            json: b"{}".to_vec(),
            key: None,
            error: Some("invalid wire type".to_owned()),
        };
        let told = look("ppoppo", "chat", &json!({}), &broken);
        assert!(matches!(told, Seen::Unreadable(why) if why.contains("invalid wire type")));
    }
}
