//! The grammar of JSON: one pass over the text of a value, without recursion.
//!
//! [`value`] is the only code that knows the grammar. What it finds it tells a [`Sink`]:
//! [`Nesting`] keeps nothing, and accepts whatever the grammar does; [`super::Tape`] notes
//! where each value is, and accepts what `jsonb` can hold.

use std::fmt::Write;

use crate::event::Pause;

/// Number of bytes after which a pass pauses.
pub(super) const STRIDE: usize = 1 << 16;

/// Why a text is not what was expected, and the byte at which that shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    what: &'static str,
    at: usize,
}

impl Flaw {
    pub(super) const fn new(what: &'static str, at: usize) -> Self {
        Self { what, at }
    }

    /// The byte of the text at which the flaw shows.
    pub(super) const fn at(self) -> usize {
        self.at
    }

    /// The flaw in the text from `start` on.
    pub(super) const fn after(self, start: usize) -> Self {
        Self {
            what: self.what,
            at: self.at.saturating_sub(start),
        }
    }

    /// The reason, with its place in the text.
    pub(super) fn describe(self, text: &[u8]) -> String {
        let end = text.len().min(self.at.saturating_add(1));
        let before = text.get(..end).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let column = before.iter().rev().take_while(|byte| **byte != b'\n');
        let mut reason = self.what.to_owned();
        let _ = write!(reason, " at line {line} column {}", column.count());
        reason
    }
}

/// Two kinds of values that hold others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    Array,
    Object,
}

/// The place of a string, a number or a word in the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Whether a string has escapes, or a number an exponent.
    pub(super) special: bool,
}

/// The parts of a value, in the order of its text.
pub(super) trait Sink {
    /// The innermost container that is open.
    fn inside(&self) -> Option<Container>;
    fn open(&mut self, container: Container, at: usize) -> Result<(), Flaw>;
    fn close(&mut self, end: usize);
    fn name(&mut self, text: &[u8], token: Token) -> Result<(), Flaw>;
    fn scalar(&mut self, text: &[u8], token: Token) -> Result<(), Flaw>;
}

/// Reads the value that starts at `at`, after blanks; returns its end.
pub(super) fn value(
    text: &[u8],
    at: usize,
    sink: &mut impl Sink,
    pause: Pause,
) -> Result<usize, Flaw> {
    let mut at = blanks(text, at);
    let mut due = at.saturating_add(STRIDE);
    loop {
        if at >= due {
            due = at.saturating_add(STRIDE);
            pause();
        }
        match text.get(at) {
            Some(b'"') => {
                let token = string(text, at)?;
                sink.scalar(text, token)?;
                at = token.end;
            }
            Some(b'{') => {
                sink.open(Container::Object, at)?;
                at = blanks(text, at + 1);
                if text.get(at) != Some(&b'}') {
                    at = name(text, at, sink)?;
                    continue;
                }
                at += 1;
                sink.close(at);
            }
            Some(b'[') => {
                sink.open(Container::Array, at)?;
                at = blanks(text, at + 1);
                match text.get(at) {
                    Some(b']') => {}
                    Some(_) => continue,
                    None => return Err(Flaw::new("EOF while parsing a list", at)),
                }
                at += 1;
                sink.close(at);
            }
            Some(b'-' | b'0'..=b'9') => {
                let token = number(text, at)?;
                sink.scalar(text, token)?;
                at = token.end;
            }
            Some(b't') => at = word(text, at, b"true", sink)?,
            Some(b'f') => at = word(text, at, b"false", sink)?,
            Some(b'n') => at = word(text, at, b"null", sink)?,
            Some(_) => return Err(Flaw::new("expected value", at)),
            None => return Err(Flaw::new("EOF while parsing a value", at)),
        }
        // After a value: the end of what holds it, or the next one.
        loop {
            let Some(container) = sink.inside() else {
                return Ok(at);
            };
            at = blanks(text, at);
            match (container, text.get(at)) {
                (Container::Array, Some(b',')) => {
                    at = blanks(text, at + 1);
                    break;
                }
                (Container::Object, Some(b',')) => {
                    at = name(text, blanks(text, at + 1), sink)?;
                    break;
                }
                (Container::Array, Some(b']')) | (Container::Object, Some(b'}')) => {
                    at += 1;
                    sink.close(at);
                }
                (Container::Array, None) => {
                    return Err(Flaw::new("EOF while parsing a list", at));
                }
                (Container::Object, None) => {
                    return Err(Flaw::new("EOF while parsing an object", at));
                }
                (Container::Array, Some(_)) => {
                    return Err(Flaw::new("expected `,` or `]`", at));
                }
                (Container::Object, Some(_)) => {
                    return Err(Flaw::new("expected `,` or `}`", at));
                }
            }
        }
    }
}

/// The first byte from `at` on that is not a blank.
pub(super) fn blanks(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\r' | b'\n') = text.get(at) {
        at += 1;
    }
    at
}

/// Reads the name of a member; returns the start of its value.
fn name(text: &[u8], at: usize, sink: &mut impl Sink) -> Result<usize, Flaw> {
    let token = name_token(text, at)?;
    sink.name(text, token)?;
    colon(text, token.end)
}

pub(super) fn name_token(text: &[u8], at: usize) -> Result<Token, Flaw> {
    match text.get(at) {
        Some(b'"') => string(text, at),
        Some(_) => Err(Flaw::new("key must be a string", at)),
        None => Err(Flaw::new("EOF while parsing an object", at)),
    }
}

