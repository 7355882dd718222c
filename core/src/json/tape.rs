//! A value that was read once: where each part of it is in the text.
//!
//! The fields of an item, the canonical form of a value and the payload as `jsonb` are all
//! read off the tape, so that the text itself is parsed only once.

use super::{
    Object,
    scan::{self, Container, Flaw, Sink, Token},
    string,
};
use crate::event::{ItemError, Pause};

/// Limit on the nesting of a value, which the server's own parser and ours recurse into.
const MAX_DEPTH: usize = 127;

/// Limit on the elements of arrays and members of objects, all together. Postgres parses
/// a value into an array of less than a gigabyte.
pub(super) const MAX_PARTS: usize = 1_000_000;

/// Limits on the digits of a number and on its exponent. `numeric` has limits of its own
/// (131072 digits before the point, 16383 after it), and `1e100000` would take kilobytes.
const MAX_NUMBER: usize = 1000;

/// A text of at most this many bytes is no number beyond the range of a double, if it has
/// no exponent.
const SURELY_IN_RANGE: usize = 300;

/// The place of one value, or of the name of a member, in the text.
#[derive(Clone, Copy, Debug)]
struct Node {
    start: u32,
    end: u32,
    /// The number of the node after this one and all that it holds, and [`ESCAPED`].
    next: u32,
}

/// Marks a string that has escapes.
const ESCAPED: u32 = 1 << 31;

/// The nodes of a value, each followed by those that it holds: of an object its names and
/// their values by turns.
#[derive(Debug, Default)]
pub struct Tape {
    nodes: Vec<Node>,
    /// The containers that are open while the text is read.
    open: Vec<u32>,
    parts: usize,
    numbers_fit: bool,
}

impl Tape {
    /// The tape of a text that is one value.
    pub fn of(text: &str, pause: Pause) -> Result<Self, ItemError> {
        let mut tape = Self::default();
        tape.read_all(text, pause)?;
        Ok(tape)
    }

    /// Reads a text that is one value.
    pub(super) fn read_all(&mut self, text: &str, pause: Pause) -> Result<(), ItemError> {
        let read = self.read(text, 0, pause).and_then(|end| {
            let end = scan::blanks(text.as_bytes(), end);
            let is_all = end == text.len();
            let more = Flaw::new("trailing characters", end);
            is_all.then_some(()).ok_or(more)
        });
        read.map_err(|flaw| ItemError::NotStorable(flaw.describe(text.as_bytes())))
    }

    /// Reads the value that starts at `at`; returns its end.
    pub(super) fn read(&mut self, text: &str, at: usize, pause: Pause) -> Result<usize, Flaw> {
        self.nodes.clear();
        self.open.clear();
        self.parts = 0;
        self.numbers_fit = true;
        scan::value(text.as_bytes(), at, self, pause)
    }

    /// The value that was read last, from this text.
    pub fn value<'a, 't>(&'t self, text: &'a str) -> Value<'a, 't> {
        let nodes = &self.nodes;
        Value { text, nodes, at: 0 }
    }

    /// Whether `numeric` can hold the numbers, and the reason if it cannot.
    pub fn check_numbers(&self) -> Result<(), ItemError> {
        if self.numbers_fit {
            return Ok(());
        }
        let reason = format!("a number has more than {MAX_NUMBER} digits, or an exponent above it");
        Err(ItemError::NotStorable(reason))
    }

    fn push(&mut self, token: Token) -> Result<(), Flaw> {
        let too_long = Flaw::new("it is too long", token.start);
        let place = |at: usize| u32::try_from(at).map_err(|_| too_long);
        let next = place(self.nodes.len() + 1)?;
        self.nodes.push(Node {
            start: place(token.start)?,
            end: place(token.end)?,
            next: if token.special { next | ESCAPED } else { next },
        });
        Ok(())
    }

    /// Counts one more element or member.
    fn part(&mut self, at: usize) -> Result<(), Flaw> {
        self.parts += 1;
        if self.parts > MAX_PARTS {
            const { assert!(MAX_PARTS == 1_000_000) };
            return Err(Flaw::new(
                "it has more than 1000000 elements and members",
                at,
            ));
        }
        Ok(())
    }

