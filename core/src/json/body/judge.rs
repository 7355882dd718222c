//! Judges a piece of a damaged body by itself.

use super::super::{
    Tape,
    scan::{self, Flaw, Nesting},
};
use crate::event::{ItemError, Pause};

/// Reads a piece of a damaged body onto the tape, as if it were a body by itself.
pub(super) fn alone<'a>(
    bytes: &'a [u8],
    tape: &mut Tape,
    pause: Pause,
) -> Result<&'a str, ItemError> {
    let not_json = |flaw: Flaw| ItemError::NotJson(flaw.describe(bytes));
    let read = grammar(bytes, pause);
    let text = str::from_utf8(bytes).map_err(|error| {
        let invalid = Flaw::new("invalid unicode code point", error.valid_up_to());
        let flaw = read.err().filter(|flaw| flaw.at() <= invalid.at());
        not_json(flaw.unwrap_or(invalid))
    })?;
    read.map_err(not_json)?;
    tape.read_all(text, pause).map(|()| text)
}

/// The number of values in a piece that is one value, whatever `jsonb` can hold.
pub(super) fn grammar(bytes: &[u8], pause: Pause) -> Result<usize, Flaw> {
    let mut nesting = Nesting::default();
    let end = scan::value(bytes, 0, &mut nesting, pause)?;
    let end = scan::blanks(bytes, end);
    match end == bytes.len() {
        true => Ok(nesting.values),
        false => Err(Flaw::new("trailing characters", end)),
    }
}

/// Whether a body that is not JSON is so because its characters have two or four bytes.
pub(super) fn is_utf16(body: &[u8]) -> bool {
    matches!(
        body,
        [0xff, 0xfe, ..]
            | [0xfe, 0xff, ..]
            | [b'{' | b'[', 0, _, 0, ..]
            | [0, b'{' | b'[', 0, _, ..]
            | [0, 0, 0, b'{' | b'[', ..]
    )
}

/// Whether a body that is not JSON was never meant to be: its first two lines that are not
/// blank begin with no bracket. It may be a form, a page or a mail that quotes JSON further on.
/// One such line may be a damaged item.
pub(super) fn is_foreign(body: &[u8]) -> bool {
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut lines = lines.filter(|line| !line.is_empty()).take(2);
    lines.all(|line| !matches!(line.first(), Some(b'{' | b'[')))
}
