//! The canonical form of a value.

use std::borrow::Cow;

use super::{
    Object,
    object::{decoded, inside},
    tape::Value,
    text,
};

/// A value as [`text`], but an object or an array without blanks, with the members of
/// each object sorted by name, and with strings that escape nothing unnecessarily.
/// Numbers stay as they are written, because no digit may be lost.
///
/// Identities are derived from this form, so it must never change.
pub fn canonical<'a>(value: Value<'a, '_>) -> Option<Cow<'a, str>> {
    let written = value.text();
    if !written.starts_with(['{', '[']) {
        return text(written);
    }
    let mut out = String::with_capacity(written.len());
    write(value, &mut out);
    Some(Cow::Owned(out))
}

fn write(value: Value<'_, '_>, out: &mut String) {
    let written = value.text();
    match written.as_bytes().first() {
        Some(b'{') => {
            let parts = || value.object().into_iter().flat_map(Object::members);
            let mut members = Vec::with_capacity(parts().count());
            members.extend(parts().map(|(name, value)| (decoded(inside(name.text())), value)));
            // The sort is stable, so that of several members with one name the last stays
            // the last.
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            out.push('{');
            for (index, (name, value)) in members.into_iter().enumerate() {
                comma(index, out);
                string(&name, out);
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
        Some(b'[') => {
            out.push('[');
            for (index, element) in value.parts().enumerate() {
                comma(index, out);
                write(element, out);
            }
            out.push(']');
        }
        Some(b'"') => string(&decoded(inside(written)), out),
        _ => out.push_str(written),
    }
}

fn comma(index: usize, out: &mut String) {
    if index > 0 {
        out.push(',');
    }
}

/// Writes these characters as a string.
fn string(text: &str, out: &mut String) {
    let special = |c: char| matches!(c, '"' | '\\' | ..' ');
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(special) {
        let (plain, escape) = rest.split_at(at);
        out.push_str(plain);
        let mut characters = escape.chars();
        match characters.next().unwrap_or_default() {
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c @ ('"' | '\\') => out.extend(['\\', c]),
            c => {
                let digit = |shift: u32| char::from_digit(u32::from(c) >> shift & 15, 16);
                out.push_str("\\u00");
                out.extend([digit(4), digit(0)].into_iter().flatten());
            }
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::Tape, *};

    fn form(json: &str) -> Option<String> {
        let tape = Tape::of(json, || {}).unwrap();
        canonical(tape.value(json)).map(Cow::into_owned)
    }

    proptest! {
        #[test]
        fn a_string_is_written_as_serde_writes_it(text: String, control in "[\u{0}-\u{7f}]{0,8}") {
            for text in [text, control] {
                let mut written = String::new();
                string(&text, &mut written);
                prop_assert_eq!(written, serde_json::to_string(&text).unwrap());
            }
        }
    }

    /// Each level was read again for each that holds it, which took seconds.
    #[test]
    fn depth_costs_nothing() {
        let text = "x".repeat(1 << 20);
        let nested = |depth| {
            format!(
                "{}\"{text}\"{}",
                r#"{"b":"#.repeat(depth),
                r#","a":1}"#.repeat(depth)
            )
        };
        let expected = |depth| {
            format!(
                "{}\"{text}\"{}",
                r#"{"a":1,"b":"#.repeat(depth),
                "}".repeat(depth)
            )
        };
        for _ in 0..50 {
            assert_eq!(form(&nested(126)), Some(expected(126)));
        }
    }

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
            assert_eq!(form(value).as_deref(), Some(expected), "{value}");
        }
        for (value, expected) in [(r#""{ }""#, Some("{ }")), (r#""""#, None), ("7", Some("7"))] {
            assert_eq!(form(value).as_deref(), expected, "{value}");
        }
    }
}
