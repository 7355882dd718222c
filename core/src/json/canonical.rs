//! The canonical form of a value.

use std::{borrow::Cow, fmt::Write};

use serde_json::value::RawValue;

use super::{Object, text};

/// A value as [`text`], but an object or an array without blanks, with the members of
/// each object sorted by name, and with strings that escape nothing unnecessarily.
/// Numbers stay as they are written, because no digit may be lost.
///
/// Identities are derived from this form, so it must never change.
pub fn canonical(value: &str) -> Option<Cow<'_, str>> {
    if !value.starts_with(['{', '[']) {
        return text(value);
    }
    let mut out = String::with_capacity(value.len());
    write(value, &mut out)?;
    Some(Cow::Owned(out))
}

/// `None` if the text is not JSON, which never happens for a value of an item.
fn write(value: &str, out: &mut String) -> Option<()> {
    match value.as_bytes().first()? {
        b'{' => {
            let object = Object::parse(value).ok()?;
            let mut members: Vec<_> = object.members().collect();
            // The sort is stable, so that of several members with one name the last stays
            // the last.
            members.sort_by_key(|(name, _)| *name);
            out.push('{');
            for (index, (name, value)) in members.into_iter().enumerate() {
                comma(index, out);
                string(name, out)?;
                out.push(':');
                write(value, out)?;
            }
            out.push('}');
        }
        b'[' => {
            let elements: Vec<&RawValue> = serde_json::from_str(value).ok()?;
            out.push('[');
            for (index, element) in elements.into_iter().enumerate() {
                comma(index, out);
                write(element.get(), out)?;
            }
            out.push(']');
        }
        b'"' => string(&serde_json::from_str::<String>(value).ok()?, out)?,
        _ => out.push_str(value),
    }
    Some(())
}

fn comma(index: usize, out: &mut String) {
    if index > 0 {
        out.push(',');
    }
}

fn string(text: &str, out: &mut String) -> Option<()> {
    write!(out, "{}", serde_json::to_string(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_value_is_written_does_not_matter() {
        for (value, expected) in [
            (
                r#"{ "b" : [1, "\u0061"] , "a":{"d":null,"c":true} }"#,
                r#"{"a":{"c":true,"d":null},"b":[1,"a"]}"#,
            ),
            (r#"{"\u0062":1,"a":2}"#, r#"{"a":2,"b":1}"#),
            (r#"{"a":1,"a":0}"#, r#"{"a":1,"a":0}"#),
            (
                r#"["\/\u00e9\"\n", 1.10, 18446744073709551617]"#,
                "[\"/é\\\"\\n\",1.10,18446744073709551617]",
            ),
            ("[ ]", "[]"),
            ("{ }", "{}"),
        ] {
            assert_eq!(canonical(value).as_deref(), Some(expected), "{value}");
        }
        for (value, expected) in [(r#""{ }""#, Some("{ }")), (r#""""#, None), ("7", Some("7"))] {
            assert_eq!(canonical(value).as_deref(), expected, "{value}");
        }
    }
}
