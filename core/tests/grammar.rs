//! The grammar of JSON, as serde_json has it: every short text of its marks, numbers, words and
//! escapes, so that no rule depends on what is drawn.

use serde_json::value::RawValue;
use tidings_core::json::{Tape, string_in};

fn check(text: &str) {
    let is_json = serde_json::from_str::<&RawValue>(text).is_ok();
    assert_eq!(Tape::of(text, || {}).is_ok(), is_json, "{text:?}");
    // The same pass, which keeps nothing of what it reads.
    if is_json {
        let object = format!(r#"{{"a":{text},"b":[{text},{{"c":{text}}}],"s":"x"}}"#);
        assert_eq!(string_in(&object, "s").as_deref(), Some("x"), "{text:?}");
    }
}

/// All texts of at most so many of these parts.
fn all(parts: &[&str], most: usize) {
    let mut texts = vec![String::new()];
    for _ in 0..most {
        let longer = |text: &String| {
            let text = text.clone();
            parts.iter().map(move |part| text.clone() + part)
        };
        texts = texts.iter().flat_map(longer).collect();
        texts.iter().for_each(|text| check(text));
    }
}

#[test]
fn marks_stand_where_they_may() {
    all(&["[", "]", "{", "}", ",", ":", "1", r#""a""#], 6);
    all(&["[", "]", "{", "}", ",", " 1 ", "\t\"a\"\n:"], 6);
}

#[test]
fn numbers_are_numbers() {
    all(&["-", "+", "0", "1", ".", "e", "E"], 5);
}

#[test]
fn words_are_whole() {
    for word in ["true", "false", "null"] {
        for end in 0..=word.len() {
            for after in ["", " ", "x", "e", "1"] {
                check(&format!("{}{after}", &word[..end]));
                check(&format!("[{}{after}]", &word[..end]));
            }
        }
        for (index, _) in word.char_indices() {
            let mut other = word.to_owned();
            other.replace_range(index..=index, "x");
            check(&other);
        }
    }
}

/// Strings are read eight bytes at a time.
#[test]
fn every_byte_of_a_string_is_looked_at() {
    for before in 0..20 {
        for byte in 0..=127u8 {
            let plain = "x".repeat(before);
            let character = char::from(byte);
            for after in ["", "x", "xxxxxxxxx"] {
                check(&format!("\"{plain}{character}{after}\""));
                check(&format!("\"{plain}\\{character}{after}\""));
            }
            check(&format!("\"{plain}{character}"));
        }
    }
}

#[test]
fn escapes_have_four_digits() {
    for digits in [
        "", "0", "00e", "00e9", "00E9", "00g9", "g0e9", "00eg", " 0e9", "+0e9",
    ] {
        for after in ["", "\"", "x\""] {
            check(&format!("\"\\u{digits}{after}"));
        }
    }
}