    fn element(&mut self, at: usize) -> Result<(), Flaw> {
        match self.inside() {
            Some(Container::Array) => self.part(at),
            _ => Ok(()),
        }
    }
}

/// Accepts what `jsonb` can hold.
///
/// `jsonb` is narrower than JSON: it has no U+0000 and no lone surrogates, its numbers
/// have limits, and its parser recurses. An error raised there would fail the whole
/// batch, so that the check is made here, for each item.
impl Sink for Tape {
    fn inside(&self) -> Option<Container> {
        // The lowest bit of an entry is set for an object.
        self.open.last().map(|open| match open & 1 {
            0 => Container::Array,
            _ => Container::Object,
        })
    }

    fn open(&mut self, container: Container, at: usize) -> Result<(), Flaw> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Flaw::new("recursion limit exceeded", at));
        }
        self.element(at)?;
        let node = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.push(Token {
            start: at,
            end: at,
            special: false,
        })?;
        self.open
            .push(node << 1 | u32::from(container == Container::Object));
        Ok(())
    }

    fn close(&mut self, end: usize) {
        let next = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let open = self.open.pop().unwrap_or_default();
        if let Some(node) = self.nodes.get_mut((open >> 1) as usize) {
            node.end = u32::try_from(end).unwrap_or(u32::MAX);
            node.next = next;
        }
    }

    fn name(&mut self, text: &[u8], token: Token) -> Result<(), Flaw> {
        self.part(token.start)?;
        if token.special {
            string::check_escapes(text, token)?;
        }
        self.push(token)
    }

    fn scalar(&mut self, text: &[u8], token: Token) -> Result<(), Flaw> {
        self.element(token.start)?;
        let literal = text.get(token.start..token.end).unwrap_or_default();
        let special = match literal.first() {
            Some(b'"') if token.special => {
                string::check_escapes(text, token)?;
                true
            }
            Some(b'-' | b'0'..=b'9') if token.special || literal.len() > SURELY_IN_RANGE => {
                // A double must hold it too, because most readers of JSON have no more.
                if serde_json::from_slice::<f64>(literal).is_err() {
                    return Err(Flaw::new("number out of range", token.end - 1));
                }
                self.numbers_fit &= number_fits(literal);
                false
            }
            _ => false,
        };
        self.push(Token { special, ..token })
    }
}

/// Whether a number is within [`MAX_NUMBER`].
fn number_fits(literal: &[u8]) -> bool {
    let digits = literal.iter().filter(|byte| byte.is_ascii_digit()).count();
    let exponent = literal.rsplit(|byte| matches!(byte, b'e' | b'E')).next();
    let exponent = exponent.filter(|exponent| exponent.len() < literal.len());
    let exponent = exponent
        .into_iter()
        .flatten()
        .filter(|b| b.is_ascii_digit());
    let exponent = exponent.fold(0usize, |exponent, digit| {
        exponent
            .saturating_mul(10)
            .saturating_add(usize::from(digit - b'0'))
    });
    digits <= MAX_NUMBER && exponent <= MAX_NUMBER
}

/// A value on a tape.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a, 't> {
    text: &'a str,
    nodes: &'t [Node],
    at: usize,
}

