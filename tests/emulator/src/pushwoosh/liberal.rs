//! The HTTP transport's bodies, in every form that the page leaves open: it shows one
//! object, speaks of batches without showing one, and types its fields only on a sibling
//! page. `event_name` and `user_id` are always there.

use tidings_proto::pushwoosh::Event;

use crate::{
    draw::Draw,
    forms::{Object, nothing, number, quoted},
};

/// Names under which a batch may stand in an object.
const WRAPPERS: &[&str] = &["events", "data", "items", "messages", "batch"];

pub(super) fn item(event: &Event, draw: &mut Draw) -> String {
    let mut object = Object::default();
    object.member("event_name", &quoted(&event.event_name));
    let numbers = [
        ("message_id", event.message_id),
        ("campaign_id", event.campaign_id),
    ];
    for (name, value) in numbers {
        let value = value.map(|value| number(&value.to_string(), draw));
        said(&mut object, name, value, draw);
    }
    let texts = [
        ("message_code", &event.message_code),
        ("platform", &event.platform),
        ("payload", &event.payload),
        ("application_code", &event.application_code),
        ("hwid", &event.hwid),
        ("journey_title", &event.journey_title),
        ("journey_point_title", &event.journey_point_title),
    ];
    for (name, value) in texts {
        let value = (event.live_activity_id.is_none() || !value.is_empty()).then(|| quoted(value));
        said(&mut object, name, value, draw);
    }
    if let Some(id) = &event.live_activity_id {
        object.member("live_activity_id", &quoted(id));
    }
    object.member("user_id", &number(&event.user_id, draw));
    let timestamp = timestamp(event.timestamp, draw);
    said(&mut object, "timestamp", Some(timestamp), draw);
    if draw.chance(0.1) {
        object.member("something_new", r#"{"nested":[1,"two",null]}"#);
    }
    object.write()
}

/// A value, most of the time.
fn said(object: &mut Object, name: &str, value: Option<String>, draw: &mut Draw) {
    let kept = value.filter(|_| draw.chance(0.9));
    if let Some(value) = kept.or_else(|| nothing(draw)) {
        object.member(name, &value);
    }
}

/// Seconds, milliseconds, with a fraction, with an exponent; bare or as a text.
fn timestamp(seconds: i64, draw: &mut Draw) -> String {
    let digits = match draw.between(0, 5) {
        0..2 => seconds.to_string(),
        2 => format!("{seconds}{:03}", draw.between(0, 999)),
        3 => format!("{seconds}.{:03}", draw.between(0, 999)),
        4 => format!("{seconds}.0"),
        _ => {
            let text = seconds.to_string();
            let (first, rest) = text.split_at_checked(1).unwrap_or(("0", "0"));
            format!("{first}.{rest}e{}", rest.len())
        }
    };
    number(&digits, draw)
}

/// A batch: an array, a wrapper, or one object after the other.
pub(super) fn batch(items: &[String], draw: &mut Draw) -> String {
    let array = format!("[{}]", items.join(","));
    match draw.between(0, 5) {
        0 => array,
        1 => format!("[\n  {}\n]\n", items.join(",\n  ")),
        2 => {
            let mut object = Object::default();
            if draw.chance(0.5) {
                object.member("count", &items.len().to_string());
            }
            object.member(draw.word(WRAPPERS), &array);
            object.write()
        }
        3 => items.join("\n"),
        4 => items.iter().map(|item| format!("{item}\r\n")).collect(),
        _ => items.concat(),
    }
}

/// One event: bare, or in any form that a batch has.
pub(super) fn single(item: String, draw: &mut Draw) -> String {
    if draw.chance(0.5) {
        return item;
    }
    batch(&[item], draw)
}
