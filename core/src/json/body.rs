//! A body cut into its items.

use std::ops::Range;

use super::{
    Tape, describe,
    scan::{self, Flaw, Nesting},
    shallow::Members,
};
use crate::event::{ItemError, Malformed, Pause};

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

/// The items of a body: one object, an array, or several of them one after another
/// (newline-delimited or concatenated). An object that wraps an array counts as that array.
///
/// An error after the first value does not affect the values before it: a scalar counts
/// as an item, and so does the rest of a body from the first text that is not JSON.
///
/// The body is read twice, so that no list of its items is kept: once before the first item,
/// to see whether it is JSON, and once as the items are asked for.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    /// The body, up to the end of its last value.
    text: &'a str,
    /// The text after the value, which is not JSON.
    rest: Option<&'a str>,
    place: Place,
    count: usize,
    longest: usize,
    /// The values in the item that has most of them.
    most: usize,
    pause: Pause,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(
        body: &'a [u8],
        wrapper: Option<&'static Wrapper>,
        pause: Pause,
    ) -> Result<Self, Malformed> {
        if body.len() > MAX_BODY {
            return Err(Malformed::TooLarge(body.len()));
        }
        let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
        let mut place = Place::new(wrapper);
        let mut nesting = Nesting::default();
        let (mut longest, mut most) = (0, 0);
        let flaw = loop {
            let read = |at| {
                nesting.values = 0;
                scan::value(body, at, &mut nesting, pause)
            };
            match place.next(body, pause, read) {
                Ok(Some(item)) => {
                    let first = body.get(item.start..item.end).unwrap_or_default();
                    if place.values == 1
                        && place.found == 1
                        && place.is_outside()
                        && !first.starts_with(b"{")
                    {
                        let value = str::from_utf8(first).unwrap_or_default();
                        return Err(Malformed::NotItems(describe(value)));
                    }
                    longest = longest.max(item.len());
                    most = most.max(nesting.values);
                }
                Ok(None) => break None,
                Err(flaw) => break Some(flaw),
            }
        };
        let text = match (str::from_utf8(body), flaw) {
            (Ok(text), None) => text,
            (Ok(text), Some(_)) if place.values > 0 => text,
            (Ok(_), Some(flaw)) => return Err(Malformed::NotJson(flaw.describe(body))),
            (Err(error), flaw) => {
                let invalid = Flaw::new("invalid unicode code point", error.valid_up_to());
                let flaw = flaw.filter(|flaw| flaw.at() <= invalid.at());
                let reason = flaw.unwrap_or(invalid).describe(body);
                return Err(Malformed::NotJson(reason));
            }
        };
        if place.values == 0 {
            return Err(Malformed::Empty);
        }
        let (text, rest) = text.split_at_checked(place.end).unwrap_or((text, ""));
        let rest = flaw.map(|_| rest.trim_matches([' ', '\t', '\r', '\n']));
        let count = place.whole + usize::from(rest.is_some());
        if count > MAX_ITEMS {
            return Err(Malformed::TooMany);
        }
        Ok(Self {
            text,
            rest,
            place: Place::new(wrapper),
            count,
            longest: longest.max(rest.map_or(0, str::len)),
            most: most.max(rest.map_or(0, |rest| rest.len() / 2)),
            pause,
        })
    }

    /// The number of items.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The length of the longest item, in bytes.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// The number of values in the item that has most of them.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// The whole text in which the items are.
    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// The next item, and whether it could be read onto the tape.
    pub(crate) fn next(&mut self, tape: &mut Tape) -> Option<(&'a str, Result<(), ItemError>)> {
        let (text, pause) = (self.text, self.pause);
        let mut read = Ok(());
        let item = self.place.next(text.as_bytes(), pause, |at| {
            let end = tape.read(text, at, pause);
            end.or_else(|flaw| {
                read = Err((flaw, at));
                scan::value(text.as_bytes(), at, &mut Nesting::default(), pause)
            })
        });
        // The body was read before, so that nothing is wrong with it now.
        if let Ok(Some(item)) = item {
            let item = text.get(item).unwrap_or_default();
            let reason = |(flaw, start): (Flaw, usize)| {
                ItemError::NotStorable(flaw.after(start).describe(item.as_bytes()))
            };
            return Some((item, read.map_err(reason)));
        }
        let rest = self.rest.take()?;
        Some((rest, tape.read_all(rest, pause)))
    }
}

