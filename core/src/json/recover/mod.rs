//! The items of a body that is not JSON as a whole, because some of its items are damaged.
//!
//! The body is cut by its structure: by quotes, escapes and brackets, over bytes. Each piece
//! is judged alone afterwards, by the strict parser, so that a piece is an event only if it is
//! JSON by itself. This module only has to say where the pieces are, and it never cuts a
//! damaged item into smaller ones: what is in doubt is one piece.
//!
//! - `marks`: quotes, brackets, commas and colons, and the line breaks that end a part
//! - `nest`: the brackets that are open, and the grammar between them
//! - `elements`: the elements of a part, read forwards
//! - `back`: the elements at the end of an array, read backwards
//! - `wrapper`: the object around an array of items
//!
//! # Where a damaged item ends
//!
//! *By its brackets*, if quotes and brackets of the whole part come out even. Then the damage
//! is inside of the items in which it is seen.
//!
//! *Otherwise* a quote or a bracket is missing or too many, and what follows cannot be read
//! forwards. The part is then read backwards from its end, which tells the undamaged elements
//! there from one another. They count from the first place on at which the grammar is broken,
//! because the damage begins there or before it; what stands before that place might be inside
//! of the damaged item. Everything between the elements before the damage and those after it
//! is one piece. If that piece does not begin like an object, the element before it may have
//! ended too early, and belongs to it. If a bracket of it is still open, the element right
//! behind it may be its rest, and belongs to it unless it begins with the same name: an item has
//! each name once, and the items of a sender begin alike.
//!
//! If the elements at the end might as well be elements of an array that is inside of the
//! damaged item, or if an array ends although the text goes on as in an object, then nothing
//! tells the two apart, and all of these elements are in the piece.
//!
//! Each byte is read a fixed number of times, whatever the body holds.

mod back;
mod elements;
mod marks;
mod nest;
#[cfg(test)]
mod tests;
mod wrapper;

use self::{
    elements::Ended,
    marks::{Edge, Marks, Meter, is_blank},
};
use super::{
    body::{MAX_ITEMS, Wrapper},
    scan::{self, blanks},
};
use crate::event::{Malformed, Pause};

/// The place of a piece in its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    start: u32,
    /// The end, and [`UNENDED`].
    end: u32,
}

/// Marks a piece that might be JSON, and is none because the body ends inside of its array.
const UNENDED: u32 = 1 << 31;

impl Piece {
    /// No body is longer than 64 MB.
    fn new(start: usize, end: usize) -> Self {
        let place = |at: usize| u32::try_from(at).unwrap_or_default();
        Self {
            start: place(start),
            end: place(end),
        }
    }

    pub(super) const fn start(self) -> usize {
        self.start as usize
    }

    pub(super) const fn end(self) -> usize {
        (self.end & !UNENDED) as usize
    }

    /// Whether the item may have lost brackets, and have those that end the body instead.
    pub(super) const fn is_unended(self) -> bool {
        self.end & UNENDED != 0
    }
}

/// The pieces of a body, in their order; `None` if none of them looks like an object.
pub(super) fn pieces(
    body: &[u8],
    wrapper: Option<&'static Wrapper>,
    pause: Pause,
) -> Result<Option<Vec<Piece>>, Malformed> {
    let mut cutter = Cutter {
        body,
        pieces: Vec::new(),
        tried: 0,
        meter: Meter::new(pause),
    };
    let cut = cutter.cut(wrapper);
    let pieces = cutter.pieces;
    let is_object = |piece: &Piece| {
        let text = body.get(piece.start()..piece.end()).unwrap_or_default();
        text.starts_with(b"{") && text.ends_with(b"}")
    };
    if pieces.iter().any(is_object) {
        cut.map(|()| Some(pieces))
    } else {
        Ok(None)
    }
}

/// Cuts a body, one part after the other.
#[derive(Debug)]
struct Cutter<'a> {
    body: &'a [u8],
    pieces: Vec<Piece>,
    /// Up to here the body was tried as the inside of an array, and is none. It is not tried
    /// again, so that no byte is read too often.
    tried: usize,
    meter: Meter,
}

/// Damage after which a part cannot be read forwards.
#[derive(Clone, Copy, Debug)]
struct Damage {
    /// The beginning of the piece that it makes.
    start: usize,
    /// Elements count again from here on.
    low: usize,
    /// The place up to which the part was read.
    seen: Seen,
    /// Whether the part cannot be read on inside of an element, of which a bracket is open.
    is_open: bool,
}

