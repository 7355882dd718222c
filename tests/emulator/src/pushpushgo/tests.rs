//! Bodies, signatures and keys.

use std::collections::HashSet;

use serde_json::Value;

use super::*;
use crate::{draw::Purpose, mix::Provider};

const PROJECT: &str = "5d411352784425000bd02a15";

fn calls(seed: u64) -> Vec<Call> {
    let from = "2026-11-01T21:00:00Z".parse().unwrap();
    let draw = Draw::new(seed, Purpose::Pushpushgo);
    Calls::new(draw, None, from, 3000, 0.05, PROJECT)
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
    let draw = Draw::new(1, Purpose::Pushpushgo);
    let mut calls = Calls::new(draw, None, from, 1, 0.0, PROJECT).unwrap();
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

fn liberal() -> Vec<Call> {
    let from = "2026-11-01T21:00:00Z".parse().unwrap();
    let draw = Draw::new(1, Purpose::Pushpushgo);
    let forms = Draw::new(1, Purpose::Forms(Provider::Pushpushgo));
    Calls::new(draw, Some(forms), from, 3000, 0.05, PROJECT)
        .unwrap()
        .collect()
}

#[test]
fn pushpushgo_signature_encodings() {
    let body = format!(
        r#"{{"kind":"subscriber:subscribe","projectId":"{PROJECT}","customId":"c1","ppgId":"p1"}}"#
    );
    let mut signer = Hmac::<Sha1>::new_from_slice(PROJECT.as_bytes()).unwrap();
    signer.update(body.as_bytes());
    let mac = signer.finalize().into_bytes();
    let mut forms = Draw::new(1, Purpose::Forms(Provider::Pushpushgo));
    let made: HashSet<String> = (0..500)
        .map(|_| liberal::signature(&mac, &mut forms))
        .collect();
    // Computed elsewhere, for this body and this key.
    for known in [
        "76f0823ba5b77649859f8d91fe352b24750dff62",
        "76F0823BA5B77649859F8D91FE352B24750DFF62",
        "dvCCO6W3dkmFn42R/jUrJHUN/2I=",
        "dvCCO6W3dkmFn42R/jUrJHUN/2I",
        "dvCCO6W3dkmFn42R_jUrJHUN_2I=",
        "dvCCO6W3dkmFn42R_jUrJHUN_2I",
    ] {
        assert!(made.contains(known), "{known}");
        assert!(made.contains(&format!("sha1={known}")), "sha1={known}");
    }
    assert_eq!(made.len(), 12);
}

#[test]
fn every_liberal_form_is_written() {
    let bodies: Vec<Value> = liberal()
        .iter()
        .map(|call| serde_json::from_slice(&call.body).unwrap())
        .collect();
    let forms: [fn(&Value) -> bool; 8] = [
        |body| body["ts"].is_i64(),
        |body| body["ts"].as_str().is_some_and(|ts| ts.contains("+00:00")),
        |body| body.get("ts").is_none() && body.get("messageId").is_some(),
        |body| body["clickAction"] == 3,
        |body| body["clickAction"] == "1",
        |body| body["payload"].is_string(),
        |body| body["payload"].is_array(),
        |body| body["customId"] == "" || body.get("customId") == Some(&Value::Null),
    ];
    for (nth, form) in forms.iter().enumerate() {
        assert!(bodies.iter().any(form), "{nth}");
    }
}

#[test]
fn pushpushgo_single_object_per_request() {
    for call in calls(1).iter().chain(&liberal()) {
        assert_eq!(call.numbers.len(), 1);
        assert!(
            serde_json::from_slice::<Value>(&call.body)
                .unwrap()
                .is_object()
        );
    }
}

#[test]
fn keys_are_what_sql_makes_of_the_body() {
    check_keys(calls(1));
    check_keys(liberal());
}

fn check_keys(calls: Vec<Call>) {
    let mut keys = HashSet::new();
    for call in calls {
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
