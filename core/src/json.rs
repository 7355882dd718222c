//! A body cut into items, and what of an item Postgres can store.
//!
//! Nothing is copied until a provider asks for a field: an item stays the slice of the
//! body that it was.

use std::{borrow::Cow, fmt};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::event::{ItemError, Malformed};

/// The largest body that is read, in bytes. Postgres could take a gigabyte as bytea,
/// but no `jsonb` string above 256 MB.
pub const MAX_BODY: usize = 64 << 20;

/// The longest number, in characters, and the largest exponent that are stored:
/// `numeric` has limits of its own (131072 digits before the point, 16383 after it),
/// and `1e100000` would take kilobytes.
const MAX_NUMBER: u32 = 1000;

/// The most items of a body that are read. Providers document at most 1000.
pub const MAX_ITEMS: usize = 100_000;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How a provider may wrap its items: in an array under `field`, in an object that
/// lacks `unless`, which every item has.
#[derive(Debug)]
pub struct Wrapper {
    pub field: &'static str,
    pub unless: &'static str,
}

/// Cuts a body into its items: one object, an array, or several of them one after
/// another (newline-delimited or concatenated). An object that wraps an array counts
/// as that array.
pub fn items<'a>(body: &'a [u8], wrapper: Option<&Wrapper>) -> Result<Vec<&'a str>, Malformed> {
    if body.len() > MAX_BODY {
        return Err(Malformed::TooLarge(body.len()));
    }
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let mut items = Vec::new();
    let mut empty = true;
    for value in serde_json::Deserializer::from_slice(body).into_iter::<&RawValue>() {
        let value = value
            .map_err(|error| Malformed::NotJson(error.to_string()))?
            .get();
        empty = false;
        match value.as_bytes().first() {
            Some(b'[') => items.extend(elements(value)?),
            Some(b'{') => match wrapped(value, wrapper) {
                Some(array) => items.extend(elements(array)?),
                None => items.push(value),
            },
            _ => return Err(Malformed::NotItems(describe(value))),
        }
        if items.len() > MAX_ITEMS {
            return Err(Malformed::TooMany);
        }
    }
    if empty {
        Err(Malformed::Empty)
    } else {
        Ok(items)
    }
}

fn elements(array: &str) -> Result<impl Iterator<Item = &str>, Malformed> {
    let elements: Vec<&RawValue> =
        serde_json::from_str(array).map_err(|error| Malformed::NotJson(error.to_string()))?;
    Ok(elements.into_iter().map(RawValue::get))
}

/// The array of a wrapper: of an object that holds one, and is no item itself.
fn wrapped<'a>(object: &'a str, wrapper: Option<&Wrapper>) -> Option<&'a str> {
    let wrapper = wrapper?;
    let object = Object::parse(object).ok()?;
    let array = object
        .get(wrapper.field)
        .filter(|value| value.starts_with('['))?;
    object.get(wrapper.unless).is_none().then_some(array)
}

/// What a value is, for an error message.
pub fn describe(value: &str) -> &'static str {
    match value.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// An item's fields, each still the text that it was.
#[derive(Debug)]
pub struct Object<'a> {
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Object<'a> {
    pub fn parse(item: &'a str) -> Result<Self, ItemError> {
        serde_json::from_str(item).map_err(|_| ItemError::NotAnObject(describe(item)))
    }

    /// The value of a field, as JSON; none where it is absent or null. Of a field that
    /// stands twice the last counts, as in `jsonb`.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.find(|field| field == name)
    }

    /// The same, whatever the case of the field's name; the exact case goes first.
    pub fn get_any_case(&self, name: &str) -> Option<&'a str> {
        self.get(name)
            .or_else(|| self.find(|field| field.eq_ignore_ascii_case(name)))
    }

    fn find(&self, matches: impl Fn(&str) -> bool) -> Option<&'a str> {
        let named = self.fields.iter().rev().filter(|(field, _)| matches(field));
        named
            .map(|(_, value)| value.get())
            .find(|value| *value != "null")
    }

    /// A field that is a string; any other value counts as absent.
    pub fn string(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).and_then(unquote)
    }

    /// A field as text: see [`text`].
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).and_then(text)
    }

    /// A field without which the item is no event.
    pub fn required_text(&self, name: &'static str) -> Result<Cow<'a, str>, ItemError> {
        required(name, self.get(name))
    }
}

/// A value as text: a string without its quotes, anything else as it is written. An
/// empty string counts as absent.
///
/// No form is refused, because a field that only informs must not cost its event.
pub fn text(value: &str) -> Option<Cow<'_, str>> {
    unquote(value)
        .or(Some(Cow::Borrowed(value)))
        .filter(|text| !text.is_empty())
}