/// A place in a body, and how the body goes on from there.
#[derive(Debug)]
struct Place {
    wrapper: Option<&'static Wrapper>,
    at: usize,
    inside: Inside,
    /// Offset in the body after the array.
    resume: Option<usize>,
    /// The number of the items so far.
    found: usize,
    /// The number of the whole values of the body so far, the end of the last of them, and
    /// the number of items up to there.
    values: usize,
    end: usize,
    whole: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    /// Between the values of a body.
    Nothing,
    /// At the beginning of an array.
    NewArray,
    /// After an element of an array.
    Array,
}

impl Place {
    const fn new(wrapper: Option<&'static Wrapper>) -> Self {
        Self {
            wrapper,
            at: 0,
            inside: Inside::Nothing,
            resume: None,
            found: 0,
            values: 0,
            end: 0,
            whole: 0,
        }
    }

    fn is_outside(&self) -> bool {
        self.inside == Inside::Nothing
    }

    /// A whole value of the body ends here.
    fn end_value(&mut self, at: usize) {
        (self.at, self.end) = (at, at);
        (self.values, self.whole) = (self.values + 1, self.found);
        self.inside = Inside::Nothing;
    }

    /// The next item. `read` reads a value, and returns its end.
    fn next(
        &mut self,
        body: &[u8],
        pause: Pause,
        mut read: impl FnMut(usize) -> Result<usize, Flaw>,
    ) -> Result<Option<Range<usize>>, Flaw> {
        pause();
        loop {
            self.at = scan::blanks(body, self.at);
            match (self.inside, body.get(self.at)) {
                (Inside::Nothing, None) => return Ok(None),
                (Inside::Nothing, Some(b'[')) => {
                    self.at += 1;
                    self.inside = Inside::NewArray;
                }
                (Inside::Nothing, Some(first)) => {
                    let wrapped = match (first, self.wrapper) {
                        (b'{', Some(wrapper)) => wrapped(body, self.at, wrapper, pause),
                        _ => None,
                    };
                    if let Some(array) = wrapped {
                        (self.at, self.resume) = (array.start + 1, Some(array.end));
                        self.inside = Inside::NewArray;
                        continue;
                    }
                    let start = self.at;
                    self.at = read(start)?;
                    if !matches!(first, b'{' | b'"') {
                        ends(body, self.at)?;
                    }
                    self.found += 1;
                    self.end_value(self.at);
                    return Ok(Some(start..self.at));
                }
                (Inside::NewArray | Inside::Array, Some(b']')) => {
                    let end = self.resume.take().unwrap_or(self.at + 1);
                    self.end_value(end);
                }
                (Inside::NewArray | Inside::Array, None) => {
                    return Err(Flaw::new("EOF while parsing a list", self.at));
                }
                (Inside::Array, Some(byte)) if *byte != b',' => {
                    return Err(Flaw::new("expected `,` or `]`", self.at));
                }
                (inside, Some(_)) => {
                    if inside == Inside::Array {
                        self.at = scan::blanks(body, self.at + 1);
                    }
                    let start = self.at;
                    self.at = read(start)?;
                    self.inside = Inside::Array;
                    self.found += 1;
                    return Ok(Some(start..self.at));
                }
            }
        }
    }
}

