//! What of JSON `jsonb` can hold.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::event::ItemError;

/// The longest number, in characters, and the largest exponent that are stored:
/// `numeric` has limits of its own (131072 digits before the point, 16383 after it),
/// and `1e100000` would take kilobytes.
const MAX_NUMBER: u32 = 1000;

/// Whether Postgres can store this JSON text as `jsonb`, and why not.
///
/// `jsonb` is narrower than JSON: it has no U+0000 and no lone surrogates, its numbers
/// have limits, and its parser recurses. An error raised there would fail the whole
/// batch, so it is found here, for the one item that it concerns.
pub fn storable(item: &str) -> Result<(), ItemError> {
    let refuse = |reason: String| Err(ItemError::NotStorable(reason));
    match serde_json::from_str::<Storable>(item) {
        Err(error) => refuse(error.to_string()),
        Ok(Storable) if !numbers_fit(item) => refuse(format!(
            "a number has more than {MAX_NUMBER} digits, or an exponent above it"
        )),
        Ok(Storable) => Ok(()),
    }
}

/// Reads any value and keeps nothing. The deserializer refuses lone surrogates, and
/// nesting beyond 128 levels.
struct Storable;

impl<'de> Deserialize<'de> for Storable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Storable)
    }
}

impl<'de> Visitor<'de> for Storable {
    type Value = Self;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self, E> {
        if text.contains('\0') {
            Err(E::custom("it contains U+0000"))
        } else {
            Ok(self)
        }
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Storable>()?.is_some() {}
        Ok(self)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Storable, Storable>()?.is_some() {}
        Ok(self)
    }
}

/// Whether every number outside the strings of this valid JSON is within
/// [`MAX_NUMBER`].
fn numbers_fit(json: &str) -> bool {
    let mut in_string = false;
    let mut escaped = false;
    let mut length = 0u32;
    let mut exponent: Option<u32> = None;
    for byte in json.bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'0'..=b'9' => {
                length += 1;
                exponent =
                    exponent.map(|e| e.saturating_mul(10).saturating_add(u32::from(byte - b'0')));
            }
            b'+' | b'-' | b'.' => {}
            b'e' | b'E' if length > 0 => exponent = Some(0),
            _ => {
                in_string = byte == b'"';
                length = 0;
                exponent = None;
            }
        }
        if length > MAX_NUMBER || exponent > Some(MAX_NUMBER) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_ends_in_an_error_and_not_in_the_stack() {
        let deep = format!("[{}{}]", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert!(storable(&deep).is_err());
        assert!(storable(&format!("{}1{}", "[".repeat(100), "]".repeat(100))).is_ok());
    }

    #[test]
    fn what_jsonb_cannot_hold_is_found() {
        for bad in [
            r#""\u0000""#,
            r#"{"a\u0000":1}"#,
            r#"["\ud800"]"#,
            r#""\udc00x""#,
            "1e400",
            "1e-2000",
            "-1E-99999999999999999999",
            &format!("0.{}", "1".repeat(20_000)),
            &format!("[{}]", "9".repeat(1001)),
        ] {
            assert!(storable(bad).is_err(), "{bad}");
        }
        for good in [
            r#""\u0001 \\u0000 é 👋 \ud83d\ude00""#,
            r#"{"a":1e300,"e":"1e99999"}"#,
            "1.5e-300",
            r#"["\\","e99999"]"#,
            &"9".repeat(300),
            "18446744073709551616",
            "null",
            "true",
        ] {
            assert_eq!(storable(good), Ok(()), "{good}");
        }
    }
}