impl Damage {
    fn inside(self) -> Self {
        Self {
            is_open: true,
            ..self
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Seen {
    /// Up to a mark.
    Mark(usize),
    /// Up to its end.
    End(usize),
}

impl Cutter<'_> {
    fn cut(&mut self, wrapper: Option<&'static Wrapper>) -> Result<(), Malformed> {
        let body = self.body;
        let mut at = blanks(body, 0);
        while let Some(first) = body.get(at) {
            let end = match (first, wrapper) {
                _ if at < self.tried => None,
                (b'[', _) => self.array(at)?,
                (b'{', Some(wrapper)) => self.wrapper(at, wrapper)?,
                _ => None,
            };
            let end = match (first, end) {
                (_, Some(end)) => end,
                (b'{', None) => self.line(at)?,
                (_, None) => self.rest(at, Seen::Mark(at))?,
            };
            at = blanks(body, end);
        }
        Ok(())
    }

    /// The end of the part that was read so far.
    fn end(&mut self, seen: Seen, edge: Edge) -> usize {
        match seen {
            Seen::Mark(at) => Marks::new(self.body, at, edge, &mut self.meter).end(),
            Seen::End(at) => at,
        }
    }

    fn push(&mut self, piece: Piece) -> Result<(), Malformed> {
        if self.pieces.len() >= MAX_ITEMS {
            return Err(Malformed::TooMany);
        }
        self.pieces.push(piece);
        Ok(())
    }

    /// Adds the piece between two places, without the blanks around it.
    fn add(&mut self, start: usize, end: usize) -> Result<(), Malformed> {
        let text = self.body.get(start..end).unwrap_or_default();
        let blank = text.iter().rev().take_while(|byte| is_blank(**byte));
        self.push(Piece::new(start, end - blank.count()))
    }

    /// Everything from `start` to the end of its line is one piece.
    fn rest(&mut self, start: usize, seen: Seen) -> Result<usize, Malformed> {
        let end = self.end(seen, Edge::Line);
        self.add(start, end)?;
        Ok(end)
    }

    /// An object that is an item, or several with commas between them. If brackets or quotes
    /// do not come out even, all of it is one piece, up to the end of the line.
    fn line(&mut self, at: usize) -> Result<usize, Malformed> {
        let first = self.pieces.len();
        match self.elements(at, Edge::Line)? {
            // The last element may have ended too early.
            Ended::Next(end) if self.goes_on(end) => {
                self.pieces.truncate(first);
                self.rest(at, Seen::Mark(end))
            }
            Ended::Next(end) | Ended::Out(end) => {
                if at < self.tried {
                    self.doubt(first);
                }
                Ok(end)
            }
            Ended::Closed(mark) => {
                self.pieces.truncate(first);
                self.rest(at, Seen::Mark(mark))
            }
            Ended::Lost(damage) => {
                self.pieces.truncate(first);
                self.rest(at, damage.seen)
            }
        }
    }

    /// Whether something follows on the same line that may be the rest of the element: a text
    /// with quotes, brackets, commas or colons that begins no value.
    fn goes_on(&self, end: usize) -> bool {
        let (before, after) = self.body.split_at_checked(end).unwrap_or_default();
        let blanks = before.iter().rev().take_while(|byte| is_blank(**byte));
        if blanks.into_iter().any(|byte| *byte == b'\n') {
            return false;
        }
        let mut line = after.iter().take_while(|byte| **byte != b'\n');
        let first = line.clone().find(|byte| !is_blank(**byte));
        !matches!(first, None | Some(b'{' | b'['))
            && line.any(|byte| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b',' | b':'))
    }

    /// Marks the pieces that go on over a line break. They begin inside of what looks like an
    /// array, and may have the brackets that end it.
    fn doubt(&mut self, first: usize) {
        let body = self.body;
        for piece in self.pieces.iter_mut().skip(first) {
            let text = body.get(piece.start()..piece.end()).unwrap_or_default();
            if text.contains(&b'\n') {
                piece.end |= UNENDED;
            }
        }
    }

    /// An array of items, from its bracket on, and where it ends; `None` if it is a damaged
    /// line among others. Nothing is then added.
    fn array(&mut self, at: usize) -> Result<Option<usize>, Malformed> {
        let (body, first) = (self.body, self.pieces.len());
        let damage = match self.elements(at + 1, Edge::Array)? {
            Ended::Closed(bracket) => {
                let after = blanks(body, bracket + 1);
                if matches!(body.get(after), None | Some(b'{' | b'[')) {
                    return Ok(Some(bracket + 1));
                }
                self.closed_early(first, at + 1, bracket)
            }
            // The array has no end. What would come next is a piece without a byte.
            Ended::Out(end) | Ended::Next(end) => Damage {
                start: end,
                low: end,
                seen: Seen::End(end),
                is_open: false,
            },
            Ended::Lost(damage) => damage,
        };
        let end = self.end(damage.seen, Edge::Array);
        let part = body.get(..end).unwrap_or_default();
        let bracket = part.iter().rposition(|byte| !is_blank(*byte));
        let bracket = bracket.filter(|at| part.get(*at) == Some(&b']'));
        if bracket.is_none() && self.end(Seen::Mark(at), Edge::Line) < end {
            self.pieces.truncate(first);
            self.tried = end;
            return Ok(None);
        }
        self.resync(damage, bracket, end)?;
        Ok(Some(end))
    }

    /// A bracket that ends an array before its end. If the text goes on as in an object, the
    /// array may be one inside of a damaged item, and each of its elements may be.
    fn closed_early(&mut self, first: usize, array: usize, bracket: usize) -> Damage {
        let after = blanks(self.body, bracket + 1);
        let next = self.body.get(blanks(self.body, after + 1));
        let in_object = match self.body.get(after) {
            Some(b'}') => true,
            Some(b',') => next == Some(&b'"'),
            _ => false,
        };
        let mut start = bracket;
        if in_object {
            self.pieces.truncate(first);
            start = blanks(self.body, array);
        }
        Damage {
            start,
            low: after,
            seen: Seen::Mark(after),
            is_open: false,
        }
    }

    /// Adds the damage as one piece, and the elements after it, up to the bracket that ends
    /// their array. Returns whether there are any.
    fn resync(
        &mut self,
        damage: Damage,
        bracket: Option<usize>,
        end: usize,
    ) -> Result<bool, Malformed> {
        let place = self.pieces.len();
        self.push(Piece::new(damage.start, end))?;
        let next = match bracket {
            Some(bracket) => self.back(bracket, damage.low, damage.start)?,
            None => None,
        };
        let next = match next {
            Some(next) if damage.is_open && self.may_be_rest(damage.start, next) => {
                self.pieces.remove(place + 1);
                self.pieces.get(place + 1).map(|piece| piece.start())
            }
            next => next,
        };
        // A bracket too many is damage only if there are elements after it.
        let (start, until) = match next {
            Some(next) => (damage.start, next),
            None if self.body.get(damage.start) == Some(&b']') => (damage.low, end),
            None => (damage.start, end),
        };
        let text = self.body.get(start..until).unwrap_or_default();
        let before = |text: &[u8]| text.iter().rposition(|byte| !is_blank(*byte));
        let mut last = before(text).map_or(0, |at| at + 1);
        if next.is_some() && text.get(..last).is_some_and(|text| text.ends_with(b",")) {
            let text = text.get(..last - 1).unwrap_or_default();
            last = before(text).map_or(0, |at| at + 1);
        }
        if let Some(piece) = self.pieces.get_mut(place) {
            *piece = Piece::new(start, start + last);
            if next.is_none() {
                piece.end |= UNENDED;
            }
        }
        Ok(next.is_some())
    }

    /// Whether the object at `next` may be the rest of the one at `start`: no quote is missing
    /// between them, and they begin with different names.
    fn may_be_rest(&self, start: usize, next: usize) -> bool {
        let name = |at: usize| {
            let name = scan::name_token(self.body, blanks(self.body, at + 1)).ok()?;
            scan::colon(self.body, name.end).ok()?;
            self.body.get(name.start..name.end)
        };
        let mut quotes = 0_usize;
        let mut is_escaped = false;
        for byte in self.body.get(start..next).unwrap_or_default() {
            quotes += usize::from(*byte == b'"' && !is_escaped);
            is_escaped = *byte == b'\\' && !is_escaped;
        }
        quotes.is_multiple_of(2) && name(start).is_some_and(|first| Some(first) != name(next))
    }
}
