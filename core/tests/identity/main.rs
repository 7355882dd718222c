//! An event is one event, however often, in whatever order and in whatever shape of
//! body it arrives; and two events are two.

#[cfg(test)]
mod cases;
#[cfg(test)]
#[path = "../support/fields.rs"]
mod fields;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;

use std::{collections::HashMap, fs, path::Path};

use fields::{SHAPES, Shape, Values};
use proptest::{prelude::*, sample::Index};
use serde_json::Value;
use support::{normalize, providers};
use tidings_core::{Ulid, identity, time::Micros};

/// What makes an event the same row.
type Identity = (Ulid, Option<Micros>);

fn identities(shape: Shape, source: &str, body: &str) -> Result<Vec<Identity>, TestCaseError> {
    normalize(shape.provider, source, body.as_bytes())
        .map_err(|malformed| TestCaseError::fail(format!("{malformed}: {body}")))?
        .into_iter()
        .map(|item| {
            let text = item.text();
            let event = item
                .event
                .map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
            let id = event
                .event_id
                .ok_or_else(|| TestCaseError::fail(format!("no identity: {text}")))?;
            Ok((id, event.occurred_at))
        })
        .collect()
}

fn identity_of(shape: Shape, source: &str, body: &str) -> Result<Identity, TestCaseError> {
    match identities(shape, source, body)?.as_slice() {
        [one] => Ok(*one),
        other => Err(TestCaseError::fail(format!(
            "{} items: {body}",
            other.len()
        ))),
    }
}

fn shape() -> impl Strategy<Value = Shape> {
    prop::sample::select(SHAPES.as_slice())
}

/// How a body may hold its items.
#[derive(Clone, Copy, Debug)]
enum Frame {
    Array,
    SpacedArray,
    Lines,
    Concatenated,
    ArrayAndObjects,
    Wrapped,
}

fn frame() -> impl Strategy<Value = Frame> {
    prop::sample::select(vec![
        Frame::Array,
        Frame::SpacedArray,
        Frame::Lines,
        Frame::Concatenated,
        Frame::ArrayAndObjects,
        Frame::Wrapped,
    ])
}

