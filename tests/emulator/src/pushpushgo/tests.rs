//! Bodies, signatures and keys.

use std::collections::HashSet;

use serde_json::Value;

use super::*;
use crate::draw::Purpose;

const PROJECT: &str = "5d411352784425000bd02a15";

fn calls(seed: u64) -> Vec<Call> {
    let from = "2026-11-01T21:00:00Z".parse().unwrap();
    let draw = Draw::new(seed, Purpose::Pushpushgo);
    Calls::new(draw, from, 3000, 0.05, PROJECT)
        .unwrap()
        .collect()
}

#[test]
fn a_seed_gives_the_same_bytes() {
    assert_eq!(calls(1), calls(1));
    assert_ne!(calls(1), calls(2));
}

#[test]
fn the_signature_is_hex_over_the_raw_body() {
    let from = "2026-11-01T21:00:00Z".parse().unwrap();
    let calls = Calls::new(Draw::new(1, Purpose::Pushpushgo), from, 1, 0.0, PROJECT).unwrap();
    let body = format!(
        r#"{{"kind":"subscriber:subscribe","projectId":"{PROJECT}","customId":"c1","ppgId":"p1"}}"#
    );
    // Computed elsewhere, for this body and this key.
    assert_eq!(
        calls.sign(&body).unwrap(),
        "76f0823ba5b77649859f8d91fe352b24750dff62"
    );
}

#[test]
fn all_seven_kinds_are_as_the_page_says() {
    let mut kinds = HashSet::new();
    for call in calls(1) {
        let body: Value = serde_json::from_slice(&call.body).unwrap();
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        let kind = text("kind").to_owned();
        assert_eq!(text("projectId"), PROJECT);
        assert!(call.header.is_some());
        let subscriber = kind.starts_with("subscriber:");
        for name in ["subscriberId", "messageId", "provider", "ts"] {
            assert_eq!(text(name).is_empty(), subscriber, "{kind} {name}");
        }
        assert_eq!(text("ppgId").is_empty(), !subscriber);
        assert_eq!(body["clickAction"].is_u64(), kind.ends_with(":clicked"));
        assert_eq!(body["reason"].is_string(), kind.ends_with(":rejected"));
        assert_eq!(body["error"].is_string(), kind.ends_with(":error"));
        assert_eq!(body["payload"].is_object(), kind.ends_with(":error"));
        kinds.insert(kind);
    }
    assert_eq!(kinds.len(), 7, "{kinds:?}");
}

#[test]
fn keys_are_what_sql_makes_of_the_body() {
    let mut keys = HashSet::new();
    for call in calls(1) {
        let body: Value = serde_json::from_slice(&call.body).unwrap();
        let part = |name: &str| match &body[name] {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        let parts = [
            part("kind"),
            part("messageId").or(part("customId")),
            part("ts"),
            part("clickAction"),
        ];
        let key = parts.into_iter().flatten().collect::<Vec<_>>().join("|");
        let [entry] = call.opened.as_slice() else {
            panic!("one event a call")
        };
        assert_eq!(entry.key, key);
        assert!(entry.timeless || keys.insert(key), "identity is unique");
        assert!(!(entry.timeless && call.again), "never repeated on purpose");
    }
}
