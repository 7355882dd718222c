use std::borrow::Cow;

use serde_json::{Value, json};
use tidings_core::provider;

use crate::reading::{at, event, kind, let_in, stored};

const PROJECT: &str = "5d411352784425000bd02a15";
const BODY: &str = r#"{"kind":"subscriber:subscribe","projectId":"5d411352784425000bd02a15","customId":"c1","ppgId":"p1"}"#;
const HEX: &str = "76f0823ba5b77649859f8d91fe352b24750dff62";
const BASE64: &str = "dvCCO6W3dkmFn42R/jUrJHUN/2I=";

fn message(fields: &Value) -> String {
    let mut body = json!({"kind": "transaction:message:clicked", "subscriberId": "p1",
                          "messageId": "m1", "ts": "2024-10-01T11:35:00Z"});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string()
}

#[test]
fn pushpushgo_kind() {
    for (word, expected) in [
        ("subscriber:update", "subscriber.updated"),
        ("subscriber:subscribe", "subscriber.subscribed"),
        ("subscriber:unsubscribe", "subscriber.unsubscribed"),
        ("transaction:message:delivered", "message.delivered"),
        ("transaction:message:clicked", "message.clicked"),
        ("transaction:message:rejected", "message.rejected"),
        ("transaction:message:error", "message.failed"),
        ("transaction:message:sent", "other"),
    ] {
        let body = message(&json!({"kind": word}));
        assert_eq!(kind("pushpushgo", &body), expected);
        assert_eq!(event("pushpushgo", &body).provider_kind, word);
    }
}

#[test]
fn pushpushgo_project_id() {
    assert_eq!(stored("pushpushgo", BODY, "projectId"), PROJECT);
}

/// `ppgId` and `subscriberId` are one subscriber; `customId` only where it is defined.
#[test]
fn pushpushgo_custom_id_ppg_id() {
    for custom in [json!("c1"), json!(""), json!(null), json!(7)] {
        let body = json!({"kind": "subscriber:update", "ppgId": "p1", "customId": custom});
        let body = body.to_string();
        assert_eq!(stored("pushpushgo", &body, "customId"), custom);
        let facts = provider::find("pushpushgo").unwrap().facts(&body);
        let said = match &custom {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        assert_eq!(facts.custom_id.map(Cow::into_owned), said);
        let subscriber = event("pushpushgo", &body).recipient.unwrap().into_owned();
        let message = message(&json!({}));
        assert_eq!(event("pushpushgo", &message).recipient.unwrap(), subscriber);
    }
    // Neither a time nor an id: each receipt is an event.
    assert_eq!(event("pushpushgo", BODY).event_id, None);
    assert_eq!(event("pushpushgo", BODY).occurred_at, None);
}

#[test]
fn pushpushgo_subscriber_id_message_id_provider_ts() {
    let body = message(&json!({"provider": "fcm_v1"}));
    let event = event("pushpushgo", &body);
    assert_eq!(event.recipient.as_deref(), Some("p1"));
    assert_eq!(event.message_id.as_deref(), Some("m1"));
    assert_eq!(stored("pushpushgo", &body, "provider"), "fcm_v1");
    // The page says ISO 8601; a sibling product sends milliseconds.
    for ts in [
        json!("2024-10-01T11:35:00Z"),
        json!("2024-10-01T11:35:00.000+00:00"),
        json!(1_727_782_500_000_i64),
        json!("1727782500000"),
    ] {
        let written = message(&json!({"ts": ts, "provider": "fcm_v1"}));
        assert_eq!(at("pushpushgo", &written), Some(1_727_782_500_000_000));
        assert_eq!(
            self::event("pushpushgo", &written).event_id,
            event.event_id,
            "{ts}"
        );
    }
    let untimed = message(&json!({"ts": null}));
    assert_eq!(at("pushpushgo", &untimed), None);
    assert!(self::event("pushpushgo", &untimed).event_id.is_some());
}

/// 0 is the notification, 1 and up a button: any integer, also as text.
#[test]
fn pushpushgo_click_action() {
    let id = |action: Value| {
        let body = message(&json!({ "clickAction": action }));
        assert_eq!(kind("pushpushgo", &body), "message.clicked");
        event("pushpushgo", &body).event_id.unwrap()
    };
    for action in [0, 1, 2, 3, 17] {
        assert_eq!(id(json!(action)), id(json!(action.to_string())));
        assert_ne!(id(json!(action)), id(json!(action + 1)));
        assert_ne!(id(json!(action)), id(json!(null)));
    }
}

#[test]
fn pushpushgo_reason() {
    let body = message(&json!({"kind": "transaction:message:rejected", "reason": "limit"}));
    assert_eq!(event("pushpushgo", &body).reason.as_deref(), Some("limit"));
}

#[test]
fn pushpushgo_error_payload() {
    for payload in [
        json!({"code": [410]}),
        json!([]),
        json!("x"),
        json!(0),
        json!(null),
    ] {
        let fields =
            json!({"kind": "transaction:message:error", "error": "gone", "payload": payload});
        let body = message(&fields);
        assert_eq!(kind("pushpushgo", &body), "message.failed");
        assert_eq!(event("pushpushgo", &body).reason.as_deref(), Some("gone"));
        assert_eq!(stored("pushpushgo", &body, "payload"), payload);
    }
}

/// Its encoding is not said: hex or base64, of either kind, over the bytes as sent.
#[test]
fn pushpushgo_signature() {
    let knock = |signature: &str, body: &str| {
        let headers = [("x-ppg-signature", signature)];
        let_in("pushpushgo", &["old", PROJECT], &[], body, &headers)
    };
    let url_safe = BASE64.replace('/', "_");
    for signature in [
        HEX,
        &HEX.to_uppercase(),
        &format!("sha1={HEX}"),
        BASE64,
        BASE64.trim_end_matches('='),
        &url_safe,
        url_safe.trim_end_matches('='),
    ] {
        assert!(knock(signature, BODY), "{signature}");
        assert!(!knock(signature, &BODY.replace("c1", "c2")));
        assert!(!knock(signature, &BODY.replace(',', ", ")));
    }
    assert!(!knock(&HEX[..20], BODY));
    assert!(!knock("", BODY));
}

/// It stands in every site's script: a token in the URL proves the origin, on top.
#[test]
fn pushpushgo_project_id_is_not_a_secret() {
    let signed = ("x-ppg-signature", HEX);
    let knock =
        |headers: &[(&str, &str)]| let_in("pushpushgo", &[PROJECT], &["t0ken"], BODY, headers);
    assert!(knock(&[signed, ("url-token", "t0ken")]));
    assert!(!knock(&[signed]));
    assert!(!knock(&[("url-token", "t0ken")]));
}
