//! Whether `jsonb` can represent a JSON text.

use std::{cell::Cell, fmt};

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::event::ItemError;

/// Limits on the characters of a number and on its exponent. `numeric` has limits of its
/// own (131072 digits before the point, 16383 after it), and `1e100000` would take
/// kilobytes.
const MAX_NUMBER: u32 = 1000;

/// Limit on the elements of arrays and members of objects, all together. Postgres parses
/// a value into an array of less than a gigabyte.
const MAX_PARTS: usize = 1_000_000;

/// Whether Postgres can store this JSON text as `jsonb`, and the reason if it cannot.
///
/// `jsonb` is narrower than JSON: it has no U+0000 and no lone surrogates, its numbers
/// have limits, and its parser recurses. An error raised there would fail the whole
/// batch, so that the check is made here, for each item.
pub fn storable(item: &str) -> Result<(), ItemError> {
    let refuse = |reason: String| Err(ItemError::NotStorable(reason));
    let parts = Cell::new(0);
    let mut deserializer = serde_json::Deserializer::from_str(item);
    let read = Storable(&parts).deserialize(&mut deserializer);
    match read.and_then(|()| deserializer.end()) {
        Err(error) => refuse(error.to_string()),
        Ok(()) if !numbers_fit(item) => refuse(format!(
            "a number has more than {MAX_NUMBER} digits, or an exponent above it"
        )),
        Ok(()) => Ok(()),
    }
}

/// Parses any value and keeps nothing. The deserializer refuses lone surrogates, and
/// nesting beyond 127 levels.
#[derive(Clone, Copy)]
struct Storable<'c>(&'c Cell<usize>);

impl Storable<'_> {
    /// Counts one more element or member.
    fn part<E: de::Error>(self) -> Result<(), E> {
        self.0.set(self.0.get() + 1);
        if self.0.get() > MAX_PARTS {
            return Err(E::custom(format_args!(
                "it has more than {MAX_PARTS} elements and members"
            )));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Storable<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Storable<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        if text.contains('\0') {
            Err(E::custom("it contains U+0000"))
        } else {
            Ok(())
        }
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(self)?.is_some() {
            self.part()?;
        }
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry_seed(self, self)?.is_some() {
            self.part()?;
        }
        Ok(())
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
    fn its_elements_and_members_are_counted_all_together() {
        let most = format!(r#"{{"a":[{}0],"b":[]}}"#, "0,".repeat(MAX_PARTS - 3));
        assert_eq!(storable(&most), Ok(()));
        for more in [most.replace("[]", "[0]"), most.replace("[]", "0,\"c\":0")] {
            let error = storable(&more).unwrap_err().to_string();
            assert!(
                error.contains("more than 1000000 elements and members"),
                "{error}"
            );
        }
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
