//! Whatever arrives, a body becomes items or says why not, and what is called storable
//! can be stored: what the fuzz targets check (`fuzz/src/body.rs`), on bodies that are
//! drawn, the same in every run.

#[cfg(test)]
#[path = "support/bodies.rs"]
mod bodies;
#[cfg(test)]
#[expect(dead_code, reason = "identity.rs uses all of it")]
#[path = "support/fields.rs"]
mod fields;
#[cfg(test)]
mod support;

use bodies::{PIECES, json, misfit, mutation, payloads};
use fields::SHAPES;
use proptest::{prelude::*, sample::Index};
use serde_json::{Map, Value};
use support::normalize;
use tidings_core::{Item, Malformed, Settings, json::MAX_ITEMS, provider, signature};
use tidings_fuzz::message;

fn fail(reason: impl Into<String>) -> TestCaseError {
    TestCaseError::fail(reason.into())
}

/// What must hold of any body, for every provider.
fn check(body: &[u8]) {
    for provider in provider::ALL {
        tidings_fuzz::body::holds(provider, &Settings::default(), body);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1024) })]

    #[test]
    fn any_bytes(body in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&body);
    }

    #[test]
    fn any_text(body in "\\PC{0,200}") {
        check(body.as_bytes());
    }

    #[test]
    fn pieces_of_json(pieces in prop::collection::vec(prop::sample::select(PIECES.as_slice()), 0..40)) {
        check(pieces.concat().as_bytes());
    }

    #[test]
    fn any_json(values in prop::collection::vec(json(), 0..4)) {
        check(values.concat().as_bytes());
        check(format!("[{}]", values.join(",")).as_bytes());
        check(format!("{{\"events\":[{}]}}", values.join(",")).as_bytes());
    }

    #[test]
    fn items_with_fields_of_any_form(items in prop::collection::vec(misfit(), 1..4)) {
        check(format!("[{}]", items.join(",")).as_bytes());
        check(items.join("\n").as_bytes());
    }

    #[test]
    fn mutated_payloads(
        body in prop::sample::select(payloads()),
        mutations in prop::collection::vec(mutation(), 1..8),
    ) {
        let mut body = body;
        for mutation in mutations {
            mutation.apply(&mut body);
        }
        check(&body);
    }

    #[test]
    fn one_bad_item_leaves_the_others_alone(
        (shape, values, bad, place) in prop::sample::select(SHAPES.as_slice()).prop_flat_map(|shape| {
            (Just(shape), prop::collection::vec(shape.values(), 1..5), json(), any::<Index>())
        }),
    ) {
        let mut texts: Vec<String> = values.iter().map(|values| shape.text(values)).collect();
        let alone = format!("[{}]", texts.join(","));
        let place = place.index(texts.len() + 1);
        texts.insert(place, bad);
        let together = format!("[{}]", texts.join(","));

        let read = |body| normalize(shape.provider, "s", body).map_err(|error| fail(error.to_string()));
        let alone = read(alone.as_bytes())?;
        let mut together = read(together.as_bytes())?;
        prop_assert_eq!(together.len(), alone.len() + 1);
        together.remove(place);
        let events = |items: Vec<Item<'_>>| -> Vec<_> {
            items.into_iter().map(|item| format!("{:?}", item.event)).collect()
        };
        prop_assert_eq!(events(together), events(alone));
    }

    #[test]
    fn options_of_any_form_are_taken_or_refused(
        name in prop::sample::select(vec!["url_token", "allow_unauthenticated", "endpoint", "overlap", "timezone", "time_format", "token_url", "issuer", "client_id", "channel_ids", "stream", "x"]),
        value in json(),
    ) {
        if let Ok(value) = serde_json::from_str::<Value>(&value) {
            let options: Map<String, Value> = [(name.to_owned(), value)].into_iter().collect();
            for provider in provider::ALL {
                if let Err(error) = provider.check_options(&options) {
                    message(&error.to_string());
                    message(&error.hint());
                }
            }
            let read = Settings::from_options(&Value::Object(options.clone()).to_string());
            let arpoone = provider::find("arpoone").unwrap().check_options(&options);
            prop_assert!(arpoone.is_err() || read.is_ok());
        }
    }

    /// A format is set by whoever owns the source, and then meets whatever is sent.
    #[test]
    fn time_formats_of_any_form_are_taken_or_refused(
        format in "(%[-_0^#:.]?[0-9]{0,3}[A-Za-z%]|[ /:.-]){0,8}",
        at in "\\PC{0,12}|[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}",
    ) {
        let options = serde_json::json!({ "time_format": format }).to_string();
        if let Ok(settings) = Settings::from_options(&options) {
            let body = serde_json::json!({"MessageId": "m", "Status": "s", "ReportDateTime": at});
            let body = body.to_string();
            let arpoone = provider::find("arpoone").unwrap();
            tidings_fuzz::body::holds(arpoone, &settings, body.as_bytes());
        }
    }

    #[test]
    fn signatures_of_any_form_are_refused(text in any::<String>(), body: Vec<u8>, key: Vec<u8>) {
        prop_assert!(!signature::verify_hmac_sha1(&body, &key, &text));
    }
}