impl<'a, 't> Value<'a, 't> {
    #[inline]
    fn node(self) -> Option<&'t Node> {
        self.nodes.get(self.at)
    }

    /// The value as it is written.
    #[inline]
    pub fn text(self) -> &'a str {
        let place = self
            .node()
            .map(|node| node.start as usize..node.end as usize);
        place
            .and_then(|place| self.text.get(place))
            .unwrap_or_default()
    }

    /// The fields, if the value is an object.
    #[inline]
    pub fn object(self) -> Option<Object<'a, 't>> {
        self.text().starts_with('{').then_some(Object::of(self))
    }

    /// Number of bytes that it takes in the text.
    #[inline]
    pub(super) fn length(self) -> usize {
        let node = self.node();
        node.map_or(0, |node| node.end.saturating_sub(node.start) as usize)
    }

    /// Whether it is a string with escapes.
    #[inline]
    pub(super) fn is_escaped(self) -> bool {
        self.node().is_some_and(|node| node.next & ESCAPED != 0)
    }

    /// The text around the value.
    pub(super) fn around(self) -> &'a str {
        self.text
    }

    /// The byte of the text at which it starts.
    #[inline]
    pub(super) fn start(self) -> usize {
        self.node().map_or(0, |node| node.start as usize)
    }

    /// The number of its node, in the order of the text.
    pub(super) fn number(self) -> usize {
        self.at
    }

    /// The value of this number.
    #[inline]
    pub(super) fn numbered(self, at: usize) -> Self {
        Self { at, ..self }
    }

    /// The values that an array holds; of an object its names and their values by turns.
    #[inline]
    pub(super) fn parts(self) -> Parts<'a, 't> {
        let end = self
            .node()
            .map_or(0, |node| (node.next & !ESCAPED) as usize);
        let next = self.numbered(self.at + 1);
        Parts { next, end }
    }
}

/// Contents of a container.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a, 't> {
    next: Value<'a, 't>,
    end: usize,
}

impl<'a, 't> Iterator for Parts<'a, 't> {
    type Item = Value<'a, 't>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let part = self.next;
        if part.at >= self.end {
            return None;
        }
        let after = part
            .node()
            .map_or(self.end, |node| (node.next & !ESCAPED) as usize);
        self.next = part.numbered(after);
        Some(part)
    }
}

/// Whether Postgres can store this JSON text as `jsonb`, and the reason if it cannot.
pub fn storable(item: &str) -> Result<(), ItemError> {
    Tape::of(item, || {})?.check_numbers()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_ends_in_an_error_and_not_in_the_stack() {
        let deep = format!("[{}{}]", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert!(storable(&deep).is_err());
        assert!(storable(&format!("{}1{}", "[".repeat(100), "]".repeat(100))).is_ok());
    }

    #[test]
    fn its_elements_and_members_are_counted_all_together() {
        let most = format!(r#"{{"a":[{}0],"b":[]}}"#, "0,".repeat(MAX_PARTS - 3));
        assert_eq!(storable(&most), Ok(()));
        for more in [most.replace("[]", "[0]"), most.replace("[]", "0,\"c\":0")] {
            let error = storable(&more).unwrap_err().to_string();
            assert!(
                error.contains("more than 1000000 elements and members"),
                "{error}"
            );
        }
    }

    #[test]
    fn nothing_is_left_of_the_value_before() {
        let many = format!("[{}0]", "0,".repeat(MAX_PARTS / 2));
        let digits = format!("0.{}", "1".repeat(MAX_NUMBER));
        let mut tape = Tape::default();
        for _ in 0..2 {
            assert_eq!(tape.read_all(&many, || {}), Ok(()));
            assert_eq!(tape.check_numbers(), Ok(()));
            assert_eq!(tape.read_all(&digits, || {}), Ok(()));
            assert!(tape.check_numbers().is_err());
        }
    }

    #[test]
    fn what_jsonb_cannot_hold_is_found() {
        for bad in [
            r#""\u0000""#,
            r#"{"a\u0000":1}"#,
            r#"["\ud800"]"#,
            r#""\udc00x""#,
            "1e400",
            "1e-2000",
            "-1E-99999999999999999999",
            &format!("0.{}", "1".repeat(20_000)),
            &format!("[{}]", "9".repeat(1001)),
        ] {
            assert!(storable(bad).is_err(), "{bad}");
        }
        for good in [
            r#""\u0001 \\u0000 é 👋 \ud83d\ude00""#,
            r#"{"a":1e300,"e":"1e99999"}"#,
            "1.5e-300",
            r#"["\\","e99999"]"#,
            &"9".repeat(300),
            "18446744073709551616",
            "null",
            "true",
        ] {
            assert_eq!(storable(good), Ok(()), "{good}");
        }
    }
}