impl Frame {
    fn body(self, shape: Shape, items: &[String]) -> String {
        match self {
            Self::Wrapped if shape.provider == "pushwoosh" => {
                format!(r#"{{"batch":1,"events":[{}]}}"#, items.join(","))
            }
            Self::Array | Self::Wrapped => format!("[{}]", items.join(",")),
            Self::SpacedArray => format!("\u{feff} [\r\n\t{} ]\n", items.join(" ,\n")),
            Self::Lines => items.join("\n") + "\n",
            Self::Concatenated => items.concat(),
            Self::ArrayAndObjects => {
                let (head, tail) = items.split_at(items.len() / 2);
                format!("[{}]{}", head.join(","), tail.concat())
            }
        }
    }
}

/// A shape with a few items of it, and some of those items in some order, with repeats.
fn batch() -> impl Strategy<Value = (Shape, Vec<Values>, Vec<Index>)> {
    shape().prop_flat_map(|shape| {
        (
            Just(shape),
            prop::collection::vec(shape.values(), 1..6),
            prop::collection::vec(any::<Index>(), 1..20),
        )
    })
}

fn pair() -> impl Strategy<Value = (Shape, (Values, Values))> {
    shape().prop_flat_map(|shape| (Just(shape), shape.pair()))
}

fn one() -> impl Strategy<Value = (Shape, Values)> {
    shape().prop_flat_map(|shape| (Just(shape), shape.values()))
}

/// Every character of a JSON string that can be, written as an escape.
fn escaped(json: &str) -> String {
    let Ok(text) = serde_json::from_str::<String>(json) else {
        return json.to_owned();
    };
    let units: String = text
        .encode_utf16()
        .map(|unit| format!("\\u{unit:04x}"))
        .collect();
    format!("\"{units}\"")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The nth equal item of a request is one event, whatever stands around it.
    #[test]
    fn order_repetition_and_frame_change_nothing((shape, values, picks) in batch(), frame in frame()) {
        let texts: Vec<String> = picks.iter().map(|pick| shape.text(pick.get(&values))).collect();
        let got = identities(shape, "s", &frame.body(shape, &texts))?;
        prop_assert_eq!(got.len(), texts.len());

        let mut before: HashMap<&str, usize> = HashMap::new();
        for (text, identity) in texts.iter().zip(got) {
            let repeat = before.entry(text).or_default();
            let alone = vec![text.clone(); if shape.bytes { *repeat + 1 } else { 1 }];
            let expected = identities(shape, "s", &Frame::Array.body(shape, &alone))?;
            prop_assert_eq!(Some(&identity), expected.last());
            *repeat += 1;
        }
    }

    #[test]
    fn the_fields_of_the_key_tell_events_apart_and_no_others_do((shape, (left, right)) in pair()) {
        let [a, b] = [&left, &right].map(|values| identity_of(shape, "s", &shape.text(values)));
        prop_assert_eq!(a?.0 == b?.0, shape.same(&left, &right));
    }

    #[test]
    fn how_an_item_is_written_matters_only_where_its_bytes_are_its_identity(
        (shape, values) in one(),
        order: u64,
        blank in "[ \t\r\n]{0,3}",
        escapes: bool,
    ) {
        let mut fields: Vec<usize> = (0..values.len()).collect();
        fields.sort_by_key(|&index| (order >> (index * 6)) & 63);
        let write = |json: &str| if escapes { escaped(json) } else { json.to_owned() };
        let [plain, other] = [shape.text(&values), shape.write(&values, &fields, &blank, write)];
        let [a, b] = [&plain, &other].map(|text| identity_of(shape, "s", text));
        prop_assert_eq!(a? == b?, !shape.bytes || plain == other);
    }

    #[test]
    fn a_derived_id_carries_the_events_millisecond_or_0((shape, values) in one()) {
        let (id, at) = identity_of(shape, "s", &shape.text(&values))?;
        if shape.derived {
            prop_assert_eq!(id.ms(), at.map_or(0, Micros::ms));
        } else {
            prop_assert_eq!(Value::from(id.to_string()), values[0].clone());
        }
    }

    #[test]
    fn sources_are_kept_apart((shape, values) in one(), a in ".{0,6}", b in ".{0,6}") {
        let text = shape.text(&values);
        let [left, right] = [&a, &b].map(|source| identity_of(shape, source, &text));
        let (left, right) = (left?, right?);
        prop_assert_eq!(left.1, right.1);
        prop_assert_eq!(left.0 == right.0, a == b || !shape.derived);
    }

    #[test]
    fn parts_never_run_into_each_other(
        left in prop::collection::vec(prop::option::of("[ab]{0,2}"), 0..4),
        right in prop::collection::vec(prop::option::of("[ab]{0,2}"), 0..4),
        names in ("[ab]{0,2}", "[ab]{0,2}"),
        others in ("[ab]{0,2}", "[ab]{0,2}"),
    ) {
        let at = Micros::from_ms(1_723_799_271_000).unwrap();
        let id = |names: &(String, String), fields: &[Option<String>]| {
            let parts = fields.iter().map(|field| field.as_deref().map(str::as_bytes));
            identity::derive(&names.0, &names.1, at, parts)
        };
        let same = (&names, &left) == (&others, &right);
        prop_assert_eq!(id(&names, &left) == id(&others, &right), same);
    }
}

/// What surrounds an item does not change what it is. This is asked of every payload of
/// every provider, so that a new one is tried by its payloads alone.
#[test]
fn an_item_alone_is_what_it_is_among_others() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    for provider in providers() {
        let mut tried = 0;
        for path in fs::read_dir(root.join(provider)).unwrap() {
            let body = fs::read(path.unwrap().path()).unwrap();
            let Ok(items) = normalize(provider, "s", &body) else {
                continue;
            };
            for (index, item) in items.iter().enumerate() {
                // Its equals before it may be counted.
                let is_first = items[..index].iter().all(|other| other.bytes != item.bytes);
                if item.event.is_ok() && is_first {
                    let alone = normalize(provider, "s", item.bytes).unwrap();
                    assert_eq!(alone.len(), 1, "{}", item.text());
                    assert_eq!(alone[0].event, item.event, "{}", item.text());
                    tried += 1;
                }
            }
        }
        assert!(tried >= 25, "{provider}: {tried}");
    }
}
