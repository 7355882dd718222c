//! The marks of a body that is not JSON: quotes, brackets, commas and colons, whatever stands
//! between them.
//!
//! A quote counts unless an odd number of backslashes stands before it, inside of a string or
//! not. The quotes that count are therefore the same whether a text is read from its beginning
//! or from its end.

use crate::event::Pause;

use super::super::scan::{Container, STRIDE, blanks};

/// A mark, or a text between marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Open(Container),
    Close(Container),
    Comma,
    Colon,
    String,
    /// Anything else without blanks: a number, a word, or what no JSON has.
    Bare,
    /// The end of the part.
    End,
    /// The end of the part, inside of a string.
    Cut,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
    /// Whether it is the first mark of its line.
    pub(super) is_first: bool,
}

/// A line break that ends a part of the body, however damaged the part is. None of these
/// stands inside of a JSON value, because no string has a line break in it, and because only a
/// comma, a colon or an opening bracket stands before a value that is inside of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    /// Before a line that begins with a bracket, after a line that ends like a value.
    Line,
    /// The same, after a line that ends with `]`. An array may have lost the comma between two
    /// objects.
    Array,
    /// The same, after a line that ends with `]}`.
    Wrapper,
}

impl Edge {
    /// Whether the line break between these two places is one.
    fn is_between(self, text: &[u8], before: usize, after: usize) -> bool {
        if !matches!(text.get(after), Some(b'{' | b'[')) {
            return false;
        }
        let Some((last, rest)) = text.get(..before).and_then(<[u8]>::split_last) else {
            return false;
        };
        match self {
            Self::Line => !matches!(last, b',' | b':' | b'[' | b'{'),
            Self::Array => *last == b']',
            Self::Wrapper => {
                let closes = rest.iter().rev().find(|byte| !is_blank(**byte));
                *last == b'}' && closes == Some(&b']')
            }
        }
    }
}

/// Calls `pause` whenever so many bytes were read.
#[derive(Debug)]
pub(super) struct Meter {
    left: usize,
    pause: Pause,
}

impl Meter {
    pub(super) const fn new(pause: Pause) -> Self {
        Self {
            left: STRIDE,
            pause,
        }
    }

    pub(super) const fn pause(&self) -> Pause {
        self.pause
    }

    pub(super) fn read(&mut self, bytes: usize) {
        if let Some(left) = self.left.checked_sub(bytes) {
            self.left = left;
            return;
        }
        (self.pause)();
        self.left = STRIDE;
    }
}

/// The marks of a part of a body, one after the other.
#[derive(Debug)]
pub(super) struct Marks<'a, 'm> {
    text: &'a [u8],
    at: usize,
    edge: Edge,
    meter: &'m mut Meter,
}

impl<'a, 'm> Marks<'a, 'm> {
    pub(super) fn new(text: &'a [u8], at: usize, edge: Edge, meter: &'m mut Meter) -> Self {
        Self {
            text,
            at,
            edge,
            meter,
        }
    }

    /// The next mark. After the end of the part its end is returned again.
    pub(super) fn next(&mut self) -> Mark {
        let before = self.at;
        let start = blanks(self.text, before);
        let breaks = self.text.get(before..start).unwrap_or_default();
        let is_first = breaks.contains(&b'\n');
        let ends = is_first && self.edge.is_between(self.text, before, start);
        let (kind, end) = match self.text.get(start) {
            _ if ends => (Kind::End, start),
            None => (Kind::End, start),
            Some(b'{') => (Kind::Open(Container::Object), start + 1),
            Some(b'[') => (Kind::Open(Container::Array), start + 1),
            Some(b'}') => (Kind::Close(Container::Object), start + 1),
            Some(b']') => (Kind::Close(Container::Array), start + 1),
            Some(b',') => (Kind::Comma, start + 1),
            Some(b':') => (Kind::Colon, start + 1),
            Some(b'"') => self.string(start),
            Some(_) => (Kind::Bare, self.bare(start)),
        };
        self.meter.read(end - before);
        if !matches!(kind, Kind::End | Kind::Cut) {
            self.at = end;
        }
        Mark {
            kind,
            start,
            end,
            is_first,
        }
    }

    /// The end of the part, from here on.
    pub(super) fn end(mut self) -> usize {
        loop {
            let mark = self.next();
            if matches!(mark.kind, Kind::End | Kind::Cut) {
                return mark.end;
            }
        }
    }

    fn string(&self, start: usize) -> (Kind, usize) {
        let text = self.text;
        let mut at = start + 1;
        loop {
            match text.get(at) {
                None => return (Kind::Cut, text.len()),
                Some(b'"') => return (Kind::String, at + 1),
                Some(b'\\') if text.get(at + 1) != Some(&b'\n') => at += 2,
                Some(b'\n') => {
                    let after = blanks(text, at);
                    let line = text.get(start..at).unwrap_or_default();
                    let spaces = line.iter().rev().take_while(|byte| is_blank(**byte));
                    if self.edge.is_between(text, at - spaces.count(), after) {
                        return (Kind::Cut, after);
                    }
                    at = after;
                }
                Some(_) => at += 1,
            }
        }
    }

    fn bare(&self, start: usize) -> usize {
        let mut at = start;
        loop {
            match self.text.get(at) {
                None | Some(b'{' | b'}' | b'[' | b']' | b',' | b':' | b'"') => return at,
                Some(byte) if is_blank(*byte) => return at,
                Some(b'\\') => {
                    let pair = matches!(self.text.get(at + 1), Some(b'\\' | b'"'));
                    at += 1 + usize::from(pair);
                }
                Some(_) => at += 1,
            }
        }
    }
}

pub(super) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}