#[test]
fn every_truncation_of_every_payload() {
    let payloads = payloads();
    assert!(payloads.len() >= 4 * 25);
    for body in payloads {
        for end in 0..=body.len() {
            check(&body[..end]);
        }
    }
}

/// The stack of a test is two megabytes: a parser that recursed would end the process.
#[test]
fn nesting_is_bounded() {
    for depth in [1, 100, 126, 127, 128, 129, 200, 10_000, 300_000] {
        let arrays = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let objects = format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        let wrappers = format!("{}[]{}", r#"{"events":"#.repeat(depth), "}".repeat(depth));
        let open = "[".repeat(depth);
        for nested in [&arrays, &objects, &wrappers, &open] {
            for body in [
                nested.clone(),
                format!("[{nested}]"),
                format!(r#"{{"events":[{nested}]}}"#),
                format!(r#"{{"event_id":{nested},"recipient":{nested}}}"#),
                format!(r#"{{"event_name":"Push Sent","timestamp":1,"payload":{nested}}}"#),
                format!(r#"[{{"MessageId":"m","CustomPayload":{nested}}}]"#),
                format!(r#"{{"kind":"transaction:message:error","ts":1,"payload":{nested}}}"#),
            ] {
                check(body.as_bytes());
            }
        }
    }
}

/// Postgres would run out of room for the value, and fail the whole batch.
#[test]
fn the_elements_of_an_item_are_bounded() {
    for count in [999_998, 999_999] {
        let zeros = vec!["0"; count].join(",");
        let body = format!(r#"{{"kind":"subscriber:update","payload":[{zeros}]}}"#);
        check(body.as_bytes());
        let item = &normalize("pushpushgo", "s", body.as_bytes()).unwrap()[0];
        assert_eq!(item.storable, count == 999_998, "{count}");
    }
}

/// A body of two bytes an item would become as many rows.
#[test]
fn the_number_of_items_is_bounded() {
    let most = vec!["0"; MAX_ITEMS];
    let read = |body: &str| normalize("pushwoosh", "s", body.as_bytes()).map(|items| items.len());
    let array = format!("[{}]", most.join(","));
    assert_eq!(read(&array), Ok(MAX_ITEMS));
    assert_eq!(
        read(&format!("[0,{}]", most.join(","))),
        Err(Malformed::TooMany)
    );
    assert_eq!(read(&format!("[0]{array}")), Err(Malformed::TooMany));
    assert_eq!(read(&format!("{array}{{}}")), Err(Malformed::TooMany));
    assert_eq!(read(&"{}\n".repeat(MAX_ITEMS + 1)), Err(Malformed::TooMany));
    let wrapped = format!(r#"{{"events":[{{}},{}]}}"#, most.join(","));
    assert_eq!(read(&wrapped), Err(Malformed::TooMany));
}

/// Thousands of equal items, of fields, of digits: each takes no more than its turn.
#[test]
fn long_bodies_are_read_in_one_pass() {
    let item = r#"{"event_name":"Push Sent","timestamp":1723799271}"#;
    let many = format!("[{}]", vec![item; 20_000].join(","));
    let items = normalize("pushwoosh", "s", many.as_bytes()).unwrap();
    let ids: std::collections::HashSet<_> = items
        .iter()
        .map(|item| item.event.as_ref().unwrap().event_id)
        .collect();
    assert_eq!(ids.len(), 20_000);

    let fields: Vec<String> = (0..50_000).map(|n| format!("\"f{n}\":{n}")).collect();
    check(format!("{{{}}}", fields.join(",")).as_bytes());
    for digit in ["9", "0.1", "\\\\", "\\u0000", "\u{1f44b}"] {
        check(format!("{{\"kind\":\"{}\"}}", digit.repeat(100_000)).as_bytes());
        check(format!("[{}]", digit.repeat(100_000)).as_bytes());
    }
}
