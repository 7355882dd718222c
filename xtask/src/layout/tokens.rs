//! Cuts the text of a Rust file into words and signs.

/// One word or sign of Rust. Comments, strings and characters are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    /// The offset in the file at which it starts.
    pub(super) at: usize,
}

pub(super) fn is_word(token: &Token) -> bool {
    token.text.starts_with(starts_word)
}

fn starts_word(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..)
        && let Some(first) = rest.chars().next()
    {
        let (length, is_token) = match first {
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), false),
            '/' if rest.starts_with("/*") => (comment(rest), false),
            '"' => (string(rest, 1), false),
            '\'' => quoted(rest),
            ':' if rest.starts_with("::") => (2, true),
            _ if starts_word(first) => match literal(rest) {
                Some(length) => (length, false),
                None => {
                    let end = rest.find(|c| !(starts_word(c) || c.is_numeric()));
                    (end.unwrap_or(rest.len()), true)
                }
            },
            _ => (first.len_utf8(), !first.is_whitespace()),
        };
        if is_token && let Some(text) = rest.get(..length) {
            tokens.push(Token { text, at });
        }
        at += length;
    }
    tokens
}

/// The length of a comment that may hold others.
fn comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = rest.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of a string with escapes, whose quote ends at `start`.
fn string(rest: &str, start: usize) -> usize {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip_while(|(at, _)| *at < start) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a character or of a lifetime's quote.
fn quoted(rest: &str) -> (usize, bool) {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let from = at + escaped.len_utf8();
            let end = rest.get(from..).and_then(|rest| rest.find('\''));
            (end.map_or(rest.len(), |end| from + end + 1), false)
        }
        (Some(_), Some((at, '\''))) => (at + 1, false),
        _ => (1, false),
    }
}

/// The length of a string that starts with letters: `r"..."`, `b"..."`, `br#"..."#`.
fn literal(rest: &str) -> Option<usize> {
    let letters = rest.find(|c| !matches!(c, 'b' | 'c' | 'r'))?;
    let (prefix, from) = rest.split_at_checked(letters)?;
    if !prefix.contains('r') {
        return match from.chars().next()? {
            '"' => Some(string(rest, letters + 1)),
            '\'' if prefix == "b" => Some(letters + quoted(from).0),
            _ => None,
        };
    }
    let marks = from.find(|c| c != '#')?;
    if !from.get(marks..)?.starts_with('"') {
        return None;
    }
    let end = format!("\"{}", "#".repeat(marks));
    let start = letters + marks + 1;
    let length = rest.get(start..)?.find(&end)?;
    Some(start + length + end.len())
}
