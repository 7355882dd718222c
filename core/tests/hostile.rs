//! Whatever arrives, a body becomes items or says why not, and what is called storable
//! can be stored.

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
use serde_json::Value;
use support::{PROVIDERS, normalize};
use tidings_core::{Event, Item, ItemError, Malformed, json::MAX_ITEMS, provider, signature};

fn fail(reason: impl Into<String>) -> TestCaseError {
    TestCaseError::fail(reason.into())
}

/// What must hold of any body, for every provider.
fn check(body: &[u8]) -> Result<(), TestCaseError> {
    for provider in PROVIDERS {
        let result = normalize(provider, "s", body);
        prop_assert_eq!(&result, &normalize(provider, "s", body));
        match result {
            Ok(items) => {
                for (ordinal, item) in (1..).zip(&items) {
                    prop_assert_eq!(item.ordinal, ordinal);
                    check_item(body, item)?;
                }
            }
            Err(malformed) => check_message(&malformed.to_string())?,
        }
    }
    Ok(())
}

fn check_item(body: &[u8], item: &Item<'_>) -> Result<(), TestCaseError> {
    let range = body.as_ptr_range();
    prop_assert!(
        range.contains(&item.text.as_ptr()),
        "the text is a slice of the body"
    );
    if item.storable {
        let value: Value = serde_json::from_str(item.text)
            .map_err(|error| fail(format!("{error}: {}", item.text)))?;
        prop_assert!(!has_nul(&value), "U+0000 in {}", item.text);
    }
    match &item.event {
        Ok(event) => {
            prop_assert!(item.storable);
            check_event(event)
        }
        Err(error) => {
            let not_storable = matches!(error, ItemError::NotStorable(_));
            prop_assert_eq!(item.storable, !not_storable);
            check_message(&error.to_string())
        }
    }
}

fn check_event(event: &Event<'_>) -> Result<(), TestCaseError> {
    let optional = [
        &event.channel,
        &event.request_id,
        &event.message_id,
        &event.recipient,
        &event.campaign,
        &event.error_code,
        &event.reason,
    ];
    let texts = optional.into_iter().flatten().chain([&event.provider_kind]);
    for text in texts {
        prop_assert!(!text.is_empty() && !text.contains('\0'), "{:?}", text);
    }
    // Without both, the event cannot meet itself; with one alone it would not be found.
    prop_assert_eq!(event.event_id.is_some(), event.occurred_at.is_some());
    if let Some(at) = event.occurred_at {
        prop_assert!(
            (0..=253_402_300_799_999_999).contains(&at.get()),
            "{:?}",
            at
        );
    }
    Ok(())
}

/// A reason becomes a text column, and a line of a log.
fn check_message(message: &str) -> Result<(), TestCaseError> {
    prop_assert!(!message.is_empty() && message.len() < 300, "{:?}", message);
    prop_assert!(!message.contains(char::is_control), "{:?}", message);
    Ok(())
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1024) })]

    #[test]
    fn any_bytes(body in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&body)?;
    }

    #[test]
    fn any_text(body in "\\PC{0,200}") {
        check(body.as_bytes())?;
    }

    #[test]
    fn pieces_of_json(pieces in prop::collection::vec(prop::sample::select(PIECES.as_slice()), 0..40)) {
        check(pieces.concat().as_bytes())?;
    }

    #[test]
    fn any_json(values in prop::collection::vec(json(), 0..4)) {
        check(values.concat().as_bytes())?;
        check(format!("[{}]", values.join(",")).as_bytes())?;
        check(format!("{{\"events\":[{}]}}", values.join(",")).as_bytes())?;
    }

    #[test]
    fn items_with_fields_of_any_form(items in prop::collection::vec(misfit(), 1..4)) {
        check(format!("[{}]", items.join(",")).as_bytes())?;
        check(items.join("\n").as_bytes())?;
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
        check(&body)?;
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
        name in prop::sample::select(vec!["url_token", "allow_unauthenticated", "endpoint", "overlap", "timezone", "x"]),
        value in json(),
    ) {
        if let Ok(value) = serde_json::from_str::<Value>(&value) {
            let options = [(name.to_owned(), value)].into_iter().collect();
            for provider in provider::ALL {
                if let Err(error) = provider.check_options(&options) {
                    check_message(&error.to_string())?;
                }
            }
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
    assert!(payloads.len() >= 4 * 12);
    for body in payloads {
        for end in 0..=body.len() {
            check(&body[..end]).unwrap();
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
                check(body.as_bytes()).unwrap();
            }
        }
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
    let wrapped = format!(r#"{{"events":[0,{}]}}"#, most.join(","));
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
    check(format!("{{{}}}", fields.join(",")).as_bytes()).unwrap();
    for digit in ["9", "0.1", "\\\\", "\\u0000", "\u{1f44b}"] {
        check(format!("{{\"kind\":\"{}\"}}", digit.repeat(100_000)).as_bytes()).unwrap();
        check(format!("[{}]", digit.repeat(100_000)).as_bytes()).unwrap();
    }
}
