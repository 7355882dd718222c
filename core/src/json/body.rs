//! A body cut into its items.

use std::fmt;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Object, describe};
use crate::event::Malformed;

/// Limit on a body, in bytes. Postgres accepts up to a gigabyte as bytea, but no `jsonb`
/// string above 256 MB.
pub const MAX_BODY: usize = 64 << 20;

/// Limit on the items of a body. Providers document at most 1000.
pub const MAX_ITEMS: usize = 100_000;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How a provider may wrap its items: in an object whose only array of objects contains
/// the items, whatever the array's name. A wrapper has none of the fields `unless`, and
/// every item has one of them.
#[derive(Debug)]
pub struct Wrapper {
    pub unless: &'static [&'static str],
}

/// Cuts a body into its items: one object, an array, or several of them one after
/// another (newline-delimited or concatenated). An object that wraps an array counts
/// as that array.
///
/// An error after the first value does not affect the values before it: a scalar counts
/// as an item, and so does the rest of a body from the first text that is not JSON.
pub fn items<'a>(body: &'a [u8], wrapper: Option<&Wrapper>) -> Result<Vec<&'a str>, Malformed> {
    if body.len() > MAX_BODY {
        return Err(Malformed::TooLarge(body.len()));
    }
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let mut items = Vec::new();
    // Where the last value ended, if there was one.
    let mut end = None;
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<&RawValue>();
    while let Some(value) = values.next() {
        let value = match value {
            Ok(value) => value.get(),
            Err(error) => {
                let rest = end.and_then(|end| rest(body.get(end..)?));
                items.push(rest.ok_or_else(|| Malformed::NotJson(error.to_string()))?);
                break;
            }
        };
        match value.as_bytes().first() {
            Some(b'[') => elements(value, &mut items)?,
            Some(b'{') => match wrapped(value, wrapper) {
                Some(array) => elements(array, &mut items)?,
                None => items.push(value),
            },
            _ if end.is_none() => return Err(Malformed::NotItems(describe(value))),
            _ => items.push(value),
        }
        if items.len() > MAX_ITEMS {
            return Err(Malformed::TooMany);
        }
        end = Some(values.byte_offset());
    }
    match end {
        None => Err(Malformed::Empty),
        Some(_) if items.len() > MAX_ITEMS => Err(Malformed::TooMany),
        Some(_) => Ok(items),
    }
}

/// Text that is not JSON, as one item.
fn rest(bytes: &[u8]) -> Option<&str> {
    let text = str::from_utf8(bytes).ok()?;
    Some(text.trim_matches([' ', '\t', '\r', '\n']))
}

/// Adds the elements of an array, up to one more than the limit.
fn elements<'a>(array: &'a str, items: &mut Vec<&'a str>) -> Result<(), Malformed> {
    struct Elements<'i, 'a>(&'i mut Vec<&'a str>);
    impl<'a> Visitor<'a> for Elements<'_, 'a> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }
        fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
            while self.0.len() <= MAX_ITEMS
                && let Some(element) = seq.next_element::<&RawValue>()?
            {
                self.0.push(element.get());
            }
            Ok(())
        }
    }
    serde_json::Deserializer::from_str(array)
        .deserialize_seq(Elements(items))
        .or_else(|error| match items.len() {
            // The array was cut off: the deserializer misses its end.
            count if count > MAX_ITEMS => Ok(()),
            _ => Err(Malformed::NotJson(error.to_string())),
        })
}

/// The array of a wrapper. If two arrays could be meant there is none, so that no item is
/// dropped silently. An empty array counts if it is the only array.
fn wrapped<'a>(object: &'a str, wrapper: Option<&Wrapper>) -> Option<&'a str> {
    let unless = wrapper?.unless;
    let object = Object::parse(object).ok()?;
    if unless.iter().any(|field| object.get(field).is_some()) {
        return None;
    }
    let starts = |array: &str, first| {
        let inner = array.strip_prefix('[').map(str::trim_start);
        inner.is_some_and(|inner| inner.starts_with(first))
    };
    let mut arrays = object.values().filter(|value| starts(value, '{'));
    match (arrays.next(), arrays.next()) {
        (Some(array), None) => Some(array),
        (Some(_), Some(_)) => None,
        (None, _) => {
            let mut all = object.values();
            let only = all.next().filter(|_| all.next().is_none());
            let empty = only.or_else(|| object.get("events"));
            empty.filter(|value| starts(value, ']'))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(body: &str) -> Result<Vec<&str>, Malformed> {
        let wrapper = Wrapper {
            unless: &["event_name", "live_activity_id"],
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
            (r#"{"n":1,"any": [ {"a":1}, 2 ]}"#, vec![r#"{"a":1}"#, "2"]),
            (r#"{"e":[],"t":["x"],"d":[{}]}"#, vec!["{}"]),
            (r#"{"d":[{}],"e":[{}]}"#, vec![r#"{"d":[{}],"e":[{}]}"#]),
            (r#"{"events":[]}"#, vec![]),
            (r#"{"data": [ ]}"#, vec![]),
            (r#"{"events":[],"batch":7}"#, vec![]),
            (r#"{"tags":[],"n":7}"#, vec![r#"{"tags":[],"n":7}"#]),
            (
                r#"{"d":[{}],"e":[{}],"events":[]}"#,
                vec![r#"{"d":[{}],"e":[{}],"events":[]}"#],
            ),
            (r#"{"events":["x"]}"#, vec![r#"{"events":["x"]}"#]),
            (r#"{"events":1}"#, vec![r#"{"events":1}"#]),
            (
                r#"{"event_name":"x","events":[{}]}"#,
                vec![r#"{"event_name":"x","events":[{}]}"#],
            ),
            (
                r#"{"live_activity_id":1,"events":[]}"#,
                vec![r#"{"live_activity_id":1,"events":[]}"#],
            ),
            ("{} 7 null", vec!["{}", "7", "null"]),
            ("[] \"x\"", vec!["\"x\""]),
            ("{} x", vec!["{}", "x"]),
            ("{}\n{'a':1}\n{}\r\n", vec!["{}", "{'a':1}\n{}"]),
            ("{}\n1x", vec!["{}", "1x"]),
            ("[{}]\n[{}", vec!["{}", "[{}"]),
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
        for broken in ["{", "[{}", "x {}", "{'a':1}\n{}", "nul"] {
            assert!(
                matches!(cut(broken), Err(Malformed::NotJson(_))),
                "{broken}"
            );
        }
        for broken in [&b"{\"a\":\"\xff\"}"[..], b"{}\n{\"a\":\"\xff\"}"] {
            assert!(matches!(items(broken, None), Err(Malformed::NotJson(_))));
        }
        let many = format!("[{}0]", "0,".repeat(MAX_ITEMS));
        assert_eq!(cut(&many), Err(Malformed::TooMany));
        let broken = format!("[{}0] x", "0,".repeat(MAX_ITEMS - 1));
        assert_eq!(cut(&broken), Err(Malformed::TooMany));
        let long = vec![b' '; MAX_BODY + 1];
        assert_eq!(items(&long, None), Err(Malformed::TooLarge(MAX_BODY + 1)));
    }
}
