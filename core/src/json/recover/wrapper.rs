//! The object around an array of items.

use std::borrow::Cow;

use super::{
    Cutter, Damage, Seen,
    elements::Ended,
    marks::{Edge, Meter, is_blank},
    nest::Open,
};
use crate::{
    event::Malformed,
    json::{
        body::{Wrapper, begins},
        object::{decoded, inside},
        scan::{self, Container, Flaw, Nesting, blanks},
    },
};

/// The end of a wrapper, after its array.
enum Tail {
    /// The wrapper ends before this place.
    Whole(usize),
    /// It is no wrapper: it has the field of an item, or a second array of objects.
    Item,
    Broken,
}

impl Cutter<'_> {
    /// The items in a wrapper, and where it ends; `None` if it is not certain that the object
    /// is one. Nothing is then added.
    pub(super) fn wrapper(
        &mut self,
        at: usize,
        wrapper: &Wrapper,
    ) -> Result<Option<usize>, Malformed> {
        let (body, first) = (self.body, self.pieces.len());
        let Some(array) = array(body, at, wrapper, &mut self.meter) else {
            return Ok(None);
        };
        let damage = match self.elements(array + 1, Edge::Wrapper)? {
            Ended::Closed(bracket) => match tail(body, bracket + 1, wrapper, &mut self.meter) {
                Tail::Whole(end) => {
                    let after = blanks(body, end);
                    if !matches!(body.get(after), Some(b',' | b']' | b'}' | b':')) {
                        return Ok(Some(end));
                    }
                    // The array was inside of an item, and so was each element before.
                    self.pieces.truncate(first);
                    Some(Damage {
                        start: blanks(body, array + 1),
                        low: after,
                        seen: Seen::Mark(after),
                        is_open: false,
                    })
                }
                Tail::Item => {
                    self.tried = bracket;
                    None
                }
                Tail::Broken => Some(self.closed_early(first, array + 1, bracket)),
            },
            Ended::Lost(damage) => Some(damage),
            // The last element has the brackets that end the array and its wrapper.
            Ended::Out(end) | Ended::Next(end) => {
                let last = match self.pieces.len() > first {
                    true => self.pieces.pop(),
                    false => None,
                };
                last.map(|last| Damage {
                    start: last.start(),
                    low: end,
                    seen: Seen::End(end),
                    is_open: false,
                })
            }
        };
        if let Some(damage) = damage {
            let end = self.end(damage.seen, Edge::Wrapper);
            self.tried = end;
            let bracket = self.last_array(array + 1, end, wrapper);
            if bracket.is_some() && (self.resync(damage, bracket, end)? || !self.is_line(at, end)) {
                return Ok(Some(end));
            }
        }
        self.pieces.truncate(first);
        Ok(None)
    }

    /// Whether the object at `at` is a line, because another line follows before `end`. Damaged
    /// lines look like a wrapper if the last of them ends with an array.
    fn is_line(&mut self, at: usize, end: usize) -> bool {
        let (body, pause) = (self.body, self.meter.pause());
        let next = self.end(Seen::Mark(at), Edge::Line);
        let Ok(after) = scan::value(body, next, &mut Nesting::default(), pause) else {
            return false;
        };
        let follows = body.get(blanks(body, after));
        next < end && matches!(follows, None | Some(b'{' | b'['))
    }

    /// The bracket that ends the last array of a wrapper which ends at `end`, if what follows
    /// the bracket is the end of a wrapper. The bracket is not before `floor`.
    fn last_array(&mut self, floor: usize, end: usize, wrapper: &Wrapper) -> Option<usize> {
        let body = self.body;
        let part = body.get(..end)?;
        let brace = part.iter().rposition(|byte| !is_blank(*byte))?;
        if part.get(brace) != Some(&b'}') {
            return None;
        }
        let mut open = Open::default();
        let mut is_quoted = false;
        for at in (floor..brace).rev() {
            self.meter.read(1);
            match body.get(at)? {
                b'"' => {
                    let text = body.get(floor..at)?;
                    let escapes = text.iter().rev().take_while(|byte| **byte == b'\\');
                    is_quoted ^= escapes.count() % 2 == 0;
                }
                _ if is_quoted => {}
                b']' if open.is_empty() => {
                    let tail = tail(body, at + 1, wrapper, &mut self.meter);
                    let is_end = matches!(tail, Tail::Whole(end) if end == brace + 1);
                    return is_end.then_some(at);
                }
                b'}' | b']' => open.push(Container::Object),
                b'{' | b'[' => {
                    open.pop()?;
                }
                _ => {}
            }
        }
        None
    }
}

/// The bracket that opens the array of a wrapper which starts at `at`: of its only array of
/// objects, or of the first value that is no JSON, if that is an array.
fn array(body: &[u8], at: usize, wrapper: &Wrapper, meter: &mut Meter) -> Option<usize> {
    let mut members = Members { body, at: at + 1 };
    let mut filled = None;
    loop {
        let member = members.next(meter)?;
        let is_array = body.get(member.start) == Some(&b'[');
        let Some(value) = member.value else {
            return match (filled, is_array) {
                (None, true) => Some(member.start),
                (Some(_), true) => None,
                (filled, false) => filled,
            };
        };
        if value != b"null" && wrapper.unless.contains(&member.name.as_ref()) {
            return None;
        }
        if begins(value, b'{') && filled.replace(member.start).is_some() {
            return None;
        }
        if body.get(members.at) != Some(&b',') {
            return filled;
        }
        members.at += 1;
    }
}

/// The members of a wrapper after its array, from `at` on.
fn tail(body: &[u8], at: usize, wrapper: &Wrapper, meter: &mut Meter) -> Tail {
    let at = blanks(body, at);
    let mut members = Members { body, at };
    let mut is_item = false;
    loop {
        match body.get(members.at) {
            Some(b'}') if is_item => return Tail::Item,
            Some(b'}') => return Tail::Whole(members.at + 1),
            Some(b',') => members.at += 1,
            _ => return Tail::Broken,
        }
        let member = members.next(meter);
        let Some((member, value)) = member.and_then(|member| Some((member.name, member.value?)))
        else {
            return Tail::Broken;
        };
        let is_field = value != b"null" && wrapper.unless.contains(&member.as_ref());
        is_item |= is_field || begins(value, b'{');
    }
}

/// The members of an object, one after the other.
struct Members<'a> {
    body: &'a [u8],
    at: usize,
}

struct Member<'a> {
    name: Cow<'a, str>,
    start: usize,
    /// `None` if it is not JSON.
    value: Option<&'a [u8]>,
}

impl<'a> Members<'a> {
    /// The member that begins here, after blanks; `None` if it has no name.
    fn next(&mut self, meter: &mut Meter) -> Option<Member<'a>> {
        let (body, before) = (self.body, self.at);
        let name = scan::name_token(body, blanks(body, before)).ok()?;
        let start = scan::colon(body, name.end).ok()?;
        let name = str::from_utf8(body.get(name.start..name.end)?).ok()?;
        let read = scan::value(body, start, &mut Nesting::default(), meter.pause());
        meter.read(read.unwrap_or_else(Flaw::at) - before);
        let value = read.ok().and_then(|end| body.get(start..end));
        self.at = blanks(body, read.unwrap_or(start));
        Some(Member {
            name: decoded(inside(name)),
            start,
            value,
        })
    }
}
