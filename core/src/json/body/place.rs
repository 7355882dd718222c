//! A place in a body that is JSON, and how the body goes on from there.

use std::ops::Range;

use super::{
    super::{
        scan::{self, Flaw},
        shallow::Members,
    },
    Wrapper,
};
use crate::event::Pause;

/// A place in a body, and how the body goes on from there.
#[derive(Debug)]
pub(super) struct Place {
    wrapper: Option<&'static Wrapper>,
    at: usize,
    inside: Inside,
    /// Offset in the body after the array.
    resume: Option<usize>,
    /// The number of the items so far.
    pub(super) found: usize,
    /// The number of the whole values of the body so far.
    pub(super) values: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    /// The place between the values of a body.
    Nothing,
    /// The beginning of an array.
    NewArray,
    /// The place after an element of an array.
    Array,
}

impl Place {
    pub(super) const fn new(wrapper: Option<&'static Wrapper>) -> Self {
        Self {
            wrapper,
            at: 0,
            inside: Inside::Nothing,
            resume: None,
            found: 0,
            values: 0,
        }
    }

    pub(super) fn is_outside(&self) -> bool {
        self.inside == Inside::Nothing
    }

    /// A whole value of the body ends here.
    fn end_value(&mut self, at: usize) {
        self.at = at;
        self.values += 1;
        self.inside = Inside::Nothing;
    }

    /// The next item. `read` reads a value, and returns its end.
    pub(super) fn next(
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
pub(in crate::json) fn begins(value: &[u8], first: u8) -> bool {
    value.first() == Some(&b'[') && value.get(scan::blanks(value, 1)) == Some(&first)
}
