//! Kinds of damage: one place of an item that is not as it was.

use proptest::{prelude::*, sample::Index};

/// One place of an item that is not as it was.
#[derive(Clone, Debug)]
pub(crate) enum Damage {
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Delete(Index, Index),
    Replace(Index, Index, Vec<u8>),
    /// The beginning, or the end, is missing.
    Head(Index),
    Tail(Index),
    /// The first occurrence of this text is replaced by another one.
    Other(&'static str, &'static [u8]),
}

/// Damage that senders were seen to do.
pub(crate) const SEEN: &[(&str, &[u8])] = &[
    // A byte that is no UTF-8, and a character that was cut.
    ("e", b"\xff"),
    ("a", b"\xe2\x82"),
    ("s", b"\xed\xa0\x80"),
    // Characters that have to be escaped.
    ("e", b"\n"),
    ("a", b"\t"),
    ("s", b"\r\n"),
    ("e", b"\x00"),
    ("a", br"\x41"),
    ("s", br"\u12"),
    ("e", br"\"),
    // Words and numbers that JSON has not.
    ("null", b"NaN"),
    ("null", b"None"),
    ("null", b"True"),
    ("null", b"undefined"),
    ("null", b"-Infinity"),
    ("null", b"0x1f"),
    ("null", b"'it''s'"),
    ("null", b"01"),
    // Commas and colons.
    ("}", b",}"),
    (",", b""),
    (",", b",,"),
    (":", b""),
    (":", b"="),
    // Quotes.
    ("null", br#""{"abc": "123"}""#),
    ("null", br#""{\"abc\": "123"}""#),
    ("null", br#""5" screen""#),
    ("null", br#""say "no" twice""#),
    ("null", br#""},{"#),
    ("null", br#""[{"n":1},{"n":2}]""#),
    ("\"", b"'"),
    ("\"", b""),
    ("\":", b":"),
    // Brackets.
    ("}", b""),
    ("}", b"}}"),
    ("{", b""),
    ("{", b"{{"),
    ("[", b""),
    ("]", b""),
    ("]", b"]]"),
    ("]", b"}"),
    ("}", b"]"),
    ("}}", b""),
    ("]}", b""),
];

pub(crate) fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<Index>;
    let marks = prop::sample::select(b"{}[],:\"\\\n 'x0\xff\x01".to_vec());
    let bytes = || prop::collection::vec(any::<u8>(), 1..4);
    prop_oneof![
        4 => (index(), 0..8u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        6 => (index(), marks).prop_map(|(at, mark)| Damage::Insert(at, vec![mark])),
        2 => (index(), bytes()).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        3 => index().prop_map(|at| Damage::Delete(at, at)),
        4 => (index(), index()).prop_map(|(from, to)| Damage::Delete(from, to)),
        2 => (index(), index(), bytes())
            .prop_map(|(from, to, bytes)| Damage::Replace(from, to, bytes)),
        3 => index().prop_map(Damage::Tail),
        2 => index().prop_map(Damage::Head),
        8 => prop::sample::select(SEEN).prop_map(|(from, to)| Damage::Other(from, to)),
    ]
}

impl Damage {
    pub(crate) fn of(&self, item: &[u8]) -> Vec<u8> {
        let mut item = item.to_vec();
        // A place of the item, and the places between two indices with at least one byte.
        let length = item.len();
        let at = |index: &Index| index.index(length);
        let range = |from: &Index, to: &Index| {
            let (from, to) = (at(from), at(to));
            from.min(to)..from.max(to) + 1
        };
        match self {
            Self::Flip(index, bit) => {
                let at = at(index);
                item[at] ^= 1 << bit;
            }
            Self::Insert(index, bytes) => {
                let at = at(index);
                drop(item.splice(at..at, bytes.iter().copied()));
            }
            Self::Delete(from, to) => drop(item.drain(range(from, to))),
            Self::Replace(from, to, bytes) => {
                drop(item.splice(range(from, to), bytes.iter().copied()));
            }
            Self::Tail(index) => item.truncate(at(index)),
            Self::Head(index) => drop(item.drain(..=at(index))),
            Self::Other(from, to) => {
                let found = item
                    .windows(from.len())
                    .position(|part| part == from.as_bytes());
                let start = found.unwrap_or_default();
                drop(item.splice(start..start + from.len(), to.iter().copied()));
            }
        }
        item
    }
}
