//! The elements at the end of an array, read backwards.

use super::{Cutter, Piece, marks::is_blank, nest::Open};
use crate::{event::Malformed, json::scan::Container};

/// The elements that were read, from the last one on.
#[derive(Debug, Default)]
struct Run {
    /// The end of the object that is being read.
    end: usize,
    /// An object before which no comma was read yet.
    object: Option<Piece>,
    /// Something is no object, or not where an object should be.
    is_over: bool,
}

impl Cutter<'_> {
    /// Adds the objects before the bracket at `bracket` that follow one another with commas
    /// between them, down to `low`, and returns where the first of them begins. `floor` is
    /// where the damage begins at the earliest.
    ///
    /// There are none if they may be elements of an array inside of the damaged item: if the
    /// last bracket that was opened before them, and not closed, is that of an array.
    pub(super) fn back(
        &mut self,
        bracket: usize,
        low: usize,
        floor: usize,
    ) -> Result<Option<usize>, Malformed> {
        let (body, base) = (self.body, self.pieces.len());
        let mut open = Open::default();
        let mut run = Run::default();
        let mut is_quoted = false;
        for at in (floor..bracket).rev() {
            self.meter.read(1);
            let Some(byte) = body.get(at) else { break };
            if *byte == b'"' {
                let text = body.get(floor..at).unwrap_or_default();
                let escapes = text.iter().rev().take_while(|byte| **byte == b'\\');
                if escapes.count() % 2 == 0 {
                    is_quoted = !is_quoted;
                    run.is_over |= open.is_empty();
                }
                continue;
            }
            if is_quoted || is_blank(*byte) {
                continue;
            }
            match byte {
                b'}' | b']' => {
                    if open.is_empty() {
                        run.is_over |= *byte == b']' || run.object.is_some();
                        run.end = at + 1;
                    }
                    open.push(container(*byte));
                }
                b'{' | b'[' => match open.pop() {
                    Some(closed) if closed != container(*byte) => break,
                    Some(_) if open.is_empty() && !run.is_over => {
                        run.object = Some(Piece::new(at, run.end));
                        run.is_over = at < low;
                    }
                    Some(_) => {}
                    None if *byte == b'[' => {
                        self.pieces.truncate(base);
                        return Ok(None);
                    }
                    None => break,
                },
                _ if !open.is_empty() || run.is_over => {}
                b',' => match run.object.take() {
                    Some(object) => self.push(object)?,
                    // A comma before the bracket.
                    None if self.pieces.len() == base => {}
                    None => run.is_over = true,
                },
                _ => run.is_over = true,
            }
        }
        let run = self.pieces.get_mut(base..).unwrap_or_default();
        run.reverse();
        Ok(run.first().map(|piece| piece.start()))
    }
}

fn container(byte: u8) -> Container {
    match byte {
        b'[' | b']' => Container::Array,
        _ => Container::Object,
    }
}
