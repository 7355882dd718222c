//! Calls are as the page says, and the ledger's keys are found in them.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::*;
use crate::{draw::Purpose, mix::Provider};

const EVENTS: u32 = 20_000;

fn calls(seed: u64, duplicates: f64) -> Vec<Call> {
    let from = "2026-11-01T21:00:00Z".parse().unwrap();
    Calls::new(
        Draw::new(seed, Purpose::Arpoone),
        None,
        from,
        EVENTS,
        duplicates,
    )
    .collect()
}

/// As SQL reads it: names in any case.
fn field(item: &Value, names: &[&str]) -> Option<String> {
    let members = item.as_object().unwrap();
    names.iter().find_map(|name| {
        let mut found = members
            .iter()
            .filter(|(own, _)| own.eq_ignore_ascii_case(name));
        match found.next()?.1 {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    })
}

#[test]
fn arpoone_liberal_bodies_keep_their_keys() {
    let from = "2026-11-01T21:00:00Z".parse().unwrap();
    let draw = Draw::new(1, Purpose::Arpoone);
    let forms = Draw::new(1, Purpose::Forms(Provider::Arpoone));
    let calls: Vec<Call> = Calls::new(draw, Some(forms), from, EVENTS, 0.05).collect();
    let opened: Vec<&String> = calls
        .iter()
        .flat_map(|call| call.opened.iter().map(|entry| &entry.key))
        .collect();
    let distinct: HashSet<&&String> = opened.iter().collect();
    assert_eq!(
        (opened.len(), distinct.len()),
        (EVENTS as usize, EVENTS as usize)
    );
    let (mut bare, mut emails, mut inbound, mut untimed, mut names) = (0, 0, 0, 0, HashSet::new());
    for call in &calls {
        let items = match serde_json::from_slice(&call.body).unwrap() {
            Value::Array(items) => items,
            single => {
                bare += 1;
                vec![single]
            }
        };
        assert!((1..=1000).contains(&items.len()));
        assert_eq!(items.len(), call.numbers.len());
        for (item, &number) in items.iter().zip(&call.numbers) {
            let parts = [
                field(item, &["MessageId", "Id"]),
                field(item, &["Status", "EventType"]),
                field(
                    item,
                    &[
                        "ReportDateTime",
                        "Time",
                        "ReceiveDateTime",
                        "ReportDescription",
                    ],
                ),
            ];
            let key = parts.into_iter().flatten().collect::<Vec<_>>().join("|");
            assert_eq!(&key, opened[number as usize]);
            emails += usize::from(field(item, &["EventType"]).is_some());
            inbound += usize::from(field(item, &["Keyword"]).is_some());
            untimed += usize::from(field(item, &["ReportDateTime", "Time"]).is_none());
            names.extend(item.as_object().unwrap().keys().cloned());
        }
    }
    let counts = [bare, emails, inbound, untimed];
    assert!(counts.iter().all(|&count| count > 5), "{counts:?}");
    for name in [
        "MessageId",
        "messageId",
        "messageid",
        "EventType",
        "eventtype",
    ] {
        assert!(names.contains(name), "{name}");
    }
}

fn items(call: &Call) -> Vec<Value> {
    serde_json::from_slice(&call.body).unwrap()
}

fn key(item: &Value) -> String {
    let field = |name: &str| item[name].as_str().unwrap().to_owned();
    [field("MessageId"), field("Status"), field("ReportDateTime")].join("|")
}

#[test]
fn a_seed_gives_the_same_bytes() {
    assert_eq!(calls(1, 0.05), calls(1, 0.05));
    assert_ne!(calls(1, 0.05), calls(2, 0.05));
}

#[test]
fn arpoone_array_of_1_to_1000() {
    let mut sizes = HashSet::new();
    let mut odd_payloads = 0;
    for call in calls(1, 0.05) {
        let items = items(&call);
        assert!((1..=1000).contains(&items.len()));
        sizes.insert(items.len());
        for item in items {
            assert!(
                ["PENDING", "DELIVERED", "NOT_DELIVERED"]
                    .contains(&item["Status"].as_str().unwrap())
            );
            assert!(item["TotalSegments"].is_u64());
            for name in ["MessageId", "OrganizationId"] {
                let id: uuid::Uuid = item[name].as_str().unwrap().parse().unwrap();
                assert_eq!(id.get_version_num(), 4);
            }
            let payload = item.get("CustomPayload").and_then(Value::as_str);
            odd_payloads += usize::from(
                payload.is_some_and(|text| serde_json::from_str::<Value>(text).is_err()),
            );
        }
    }
    assert!(sizes.contains(&1) && sizes.contains(&2) && sizes.contains(&1000));
    assert!(odd_payloads > 0);
}

#[test]
fn numbers_lead_to_the_keys_in_the_body() {
    let calls = calls(4, 0.05);
    let opened: Vec<String> = calls
        .iter()
        .flat_map(|call| call.opened.iter().map(|entry| entry.key.clone()))
        .collect();
    let distinct: HashSet<&String> = opened.iter().collect();
    assert_eq!(
        (opened.len(), distinct.len()),
        (EVENTS as usize, EVENTS as usize)
    );
    let mut known = 0;
    let mut sent = HashSet::new();
    for call in &calls {
        known += call.opened.len();
        for (item, &number) in items(call).iter().zip(&call.numbers) {
            assert!((number as usize) < known, "used before it was opened");
            assert_eq!(key(item), opened[number as usize]);
            sent.insert(number);
        }
    }
    assert_eq!(sent.len(), EVENTS as usize, "every event is in some call");
}

#[test]
fn reports_of_an_sms_come_out_of_order_and_pending_repeats() {
    let mut finals = HashSet::new();
    let mut late_pending = 0;
    let mut seen: HashMap<String, u32> = HashMap::new();
    let mut by_message: HashMap<String, HashSet<String>> = HashMap::new();
    for call in calls(1, 0.05) {
        for item in items(&call) {
            let message = item["MessageId"].as_str().unwrap().to_owned();
            *seen.entry(key(&item)).or_default() += 1;
            if item["Status"] == "PENDING" {
                late_pending += usize::from(finals.contains(&message));
                let times = by_message.entry(message).or_default();
                times.insert(item["ReportDateTime"].as_str().unwrap().to_owned());
            } else {
                finals.insert(message);
            }
        }
    }
    assert!(late_pending > 100);
    assert!(
        seen.values().any(|&times| times > 1),
        "the same report again"
    );
    assert!(
        by_message.values().any(|times| times.len() > 1),
        "a later one of its kind"
    );
}

#[test]
fn no_duplicates_are_none() {
    let calls = calls(1, 0.0);
    assert!(calls.iter().all(|call| !call.again));
    let sent: usize = calls.iter().map(|call| call.numbers.len()).sum();
    assert_eq!(sent, EVENTS as usize);
}
