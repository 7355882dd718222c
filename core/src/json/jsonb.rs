//! A value as Postgres stores a `jsonb` (`jsonb.h`), which no version has changed since 9.4.
//!
//! The bytes are those that the server's own `jsonb_in` would make of the text: the members
//! of an object are sorted by the length of their names and then by their bytes, of equal
//! names the last counts, and numbers are `numeric`. A test compares the two, byte by byte.

use std::cmp::Ordering;

use super::{Object, numeric, object::inside, string, tape::Value};
use crate::event::Pause;

/// The header of a container: the number of its elements or members, and its kind.
const SCALAR: u32 = 0x1000_0000;
const OBJECT: u32 = 0x2000_0000;
const ARRAY: u32 = 0x4000_0000;

/// The entry of an element, a name or a value in its container: its length and its type.
const STRING: u32 = 0x0000_0000;
const NUMERIC: u32 = 0x1000_0000;
const FALSE: u32 = 0x2000_0000;
const TRUE: u32 = 0x3000_0000;
const NULL: u32 = 0x4000_0000;
const CONTAINER: u32 = 0x5000_0000;

/// Every so many entries, one has the offset of its end instead of its length.
const STRIDE: usize = 32;
const HAS_OFFSET: u32 = 0x8000_0000;

/// The length of an entry takes these bits.
const LENGTH: u32 = 0x0fff_ffff;

/// Number of comparisons of names after which a sort pauses.
const COMPARISONS: u32 = 1 << 14;

/// Number of values after which the writer pauses.
const VALUES: u32 = 1 << 12;

/// The four bytes with which Postgres begins a value of this length, these four included.
pub fn varlena_header(length: usize) -> [u8; 4] {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    if cfg!(target_endian = "big") {
        length.to_ne_bytes()
    } else {
        (length << 2).to_ne_bytes()
    }
}

/// Writes values as `jsonb`, one after the other, and keeps what it needs for that.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
    /// The names of the objects that are being written.
    names: Vec<Name>,
    /// The characters of those names that have escapes.
    decoded: String,
    /// Number of the values that were written.
    values: u32,
}

/// The name of a member.
#[derive(Clone, Copy, Debug)]
struct Name {
    /// Its place in the text, or in [`Writer::decoded`].
    start: u32,
    length: u32,
    is_decoded: bool,
    /// The number of the member's value.
    value: u32,
}

impl Writer {
    /// The value as a `jsonb`, with its length before it; `None` if it is too long for one.
    pub fn write(&mut self, value: Value<'_, '_>, pause: Pause) -> Option<&[u8]> {
        self.out.clear();
        self.names.clear();
        self.decoded.clear();
        self.out.extend(varlena_header(0));
        if value.text().starts_with(['{', '[']) {
            self.container(value, pause)?;
        } else {
            // A scalar is the only element of an array that says so.
            self.out.extend((ARRAY | SCALAR | 1).to_ne_bytes());
            self.elements(1, [value].into_iter(), pause)?;
        }
        self.set(0, varlena_header(self.out.len()));
        Some(&self.out)
    }

    fn container(&mut self, value: Value<'_, '_>, pause: Pause) -> Option<()> {
        if let Some(object) = value.object() {
            return self.object(object, pause);
        }
        let count = value.parts().count();
        let header = ARRAY | u32::try_from(count).ok()?;
        self.out.extend(header.to_ne_bytes());
        self.elements(count, value.parts(), pause)
    }

    /// The entries of so many values, and then the values.
    fn elements<'a, 't>(
        &mut self,
        count: usize,
        values: impl Iterator<Item = Value<'a, 't>>,
        pause: Pause,
    ) -> Option<()> {
        let mut entries = self.entries(count);
        for value in values {
            let start = self.out.len();
            let kind = self.value(value, pause)?;
            self.entry(&mut entries, kind, start)?;
        }
        Some(())
    }

    fn object(&mut self, object: Object<'_, '_>, pause: Pause) -> Option<()> {
        let text = object.around();
        let (first, first_decoded) = (self.names.len(), self.decoded.len());
        for (name, value) in object.members() {
            self.name(name, value)?;
        }
        let count = self.sort(first, text, pause);
        let header = OBJECT | u32::try_from(count).ok()?;
        self.out.extend(header.to_ne_bytes());
        let mut entries = self.entries(2 * count);
        for index in first..first + count {
            let start = self.out.len();
            let name = self.names.get(index)?.bytes(text, &self.decoded);
            self.out.extend(name);
            self.entry(&mut entries, STRING, start)?;
        }
        for index in first..first + count {
            let start = self.out.len();
            let value = object.numbered(self.names.get(index)?.value as usize);
            let kind = self.value(value, pause)?;
            self.entry(&mut entries, kind, start)?;
        }
        self.names.truncate(first);
        self.decoded.truncate(first_decoded);
        Some(())
    }

