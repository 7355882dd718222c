//! Strings of JSON, and the characters that they are.

use super::scan::{Flaw, Token};

/// Whether the escapes of a string, whose grammar was read before, are characters that a
/// text of Postgres can hold: no half of a surrogate pair, and no U+0000.
pub(super) fn check_escapes(text: &[u8], token: Token) -> Result<(), Flaw> {
    if has_nul(text, token)? {
        return Err(Flaw::new("it contains U+0000", token.end - 1));
    }
    Ok(())
}

/// Whether the escapes of a string are characters and U+0000 is one of them; an error if
/// they are not all characters.
pub(super) fn has_nul(text: &[u8], token: Token) -> Result<bool, Flaw> {
    let mut at = token.start;
    let mut has_nul = false;
    while at < token.end {
        let Some(skipped) = text
            .get(at..token.end)
            .and_then(|rest| rest.iter().position(|byte| *byte == b'\\'))
        else {
            break;
        };
        at += skipped;
        if text.get(at + 1) != Some(&b'u') {
            at += 2;
            continue;
        }
        match hex(text, at + 2) {
            0xdc00..=0xdfff => {
                return Err(Flaw::new("lone leading surrogate in hex escape", at + 5));
            }
            0xd800..=0xdbff => {
                for (place, byte) in [(at + 6, b'\\'), (at + 7, b'u')] {
                    if text.get(place) != Some(&byte) {
                        return Err(Flaw::new("unexpected end of hex escape", place));
                    }
                }
                if !matches!(hex(text, at + 8), 0xdc00..=0xdfff) {
                    return Err(Flaw::new("lone leading surrogate in hex escape", at + 11));
                }
                at += 12;
            }
            code => {
                has_nul |= code == 0;
                at += 6;
            }
        }
    }
    Ok(has_nul)
}

/// The four hexadecimal digits from `at` on.
fn hex(text: &[u8], at: usize) -> u32 {
    let digits = text.get(at..at + 4).unwrap_or_default();
    digits.iter().fold(0, |code, digit| {
        code << 4 | char::from(*digit).to_digit(16).unwrap_or_default()
    })
}

/// Appends the characters of a string without its quotes, whose escapes were checked.
pub(super) fn decode(inside: &str, out: &mut String) {
    let mut rest = inside;
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.push_str(plain);
        let (character, length) = unescape(escape.as_bytes());
        out.push(character);
        rest = escape.get(length..).unwrap_or_default();
    }
    out.push_str(rest);
}

/// The character of an escape, from the byte after its backslash on, and its length.
fn unescape(escape: &[u8]) -> (char, usize) {
    let character = match escape.first() {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => {
            let code = hex(escape, 1);
            let (code, length) = match code {
                0xd800..=0xdbff => {
                    let low = hex(escape, 7) & 0x3ff;
                    (0x10000 + ((code & 0x3ff) << 10 | low), 11)
                }
                _ => (code, 5),
            };
            let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
            return (character, length);
        }
        Some(byte) => char::from(*byte),
        None => char::REPLACEMENT_CHARACTER,
    };
    (character, 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn checked(literal: &str) -> bool {
        let token = Token {
            start: 0,
            end: literal.len(),
            special: true,
        };
        check_escapes(literal.as_bytes(), token).is_ok()
    }

    proptest! {
        /// serde_json reads the same characters, and refuses the same escapes.
        #[test]
        fn strings_are_the_characters_that_they_escape(
            literal in "\"(\\\\u(00[0-9a-f]{2}|d[89a-fA-F][0-9a-f]{2}|[0-9A-F]{4})|\\\\[\"\\\\/bfnrt]|[^\"\\\\\u{0}-\u{1f}]){0,12}\"",
        ) {
            match serde_json::from_str::<String>(&literal) {
                Ok(expected) if !expected.contains('\0') => {
                    prop_assert!(checked(&literal));
                    let mut read = String::new();
                    decode(&literal[1..literal.len() - 1], &mut read);
                    prop_assert_eq!(read, expected);
                }
                _ => prop_assert!(!checked(&literal)),
            }
        }
    }
}
