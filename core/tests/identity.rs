//! An event is one event, however often, in whatever order and in whatever shape of
//! body it arrives; and two events are two.

#[cfg(test)]
#[path = "support/fields.rs"]
mod fields;
#[cfg(test)]
mod support;

use std::collections::HashMap;

use fields::{SHAPES, Shape, Values};
use proptest::{prelude::*, sample::Index};
use serde_json::Value;
use support::{PROVIDERS, normalize};
use tidings_core::{Ulid, identity, time::Micros};

/// What makes an event the same row.
type Identity = (Ulid, Micros);

fn identities(shape: Shape, source: &str, body: &str) -> Result<Vec<Identity>, TestCaseError> {
    normalize(shape.provider, source, body.as_bytes())
        .map_err(|malformed| TestCaseError::fail(format!("{malformed}: {body}")))?
        .into_iter()
        .map(|item| {
            let event = item
                .event
                .map_err(|error| TestCaseError::fail(format!("{error}: {}", item.text)))?;
            event
                .event_id
                .zip(event.occurred_at)
                .ok_or_else(|| TestCaseError::fail(format!("no identity: {}", item.text)))
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
    fn a_derived_id_carries_the_events_millisecond((shape, values) in one()) {
        let (id, at) = identity_of(shape, "s", &shape.text(&values))?;
        if shape.derived {
            prop_assert_eq!(id.ms(), at.ms());
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

#[test]
fn every_provider_is_tried() {
    for provider in PROVIDERS {
        assert!(
            SHAPES.iter().any(|shape| shape.provider == provider),
            "{provider}"
        );
    }
}

/// What the properties mean for each provider, case by case.
#[cfg(test)]
mod cases {
    use tidings_core::Ulid;

    use super::support::normalize;

    const PUSH: &str = r#"{"event_name":"Push Sent","timestamp":1723799271,"hwid":"h1"}"#;

    fn ids(provider: &str, body: &str) -> Vec<Option<Ulid>> {
        normalize(provider, "s", body.as_bytes())
            .unwrap()
            .into_iter()
            .map(|item| item.event.unwrap().event_id)
            .collect()
    }

    #[test]
    fn equal_pushwoosh_items_of_a_batch_stay_two_and_a_repeated_batch_meets_itself() {
        let batch = format!("[{PUSH},{PUSH}]");
        let first = ids("pushwoosh", &batch);
        assert_ne!(first[0], first[1]);
        assert_eq!(first, ids("pushwoosh", &batch));
        // Each request counts for itself: an item that arrives alone is the first of its kind.
        assert_eq!(ids("pushwoosh", PUSH), first[..1]);
        let with_others =
            format!(r#"[{{"event_name":"Push Opened","timestamp":1}},{PUSH},{PUSH}]"#);
        assert_eq!(ids("pushwoosh", &with_others)[1..], first);
    }

    #[test]
    fn equal_items_of_the_other_providers_are_one_event() {
        for (provider, item) in [
            ("ppoppo", r#"{"event_id":"01J93XS9VVR000000000000001"}"#),
            (
                "pushwoosh",
                r#"{"uuid":"u1","event_name":"Push Sent","timestamp":1723799271}"#,
            ),
            (
                "arpoone",
                r#"{"MessageId":"m1","Status":"PENDING","ReportDateTime":"2024-10-01T11:34:56Z"}"#,
            ),
            (
                "pushpushgo",
                r#"{"kind":"transaction:message:delivered","messageId":"m1","ts":1727782496123}"#,
            ),
        ] {
            let both = ids(provider, &format!("[{item},{item}]"));
            assert!(both[0].is_some(), "{provider}");
            assert_eq!(both[0], both[1], "{provider}");
        }
    }

    #[test]
    fn absent_null_and_empty_are_one() {
        for (provider, item, field) in [
            (
                "arpoone",
                r#""MessageId":"m1","Status":"PENDING","ReportDateTime":"2024-10-01T11:34:56Z""#,
                "ReportDescription",
            ),
            (
                "pushpushgo",
                r#""kind":"transaction:message:clicked","messageId":"m1","ts":1727782496123"#,
                "clickAction",
            ),
        ] {
            let body = format!(
                r#"[{{{item}}},{{{item},"{field}":null}},{{{item},"{field}":""}},{{{item},"{field}":"0"}},{{{item},"{field}":0}}]"#
            );
            let ids = ids(provider, &body);
            assert!(ids[0] == ids[1] && ids[1] == ids[2], "{provider}");
            assert!(ids[2] != ids[3] && ids[3] == ids[4], "{provider}");
        }
    }

    /// A time that means the same is the same time, whoever writes the retry.
    #[test]
    fn one_moment_written_in_several_ways_is_one_event() {
        let arpoone = |at: &str| {
            ids(
                "arpoone",
                &format!(r#"{{"MessageId":"m1","Status":"PENDING","ReportDateTime":"{at}"}}"#),
            )
        };
        let at = arpoone("2024-10-01T11:34:56.1234567Z");
        assert_eq!(at, arpoone("2024-10-01T11:34:56.123456Z"));
        assert_eq!(at, arpoone("2024-10-01T12:34:56.1234567+01:00"));
        assert_eq!(at, arpoone("2024-10-01 11:34:56.123456"));
        assert_ne!(at, arpoone("2024-10-01T11:34:56.123457Z"));

        let pushpushgo = |ts: &str| {
            ids(
                "pushpushgo",
                &format!(
                    r#"{{"kind":"transaction:message:delivered","messageId":"m1","ts":{ts}}}"#
                ),
            )
        };
        let ts = pushpushgo("1727782496123");
        assert_eq!(ts, pushpushgo(r#""1727782496123""#));
        assert_eq!(ts, pushpushgo(r#""2024-10-01T11:34:56.123Z""#));
        assert_ne!(ts, pushpushgo("1727782496124"));
    }

    /// Nothing tells two apart, so each receipt is an event of its own.
    #[test]
    fn subscriber_events_have_no_identity() {
        for kind in ["update", "subscribe", "unsubscribe"] {
            let body = format!(r#"{{"kind":"subscriber:{kind}","ppgId":"p1","customId":"c1"}}"#);
            assert_eq!(ids("pushpushgo", &body), [None]);
        }
    }
}