/// Reads the colon after a name; returns the start of the value after it.
pub(super) fn colon(text: &[u8], at: usize) -> Result<usize, Flaw> {
    let at = blanks(text, at);
    match text.get(at) {
        Some(b':') => Ok(blanks(text, at + 1)),
        Some(_) => Err(Flaw::new("expected `:`", at)),
        None => Err(Flaw::new("EOF while parsing an object", at)),
    }
}

fn string(text: &[u8], start: usize) -> Result<Token, Flaw> {
    let mut at = start + 1;
    let mut special = false;
    loop {
        at += plain(text.get(at..).unwrap_or_default());
        match text.get(at) {
            Some(b'"') => {
                let end = at + 1;
                return Ok(Token {
                    start,
                    end,
                    special,
                });
            }
            Some(b'\\') => {
                special = true;
                at = escape(text, at)?;
            }
            Some(_) => {
                let what = "control character (\\u0000-\\u001F) found while parsing a string";
                return Err(Flaw::new(what, at));
            }
            None => return Err(Flaw::new("EOF while parsing a string", at)),
        }
    }
}

/// Number of bytes before the first quote, backslash or control character, eight at a time.
fn plain(text: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    let (eights, rest) = text.as_chunks::<8>();
    for (index, eight) in eights.iter().enumerate() {
        let bytes = u64::from_le_bytes(*eight);
        // The least marked byte is exact; a borrow may mark bytes above it.
        let below = |bytes: u64, limit: u8| bytes.wrapping_sub(ONES * u64::from(limit)) & !bytes;
        let equal = |byte: u8| below(bytes ^ (ONES * u64::from(byte)), 1);
        let marks = (below(bytes, 0x20) | equal(b'"') | equal(b'\\')) & ONES << 7;
        if marks != 0 {
            return index * 8 + marks.trailing_zeros() as usize / 8;
        }
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | ..0x20);
    let tail = rest.iter().position(special);
    eights.len() * 8 + tail.unwrap_or(rest.len())
}

/// The byte after an escape.
fn escape(text: &[u8], at: usize) -> Result<usize, Flaw> {
    match text.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match text.get(at + 2..at + 6) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => Ok(at + 6),
            Some(_) => Err(Flaw::new("invalid escape", at + 5)),
            None => Err(Flaw::new("EOF while parsing a string", text.len())),
        },
        Some(_) => Err(Flaw::new("invalid escape", at + 1)),
        None => Err(Flaw::new("EOF while parsing a string", text.len())),
    }
}

fn number(text: &[u8], start: usize) -> Result<Token, Flaw> {
    let digits = |from: usize| {
        let digits = text.get(from..).unwrap_or_default();
        let count = digits.iter().take_while(|byte| byte.is_ascii_digit());
        match count.count() {
            0 if digits.is_empty() => Err(Flaw::new("EOF while parsing a value", from)),
            0 => Err(Flaw::new("invalid number", from)),
            count => Ok(from + count),
        }
    };
    let whole = start + usize::from(text.get(start) == Some(&b'-'));
    let mut end = digits(whole)?;
    if text.get(whole) == Some(&b'0') && end > whole + 1 {
        return Err(Flaw::new("invalid number", whole + 1));
    }
    if text.get(end) == Some(&b'.') {
        end = digits(end + 1)?;
    }
    let special = matches!(text.get(end), Some(b'e' | b'E'));
    if special {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        end = digits(end + 1 + sign)?;
    }
    Ok(Token {
        start,
        end,
        special,
    })
}

fn word(text: &[u8], start: usize, word: &[u8], sink: &mut impl Sink) -> Result<usize, Flaw> {
    let end = start + word.len();
    if text.get(start..end) != Some(word) {
        let rest = text.get(start..).unwrap_or_default();
        let same = rest.iter().zip(word).take_while(|(a, b)| a == b).count();
        return Err(if same == rest.len() {
            Flaw::new("EOF while parsing a value", text.len())
        } else {
            Flaw::new("expected ident", start + same)
        });
    }
    let special = false;
    sink.scalar(
        text,
        Token {
            start,
            end,
            special,
        },
    )?;
    Ok(end)
}

/// Keeps the kinds of the containers that are open, one bit each, and counts values.
#[derive(Debug, Default)]
pub(super) struct Nesting {
    pub(super) values: usize,
    objects: Vec<u64>,
    depth: usize,
}

impl Sink for Nesting {
    fn inside(&self) -> Option<Container> {
        let bit = self.depth.checked_sub(1)?;
        let word = self.objects.get(bit / 64)?;
        Some(if word >> (bit % 64) & 1 == 1 {
            Container::Object
        } else {
            Container::Array
        })
    }

    fn open(&mut self, container: Container, _: usize) -> Result<(), Flaw> {
        let (index, bit) = (self.depth / 64, 1 << (self.depth % 64));
        if index == self.objects.len() {
            self.objects.push(0);
        }
        if let Some(word) = self.objects.get_mut(index) {
            match container {
                Container::Object => *word |= bit,
                Container::Array => *word &= !bit,
            }
        }
        self.depth += 1;
        self.values += 1;
        Ok(())
    }

    fn close(&mut self, _: usize) {
        self.depth = self.depth.saturating_sub(1);
    }

    fn name(&mut self, _: &[u8], _: Token) -> Result<(), Flaw> {
        Ok(())
    }

    /// A string with escapes may be the text of an item, with values of its own.
    fn scalar(&mut self, _: &[u8], token: Token) -> Result<(), Flaw> {
        let inside = (token.end - token.start) / 2;
        self.values += if token.special { inside } else { 1 };
        Ok(())
    }
}
