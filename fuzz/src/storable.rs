//! What of JSON `jsonb` takes, judged a second time and in another way than
//! `tidings_core::json::storable` does.

use serde_json::Value;

/// Nesting, digits of a number, and an exponent.
const MAX_DEPTH: usize = 128;
const MAX_NUMBER: usize = 1000;

/// Elements and members.
const MAX_PARTS: usize = 1_000_000;

/// Whether Postgres can store this item.
pub fn storable(item: &str) -> bool {
    let (strings, rest): (Vec<_>, Vec<_>) = pieces(item);
    serde_json::from_str::<Value>(item).is_ok()
        && !strings.iter().any(|string| has_nul(string))
        && depth(&rest) < MAX_DEPTH
        && parts(&rest) <= MAX_PARTS
        && rest.iter().all(|rest| numbers_fit(rest))
}

/// The insides of the strings, and what is between them.
fn pieces(json: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut strings, mut rest) = (Vec::new(), Vec::new());
    let mut remaining = json;
    while let Some((before, string)) = remaining.split_once('"') {
        rest.push(before);
        let mut escaped = false;
        let end = string.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let (inside, after) = string.split_at(end.unwrap_or(string.len()));
        strings.push(inside);
        remaining = after.strip_prefix('"').unwrap_or_default();
    }
    rest.push(remaining);
    (strings, rest)
}

fn has_nul(string: &str) -> bool {
    string.contains('\0') || string.replace(r"\\", "").contains(r"\u0000")
}

fn depth(rest: &[&str]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    for c in rest.iter().flat_map(|rest| rest.chars()) {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// One for each comma, and one for each array or object that is not empty.
fn parts(rest: &[&str]) -> usize {
    let bare = rest.join("\"");
    let mut bare = bare.chars().filter(|c| !c.is_ascii_whitespace()).peekable();
    let mut parts = 0;
    while let Some(c) = bare.next() {
        let holds = matches!(c, '[' | '{') && !matches!(bare.peek(), Some(']' | '}'));
        parts += usize::from(c == ',' || holds);
    }
    parts
}

fn numbers_fit(rest: &str) -> bool {
    let of_a_number = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    rest.split(|c| !of_a_number(c)).all(|number| {
        let digits = number.matches(|c: char| c.is_ascii_digit()).count();
        let exponent = number.split_once(['e', 'E']).map_or("0", |(_, e)| e);
        let exponent = exponent.trim_start_matches(['+', '-', '0']);
        let small = exponent.len() <= 4 && exponent.parse::<usize>().unwrap_or(0) <= MAX_NUMBER;
        digits <= MAX_NUMBER && small
    })
}