/// A number or a word has no end of its own: something must follow that is not part of it.
fn ends(body: &[u8], at: usize) -> Result<(), Flaw> {
    match body.get(at) {
        None
        | Some(b' ' | b'\t' | b'\r' | b'\n' | b'"' | b'[' | b']' | b'{' | b'}' | b',' | b':') => {
            Ok(())
        }
        Some(_) => Err(Flaw::new("trailing characters", at)),
    }
}

/// The place of a wrapper's array, from its first byte to the end of the wrapper that starts
/// at `at`. If two arrays could be meant there is none, so that no item is dropped silently.
/// An empty array counts if it is the only array.
fn wrapped(body: &[u8], at: usize, wrapper: &Wrapper, pause: Pause) -> Option<Range<usize>> {
    let mut filled = None;
    // What may be empty: the only value, or the one that is named "events".
    let (mut first, mut events) = (None, None);
    let mut count = 0usize;
    let mut members = Members::new(body, at, pause);
    while let Some(member) = members.next().ok()? {
        if member.value != b"null" {
            if wrapper.unless.contains(&member.name.as_ref()) {
                return None;
            }
            if member.name == "events" {
                events = Some((member.start, member.value));
            }
        }
        count += 1;
        first = first.or(Some((member.start, member.value)));
        if begins(member.value, b'{') && filled.replace(member.start).is_some() {
            return None;
        }
    }
    let empty = || {
        let only = first.filter(|_| count == 1);
        let (start, value) = only.or(events)?;
        begins(value, b']').then_some(start)
    };
    Some(filled.or_else(empty)?..members.end())
}

/// Whether a value is an array that begins so.
fn begins(value: &[u8], first: u8) -> bool {
    value.first() == Some(&b'[') && value.get(scan::blanks(value, 1)) == Some(&first)
}

#[cfg(test)]
mod tests {
    use super::*;

    static WRAPPER: Wrapper = Wrapper {
        unless: &["event_name", "live_activity_id"],
    };

    fn items(body: &[u8]) -> Result<Vec<&str>, Malformed> {
        let mut cursor = Cursor::new(body, Some(&WRAPPER), || {})?;
        let mut tape = Tape::default();
        let items: Vec<_> = std::iter::from_fn(|| cursor.next(&mut tape)).collect();
        assert_eq!(items.len(), cursor.count());
        let longest = items.iter().map(|(item, _)| item.len()).max();
        assert!(cursor.longest() >= longest.unwrap_or(0));
        Ok(items.into_iter().map(|(item, _)| item).collect())
    }

    fn cut(body: &str) -> Result<Vec<&str>, Malformed> {
        items(body.as_bytes())
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
            (r#"{"events":[{"a":1}]}{}"#, vec![r#"{"a":1}"#, "{}"]),
            (
                r#"{} {"events":[{"a":1}],}"#,
                vec!["{}", r#"{"events":[{"a":1}],}"#],
            ),
            (r#"{"e":[],"events":[],"a":1}7"#, vec!["7"]),
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
        for broken in [
            "{",
            "[{}",
            "x {}",
            "{'a':1}\n{}",
            "nul",
            "7x",
            r#"{"events":[{}],}"#,
            r#"{"events":[{}]"#,
        ] {
            assert!(
                matches!(cut(broken), Err(Malformed::NotJson(_))),
                "{broken}"
            );
        }
        for broken in [&b"{\"a\":\"\xff\"}"[..], b"{}\n{\"a\":\"\xff\"}"] {
            assert!(matches!(items(broken), Err(Malformed::NotJson(_))));
        }
        let many = format!("[{}0]", "0,".repeat(MAX_ITEMS));
        assert_eq!(cut(&many), Err(Malformed::TooMany));
        let broken = format!("[{}0] x", "0,".repeat(MAX_ITEMS - 1));
        assert_eq!(cut(&broken), Err(Malformed::TooMany));
        let long = vec![b' '; MAX_BODY + 1];
        assert_eq!(items(&long), Err(Malformed::TooLarge(MAX_BODY + 1)));
    }
}
