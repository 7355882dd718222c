//! What the page leaves open: how a signature is encoded, how a time is written, which
//! numbers a click has, what a failed delivery's payload is.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::draw::Draw;

/// A signature: hex in either case or base64 in either alphabet, padded or not, with or
/// without the algorithm's name.
pub(super) fn signature(mac: &[u8], draw: &mut Draw) -> String {
    let text = match draw.between(0, 5) {
        0 => hex::encode(mac),
        1 => hex::encode_upper(mac),
        2 => STANDARD.encode(mac),
        3 => STANDARD_NO_PAD.encode(mac),
        4 => URL_SAFE.encode(mac),
        _ => URL_SAFE_NO_PAD.encode(mac),
    };
    if draw.chance(0.3) {
        return format!("sha1={text}");
    }
    text
}

/// ISO 8601 or milliseconds since 1970, a number or a text; `None` is no time at all.
pub(super) fn time(at: Timestamp, draw: &mut Draw) -> Option<Value> {
    match draw.between(0, 7) {
        0 => None,
        1 => Some(json!(at.as_millisecond())),
        2 => Some(json!(at.as_millisecond().to_string())),
        3 => Some(json!(format!("{at:.0}"))),
        4 => Some(json!(format!("{at:.6}").replace('Z', "+00:00"))),
        _ => Some(json!(format!("{at:.3}"))),
    }
}

/// A number or its text.
pub(super) fn action(number: u32, draw: &mut Draw) -> Value {
    if draw.chance(0.5) {
        json!(number)
    } else {
        json!(number.to_string())
    }
}

/// "Any object relevant to the failed delivery", typed `any`.
pub(super) fn payload(draw: &mut Draw) -> Value {
    match draw.between(0, 6) {
        0 => json!("no such device"),
        1 => json!(410),
        2 => json!(false),
        3 => json!(["a", 1, null]),
        4 => json!({}),
        5 => json!({"status": 502, "body": {"raw": "{\"half\":"}}),
        _ => Value::Null,
    }
}
