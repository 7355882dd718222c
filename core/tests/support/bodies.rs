//! Bodies that no provider should send: payloads mutated, JSON of any form, items whose
//! fields have the right names and the wrong values.

use std::{fs, path::Path};

use proptest::{prelude::*, sample::Index};
use serde_json::Value;

use crate::{
    fields::{SHAPES, Shape},
    support::providers,
};

/// Every payload of `testdata/`.
pub(crate) fn payloads() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let folders = providers().flat_map(|name| fs::read_dir(root.join(name)));
    let mut paths: Vec<_> = folders
        .flat_map(|entries| entries.filter_map(Result::ok))
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    paths.sort();
    paths.into_iter().flat_map(fs::read).collect()
}

/// What parsers stumble over.
pub(crate) const PIECES: [&str; 36] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "null",
    "true",
    "-",
    "0",
    "1e999",
    "1e-999",
    "-0.0",
    "123456789012345678901234567890",
    "\\u0000",
    "\\ud800",
    "\\udc00",
    "\\ud83d\\ude00",
    "\u{0}",
    "\u{feff}",
    "\u{2028}",
    "\r\n",
    " ",
    "\"event_id\"",
    "\"event_name\":\"Push Sent\"",
    "\"timestamp\":",
    "\"MessageId\":\"m\"",
    "\"Status\":\"PENDING\"",
    "\"ReportDateTime\":",
    "\"kind\":\"transaction:message:delivered\"",
    "\"ts\":",
    "\"2024-10-01T11:34:56Z\"",
    "{\"events\":[",
    "\"recipient\":{",
];

pub(crate) fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<f64>().prop_map(|value| Value::from(value).to_string()),
        "-?[1-9][0-9]{0,40}(\\.[0-9]{1,40})?([eE][+-]?[0-9]{1,5})?",
        any::<String>().prop_map(|value| Value::from(value).to_string()),
        "\"(\\\\u00[0-9a-f]{2}|\\\\ud[89a-f][0-9a-f]{2}|[a-z0-9:.TZ+-]){0,12}\"",
        "\"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?(\\[[A-Z]{3}\\])?\"",
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|values| format!("[{}]", values.join(","))),
            prop::collection::vec(("[a-z\u{e9}]{0,3}", inner), 0..4).prop_map(|fields| {
                let fields: Vec<_> = fields.iter().map(|(n, v)| format!("\"{n}\":{v}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

/// Items whose fields have the right names and any values, some of them absent.
pub(crate) fn misfit() -> impl Strategy<Value = String> {
    let fields = |shape: Shape| {
        let values = prop::collection::vec(prop::option::weighted(0.3, json()), shape.fields.len());
        (shape.values(), values).prop_map(move |(right, wrong)| {
            let fields: Vec<_> = (shape.fields.iter().zip(right).zip(wrong))
                .map(|(((name, _), right), wrong)| {
                    format!("\"{name}\":{}", wrong.unwrap_or_else(|| right.to_string()))
                })
                .collect();
            format!("{{{}}}", fields.join(","))
        })
    };
    prop::sample::select(SHAPES.as_slice()).prop_flat_map(fields)
}

#[derive(Clone, Debug)]
pub(crate) enum Mutation {
    Flip(Index, u8),
    Cut(Index, Index),
    Copy(Index, Index, Index),
    Insert(Index, &'static str),
    Truncate(Index),
}

pub(crate) fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<Index>;
    prop_oneof![
        4 => (index(), 0..8u8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        2 => (index(), index()).prop_map(|(from, to)| Mutation::Cut(from, to)),
        2 => (index(), index(), index()).prop_map(|(from, to, at)| Mutation::Copy(from, to, at)),
        4 => (index(), prop::sample::select(PIECES.as_slice()))
            .prop_map(|(at, piece)| Mutation::Insert(at, piece)),
        1 => index().prop_map(Mutation::Truncate),
    ]
}

impl Mutation {
    pub(crate) fn apply(&self, body: &mut Vec<u8>) {
        // One more than there are bytes: the end is a place as well.
        let places = body.len() + 1;
        let range = |from: &Index, to: &Index| {
            let (from, to) = (from.index(places), to.index(places));
            from.min(to)..from.max(to)
        };
        match self {
            Self::Flip(at, bit) if !body.is_empty() => {
                let at = at.index(body.len());
                body[at] ^= 1 << bit;
            }
            Self::Flip(..) => {}
            Self::Cut(from, to) => drop(body.drain(range(from, to))),
            Self::Copy(from, to, at) => {
                let piece = body[range(from, to)].to_vec();
                let at = at.index(places);
                body.splice(at..at, piece);
            }
            Self::Insert(at, piece) => {
                let at = at.index(places);
                body.splice(at..at, piece.bytes());
            }
            Self::Truncate(at) => body.truncate(at.index(places)),
        }
    }
}