    /// Appends a value; returns its type.
    fn value(&mut self, value: Value<'_, '_>, pause: Pause) -> Option<u32> {
        self.values += 1;
        if self.values.is_multiple_of(VALUES) {
            pause();
        }
        let text = value.text();
        Some(match text.as_bytes().first()? {
            b'"' => {
                if value.is_escaped() {
                    let before = self.decoded.len();
                    string::decode(inside(text), &mut self.decoded);
                    let characters = self.decoded.as_bytes().get(before..)?;
                    self.out.extend(characters);
                    self.decoded.truncate(before);
                } else {
                    self.out.extend(inside(text).as_bytes());
                }
                STRING
            }
            b'{' | b'[' => {
                self.align();
                self.container(value, pause)?;
                CONTAINER
            }
            b't' => TRUE,
            b'f' => FALSE,
            b'n' => NULL,
            _ => {
                self.align();
                numeric::write(text.as_bytes(), &mut self.out);
                NUMERIC
            }
        })
    }

    /// Notes a name, and the value that it names.
    fn name(&mut self, name: Value<'_, '_>, value: Value<'_, '_>) -> Option<()> {
        let is_decoded = name.is_escaped();
        let (start, length) = if is_decoded {
            let start = self.decoded.len();
            string::decode(inside(name.text()), &mut self.decoded);
            (start, self.decoded.len() - start)
        } else {
            (name.start() + 1, inside(name.text()).len())
        };
        self.names.push(Name {
            start: u32::try_from(start).ok()?,
            length: u32::try_from(length).ok()?,
            is_decoded,
            value: u32::try_from(value.number()).ok()?,
        });
        Some(())
    }

    /// Sorts the names from `first` on, of equal ones the last member first, which alone is
    /// kept. Returns how many are left.
    fn sort(&mut self, first: usize, text: &str, pause: Pause) -> usize {
        let Self { names, decoded, .. } = self;
        let mine = names.get_mut(first..).unwrap_or_default();
        let mut comparisons = 0u32;
        let mut order = |a: &Name, b: &Name| {
            comparisons = comparisons.wrapping_add(1);
            if comparisons.is_multiple_of(COMPARISONS) {
                pause();
            }
            let lengths = a.length.cmp(&b.length);
            lengths.then_with(|| a.bytes(text, decoded).cmp(b.bytes(text, decoded)))
        };
        mine.sort_unstable_by(|a, b| order(a, b).then(b.value.cmp(&a.value)));
        let mut count = 0usize;
        for index in 0..mine.len() {
            let (Some(&name), before) = (mine.get(index), count.checked_sub(1)) else {
                break;
            };
            let before = before.and_then(|before| mine.get(before));
            if before.is_none_or(|before| order(before, &name) != Ordering::Equal) {
                if let Some(place) = mine.get_mut(count) {
                    *place = name;
                }
                count += 1;
            }
        }
        names.truncate(first + count);
        count
    }

    /// Makes room for so many entries, which are filled in as their values are written.
    fn entries(&mut self, count: usize) -> Entries {
        let next = self.out.len();
        self.out.resize(next + 4 * count, 0);
        Entries {
            next,
            index: 0,
            total: 0,
        }
    }

    /// Fills in the entry of what was written from `start` on.
    fn entry(&mut self, entries: &mut Entries, kind: u32, start: usize) -> Option<()> {
        let length = u32::try_from(self.out.len() - start).ok()?;
        entries.total = entries.total.checked_add(length)?;
        // Nothing that is too long becomes a payload that cannot be read.
        (entries.total <= LENGTH).then_some(())?;
        let entry = if entries.index.is_multiple_of(STRIDE) {
            kind | HAS_OFFSET | entries.total
        } else {
            kind | length
        };
        self.set(entries.next, entry.to_ne_bytes());
        entries.next += 4;
        entries.index += 1;
        Some(())
    }

    fn set(&mut self, at: usize, bytes: [u8; 4]) {
        if let Some(place) = self.out.get_mut(at..at + 4) {
            place.copy_from_slice(&bytes);
        }
    }

    /// Numbers and containers begin at multiples of four bytes.
    fn align(&mut self) {
        self.out.resize(self.out.len().next_multiple_of(4), 0);
    }
}

/// The entries of a container, as far as they are filled in.
struct Entries {
    next: usize,
    index: usize,
    total: u32,
}

impl Name {
    fn bytes<'n>(&self, text: &'n str, decoded: &'n str) -> &'n [u8] {
        let from = if self.is_decoded { decoded } else { text };
        let start = self.start as usize;
        let bytes = from.as_bytes().get(start..start + self.length as usize);
        bytes.unwrap_or_default()
    }
}