/// The value of a field that makes an event what it is: a string, a number or a boolean.
pub fn required<'a>(
    field: &'static str,
    value: Option<&'a str>,
) -> Result<Cow<'a, str>, ItemError> {
    let value = value.ok_or(ItemError::Missing(field))?;
    if value.starts_with(['{', '[']) {
        return Err(ItemError::Invalid {
            field,
            expected: "text",
        });
    }
    text(value).ok_or(ItemError::Missing(field))
}

/// The text of a JSON string: borrowed where it has no escapes.
fn unquote(literal: &str) -> Option<Cow<'_, str>> {
    let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(literal).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut fields = Vec::with_capacity(16);
                while let Some((Name(name), value)) = map.next_entry()? {
                    fields.push((name, value));
                }
                Ok(Object { fields })
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// A field's name, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

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

    fn cut(body: &str) -> Result<Vec<&str>, Malformed> {
        let wrapper = Wrapper {
            field: "events",
            unless: "event_name",
        };
        items(body.as_bytes(), Some(&wrapper))
    }

    #[test]
    fn a_body_is_cut_into_the_items_as_sent() {
        for (body, expected) in [
            (r#"{"a": 1}"#, vec![r#"{"a": 1}"#]),
            (
                r#"[{"a":1}, {"b" : 2}]"#,
                vec![r#"{"a":1}"#, r#"{"b" : 2}"#],
            ),
            ("{\"a\":1}\n{\"b\":2}\r\n", vec![r#"{"a":1}"#, r#"{"b":2}"#]),
            (r#"{"events":[{"a":1}]}"#, vec![r#"{"a":1}"#]),
            (r#"{"events":1}"#, vec![r#"{"events":1}"#]),
            (
                r#"{"event_name":"x","events":[]}"#,
                vec![r#"{"event_name":"x","events":[]}"#],
            ),
            ("\u{feff}{}", vec!["{}"]),
            ("[]", vec![]),
            ("[1,null]", vec!["1", "null"]),
        ] {
            assert_eq!(cut(body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn what_is_no_body_says_why() {
        assert_eq!(cut(""), Err(Malformed::Empty));
        assert_eq!(cut(" \n"), Err(Malformed::Empty));
        assert_eq!(cut("7"), Err(Malformed::NotItems("a number")));
        assert_eq!(cut("\"x\""), Err(Malformed::NotItems("a string")));
        for broken in ["{", "[{}", "{} x", "{'a':1}", "nul"] {
            assert!(
                matches!(cut(broken), Err(Malformed::NotJson(_))),
                "{broken}"
            );
        }
        assert!(matches!(
            items(b"{\"a\":\"\xff\"}", None),
            Err(Malformed::NotJson(_))
        ));
        let many = format!("[{}0]", "0,".repeat(MAX_ITEMS));
        assert_eq!(cut(&many), Err(Malformed::TooMany));
        let long = vec![b' '; MAX_BODY + 1];
        assert_eq!(items(&long, None), Err(Malformed::TooLarge(MAX_BODY + 1)));
    }

    #[test]
    fn nesting_ends_in_an_error_and_not_in_the_stack() {
        let deep = format!("[{}{}]", "[".repeat(1_000_000), "]".repeat(1_000_000));
        let items = cut(&deep).unwrap();
        assert!(storable(items.first().unwrap()).is_err());
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

    #[test]
    fn fields_are_read_as_they_come() {
        let object = Object::parse(
            r#"{"s":"x","n":12345678901234567890,"e":"","z":null,"q":"a\"b","o":{"a":1},
                "s":"last","Up":"y","up":null,"b":true}"#,
        )
        .unwrap();
        let text = |name| object.text(name).map(Cow::into_owned);
        assert_eq!(text("s").unwrap(), "last");
        assert_eq!(text("n").unwrap(), "12345678901234567890");
        assert_eq!(text("e"), None);
        assert_eq!(text("z"), None);
        assert_eq!(text("q").unwrap(), "a\"b");
        assert_eq!(text("b").unwrap(), "true");
        assert_eq!(text("o").unwrap(), r#"{"a":1}"#);
        assert_eq!(object.string("n"), None);
        assert_eq!(text("up"), None);
        assert_eq!(object.get_any_case("up"), Some(r#""y""#));
        for missing in ["none", "z", "e"] {
            assert!(required("f", object.get(missing)).is_err());
        }
        assert_eq!(
            object.required_text("o"),
            Err(ItemError::Invalid {
                field: "o",
                expected: "text"
            })
        );
        assert!(Object::parse("[1]").is_err());
    }
}
