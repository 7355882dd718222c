//! A comment of the catalog, which is plain text, as Markdown.

/// The comment in paragraphs: what it returns, and then its errors.
pub(super) fn paragraphs(comment: &str) -> String {
    let text = markdown(comment);
    match text.split_once(". SQLSTATE ") {
        Some((before, errors)) => format!("{before}.\n\nSQLSTATE {errors}"),
        None => text,
    }
}

/// The comment in a cell of a table.
pub(super) fn cell(comment: &str) -> String {
    markdown(comment).replace('|', "\\|").replace('\n', " ")
}

/// Sets names, calls and JSON in the font of code, and takes its meaning from all that
/// Markdown would read otherwise.
fn markdown(text: &str) -> String {
    let mut written = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (code, shown) = match first {
            '{' => (enclosed(rest, '{', '}'), 0),
            '"' => (quoted(rest), 1),
            _ => (word(rest).filter(|word| is_code(word)), 0),
        };
        if let Some(code) = code {
            let inside = code.get(shown..code.len() - shown).unwrap_or(code);
            written.push_str(&format!("`{inside}`"));
            rest = rest.get(code.len()..).unwrap_or_default();
        } else if let Some(word) = word(rest) {
            written.push_str(word);
            rest = rest.get(word.len()..).unwrap_or_default();
        } else {
            if "\\`*<#".contains(first) {
                written.push('\\');
            }
            written.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    written
}

/// From an opening sign to the one that closes it.
fn enclosed(text: &str, open: char, close: char) -> Option<&str> {
    let mut depth = 0_usize;
    for (at, sign) in text.char_indices() {
        if sign == open {
            depth += 1;
        } else if sign == close {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return text.get(..=at);
            }
        }
    }
    None
}

/// A name in quotation marks, with them.
fn quoted(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('"')?.split('"').next()?;
    let of_name = |sign: char| sign.is_ascii_alphanumeric() || "_-.=".contains(sign);
    let is_title = inside.starts_with(char::is_uppercase) && !inside.contains('.');
    let whole = text.get(..inside.len() + 2)?;
    let is_name = !inside.is_empty() && inside.chars().all(of_name) && !is_title;
    (is_name && whole.ends_with('"')).then_some(whole)
}

/// The word that the text begins with, and, where it is a function's name, the arguments
/// behind it.
fn word(text: &str) -> Option<&str> {
    let of_word = |sign: char| sign.is_ascii_alphanumeric() || "_./-".contains(sign);
    let end = text.find(|sign| !of_word(sign)).unwrap_or(text.len());
    // A full stop ends the sentence.
    let word = text.get(..end)?.trim_end_matches(['.', '-', '/']);
    if word.is_empty() {
        return None;
    }
    let arguments = text.get(word.len()..).filter(|it| it.starts_with('('));
    let arguments = arguments
        .and_then(|it| enclosed(it, '(', ')'))
        .unwrap_or_default();
    text.get(..word.len() + arguments.len())
}

/// Whether a word is a name of SQL: a call, a name of several words, a name in a schema.
fn is_code(word: &str) -> bool {
    let dotted = word.contains('.') && !word.contains(|it: char| it.is_ascii_digit());
    let plain = word.contains('/') || word.starts_with('.');
    word.ends_with(')') || (!plain && (word.contains('_') || dotted))
}

#[cfg(test)]
mod tests {
    use super::{cell, paragraphs};

    #[test]
    fn names_and_calls_are_code() {
        assert_eq!(
            cell("See providers(), tidings.source and \"url-token\"; or allow_unauthenticated."),
            "See `providers()`, `tidings.source` and `url-token`; or `allow_unauthenticated`."
        );
        assert_eq!(
            cell("A literal: seek('app', at => '2026-01-01'). Up to 1.5 MB (a|b)."),
            "A literal: `seek('app', at => '2026-01-01')`. Up to 1.5 MB (a\\|b)."
        );
        assert_eq!(
            cell("A ULID (github.com/ulid/spec), .proto, {\"id\": {\"a\": 1}}, \"Two words\""),
            "A ULID (github.com/ulid/spec), .proto, `{\"id\": {\"a\": 1}}`, \"Two words\""
        );
        assert_eq!(cell("a * b < c"), "a \\* b \\< c");
        assert_eq!(
            cell("\"Message.id\" and tidings.source.id; see \"Monotonicity\"."),
            "`Message.id` and `tidings.source.id`; see \"Monotonicity\"."
        );
    }

    #[test]
    fn errors_are_a_paragraph_of_their_own() {
        assert_eq!(
            paragraphs("Removes it. SQLSTATE 42704 where there is none."),
            "Removes it.\n\nSQLSTATE 42704 where there is none."
        );
        assert_eq!(
            paragraphs("Gets SQLSTATE 55006 then."),
            "Gets SQLSTATE 55006 then."
        );
    }
}
