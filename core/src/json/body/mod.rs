//! A body cut into its items.

mod judge;
mod place;
#[cfg(test)]
mod tests;

pub(super) use self::place::begins;
use self::{
    judge::{alone, grammar, is_foreign, is_utf16},
    place::Place,
};
use super::{
    Tape, describe,
    recover::{self, Piece},
    scan::{self, Flaw, Nesting},
};
use crate::event::{ItemError, Malformed, Pause};

/// Limit on a body, in bytes. Postgres accepts up to a gigabyte as bytea, but no `jsonb`
/// string above 256 MB.
pub const MAX_BODY: usize = 64 << 20;

/// Limit on the items of a body. Providers document at most 1000.
pub const MAX_ITEMS: usize = 100_000;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The form in which a provider may wrap its items: an object whose only array of objects
/// contains the items, whatever the array's name. A wrapper has none of the fields `unless`,
/// and every item has one of them.
#[derive(Debug)]
pub struct Wrapper {
    pub unless: &'static [&'static str],
}

/// The items of a body: one object, an array, or several of them one after another
/// (newline-delimited or concatenated). An object that wraps an array counts as that array.
///
/// A scalar counts as an item. A body that is not JSON is cut by [`recover`], so that damage in
/// one item does not affect the others.
///
/// The body is read twice, so that no list of its items is kept: once before the first item,
/// to see whether it is JSON, and once as the items are asked for. Only a damaged body has such
/// a list.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    /// The text in which the last item is.
    text: &'a str,
    source: Source<'a>,
    count: usize,
    longest: usize,
    /// The values in the item that has most of them.
    most: usize,
    pause: Pause,
}

/// The place from which the items come.
#[derive(Debug)]
enum Source<'a> {
    /// A body that is JSON.
    Whole(Place),
    Pieces(&'a [u8], std::vec::IntoIter<Piece>),
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
        let mut scalar = None;
        let flaw = loop {
            let read = |at| {
                nesting.values = 0;
                scan::value(body, at, &mut nesting, pause)
            };
            match place.next(body, pause, read) {
                Ok(Some(item)) => {
                    if place.values == 1 && place.found == 1 && place.is_outside() {
                        let first = body.get(item.clone()).unwrap_or_default();
                        let is_scalar = !first.starts_with(b"{");
                        let first = str::from_utf8(first).unwrap_or_default();
                        scalar = is_scalar.then(|| Malformed::NotItems(describe(first)));
                    }
                    longest = longest.max(item.len());
                    most = most.max(nesting.values);
                }
                Ok(None) => break None,
                Err(flaw) => break Some(flaw),
            }
        };
        drop(nesting);
        let recovered = |flaw| {
            let recovered = Self::recovered(body, wrapper, flaw, pause);
            recovered.map_err(|malformed| scalar.clone().unwrap_or(malformed))
        };
        let text = match (str::from_utf8(body), flaw) {
            (Ok(text), None) => text,
            (Ok(_), Some(flaw)) => return recovered(flaw),
            (Err(error), flaw) => {
                let invalid = Flaw::new("invalid unicode code point", error.valid_up_to());
                let flaw = flaw.filter(|flaw| flaw.at() <= invalid.at());
                return recovered(flaw.unwrap_or(invalid));
            }
        };
        if let Some(scalar) = scalar {
            return Err(scalar);
        }
        if place.values == 0 {
            return Err(Malformed::Empty);
        }
        if place.found > MAX_ITEMS {
            return Err(Malformed::TooMany);
        }
        Ok(Self {
            text,
            source: Source::Whole(Place::new(wrapper)),
            count: place.found,
            longest,
            most,
            pause,
        })
    }

    /// The items of a body that is not JSON because of this flaw.
    fn recovered(
        body: &'a [u8],
        wrapper: Option<&'static Wrapper>,
        flaw: Flaw,
        pause: Pause,
    ) -> Result<Self, Malformed> {
        if is_utf16(body) {
            return Err(Malformed::Utf16);
        }
        let pieces = match is_foreign(body) {
            true => None,
            false => recover::pieces(body, wrapper, pause)?,
        };
        let Some(pieces) = pieces else {
            return Err(Malformed::NotJson(flaw.describe(body)));
        };
        let (mut longest, mut most) = (0, 0);
        for piece in &pieces {
            let bytes = body.get(piece.start()..piece.end()).unwrap_or_default();
            longest = longest.max(bytes.len());
            // What is no JSON is not read onto the tape.
            most = most.max(grammar(bytes, pause).unwrap_or_default());
        }
        Ok(Self {
            text: "",
            count: pieces.len(),
            source: Source::Pieces(body, pieces.into_iter()),
            longest,
            most,
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

    /// The text that the tape refers to.
    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// The next item: its bytes, and its text if it could be read onto the tape.
    pub(crate) fn next(
        &mut self,
        tape: &mut Tape,
    ) -> Option<(&'a [u8], Result<&'a str, ItemError>)> {
        let (text, pause) = (self.text, self.pause);
        let place = match &mut self.source {
            Source::Whole(place) => place,
            Source::Pieces(body, pieces) => {
                let piece = pieces.next()?;
                let bytes = body.get(piece.start()..piece.end()).unwrap_or_default();
                let mut text = alone(bytes, tape, pause);
                if piece.is_unended() {
                    text = text.and(Err(ItemError::Unended));
                }
                self.text = *text.as_ref().unwrap_or(&"");
                return Some((bytes, text));
            }
        };
        let mut read = Ok(());
        let item = place.next(text.as_bytes(), pause, |at| {
            let end = tape.read(text, at, pause);
            end.or_else(|flaw| {
                read = Err((flaw, at));
                scan::value(text.as_bytes(), at, &mut Nesting::default(), pause)
            })
        });
        // The body was read before, so that nothing is wrong with it now.
        let item = item.ok().flatten()?;
        let item = text.get(item).unwrap_or_default();
        let reason = |(flaw, start): (Flaw, usize)| {
            ItemError::NotStorable(flaw.after(start).describe(item.as_bytes()))
        };
        Some((item.as_bytes(), read.map(|()| item).map_err(reason)))
    }
}
