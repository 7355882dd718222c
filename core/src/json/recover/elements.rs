//! The elements of a part, read forwards.

use super::{
    Cutter, Damage, Piece, Seen,
    marks::{Edge, Kind, Mark, Marks},
    nest::{Fit, Nest},
};
use crate::{event::Malformed, json::scan::Container};

/// The end of the elements of a part.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ended {
    /// Before the bracket that ends the array.
    Closed(usize),
    /// At the end of the part, between two elements.
    Out(usize),
    /// Before another value of the line.
    Next(usize),
    Lost(Damage),
}

/// The element that is being read.
#[derive(Clone, Copy, Debug)]
struct Element {
    start: usize,
    end: usize,
    /// Whether it is one object and nothing else, so far.
    is_object: bool,
}

impl Element {
    /// Goes on with a mark before which a comma is missing.
    fn misfit(&mut self, mark: Mark) -> Misfit {
        (self.end, self.is_object) = (mark.end, false);
        Misfit {
            start: self.start,
            low: mark.start,
        }
    }
}

/// The first mark that does not fit into the grammar.
#[derive(Clone, Copy, Debug)]
struct Misfit {
    /// The beginning of its element.
    start: usize,
    low: usize,
}

impl Cutter<'_> {
    /// Adds the elements from `first` on. A line begins with an object.
    pub(super) fn elements(&mut self, first: usize, edge: Edge) -> Result<Ended, Malformed> {
        let base = self.pieces.len();
        let mut nest = Nest::new();
        let mut element: Option<Element> = None;
        let mut misfit: Option<Misfit> = None;
        let mut before: Option<Mark> = None;
        let mut at = first;
        loop {
            let mark = Marks::new(self.body, at, edge, &mut self.meter).next();
            at = mark.end;
            let previous = before.replace(mark);
            if !nest.is_outside() {
                let Some(current) = &mut element else {
                    return Ok(Ended::Lost(self.lost(base, misfit, mark, mark.start)));
                };
                if edge == Edge::Line
                    && mark.is_first
                    && matches!(mark.kind, Kind::Open(_))
                    && nest.needs_name()
                {
                    let start = current.start;
                    let kind = Kind::End;
                    let damage = self.lost(base, misfit, Mark { kind, ..mark }, start);
                    return Ok(Ended::Lost(damage.inside()));
                }
                match nest.take(mark.kind) {
                    Fit::Good => {}
                    Fit::Bad => {
                        let low = low(mark, previous);
                        misfit.get_or_insert(Misfit {
                            start: current.start,
                            low,
                        });
                    }
                    Fit::Lost => {
                        let damage = self.lost(base, misfit, mark, current.start);
                        return Ok(Ended::Lost(damage.inside()));
                    }
                }
                current.end = mark.end;
                continue;
            }
            match (mark.kind, &mut element) {
                (Kind::Open(container), None) => {
                    element = Some(Element {
                        start: mark.start,
                        end: mark.end,
                        is_object: container == Container::Object,
                    });
                    nest.enter(container);
                }
                (Kind::Open(container), Some(current)) => {
                    if current.is_object && edge == Edge::Line {
                        self.add_element(*current)?;
                        return Ok(Ended::Next(mark.start));
                    }
                    if current.is_object && container == Container::Object {
                        // The comma between two objects is missing.
                        let whole = *current;
                        (current.start, current.end) = (mark.start, mark.end);
                        self.add_element(whole)?;
                    } else {
                        misfit.get_or_insert(current.misfit(mark));
                    }
                    nest.enter(container);
                }
                // Brackets may be the rest of the object.
                (kind, Some(current))
                    if edge == Edge::Line
                        && current.is_object
                        && (kind == Kind::Bare
                            || mark.is_first && !matches!(kind, Kind::Close(_) | Kind::End)) =>
                {
                    self.add_element(*current)?;
                    return Ok(Ended::Next(mark.start));
                }
                (Kind::String | Kind::Bare, Some(current)) if edge != Edge::Line => {
                    misfit.get_or_insert(current.misfit(mark));
                }
                (Kind::String | Kind::Bare, None) if edge != Edge::Line => {
                    element = Some(Element {
                        start: mark.start,
                        end: mark.end,
                        is_object: false,
                    });
                }
                (Kind::Comma, current) => match current.take() {
                    Some(current) => self.add_element(current)?,
                    None => self.push(Piece::new(mark.start, mark.start))?,
                },
                (Kind::Close(Container::Array), current) if edge != Edge::Line => {
                    if let Some(current) = current {
                        self.add_element(*current)?;
                    }
                    return Ok(Ended::Closed(mark.start));
                }
                (Kind::End, current) => {
                    if let Some(current) = current {
                        self.add_element(*current)?;
                    }
                    return Ok(Ended::Out(mark.end));
                }
                (_, current) => {
                    let last = self.pieces.get(base..).and_then(<[Piece]>::last);
                    let start = current.map(|current| current.start);
                    let start = start.or_else(|| last.map(|piece| piece.start()));
                    let start = start.unwrap_or(mark.start);
                    return Ok(Ended::Lost(self.lost(base, misfit, mark, start)));
                }
            }
        }
    }

    fn add_element(&mut self, element: Element) -> Result<(), Malformed> {
        self.push(Piece::new(element.start, element.end))
    }

    /// The part cannot be read beyond this mark: the piece begins at `start`, or with the first
    /// element in which something did not fit.
    fn lost(&mut self, base: usize, misfit: Option<Misfit>, mark: Mark, start: usize) -> Damage {
        let seen = match mark.kind {
            Kind::End => Seen::End(mark.start),
            Kind::Cut => Seen::End(mark.end),
            _ => Seen::Mark(mark.start),
        };
        let (Seen::Mark(at) | Seen::End(at)) = seen;
        let low = misfit.map_or(at, |misfit| misfit.low);
        let mut start = misfit.map_or(start, |misfit| misfit.start.min(start));
        // What does not begin like an object may be the rest of the element before it, which
        // then has ended too early.
        let mut end = at;
        while let Some(piece) = self.pieces.get(base..).and_then(<[Piece]>::last).copied() {
            if piece.start() < start {
                if self.begins_object(start, end) {
                    break;
                }
                start = piece.start();
            }
            end = piece.end();
            self.pieces.pop();
        }
        Damage {
            start,
            low,
            seen,
            is_open: false,
        }
    }

    /// Whether an object begins here, with a name and a colon.
    fn begins_object(&mut self, start: usize, end: usize) -> bool {
        let text = self.body.get(..end).unwrap_or_default();
        let mut marks = Marks::new(text, start, Edge::Line, &mut self.meter);
        [Kind::Open(Container::Object), Kind::String, Kind::Colon]
            .iter()
            .all(|kind| marks.next().kind == *kind)
    }
}

/// The place from which on elements count again if the grammar is broken at this mark. The
/// string right before a word may have begun in the damaged item, and have swallowed the
/// beginning of the next element.
fn low(mark: Mark, previous: Option<Mark>) -> usize {
    let swallowed = previous.filter(|previous| {
        mark.kind == Kind::Bare && previous.kind == Kind::String && previous.end == mark.start
    });
    swallowed.map_or(mark.start, |previous| previous.start)
}
