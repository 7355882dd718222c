use serde_json::json;

use crate::reading::{at, event, items, kind, let_in, stored};

const PAGE: &str = include_str!("../../testdata/pushwoosh/page.json");

fn with(fields: &str) -> String {
    format!(r#"{{"event_name":"Push Sent","timestamp":1723799271,{fields}}}"#)
}

/// The page says "Authentication: No", and has a field for the whole header value.
#[test]
fn pushwoosh_auth() {
    let knock = |secrets: &[&str], value: &str| {
        let headers = [("authorization", value)];
        let_in("pushwoosh", secrets, &[], PAGE, &headers)
    };
    for secret in ["Bearer t0ken", "Basic dXNlcjpwYXNz", "plain"] {
        assert!(knock(&[secret], secret));
        assert!(knock(&["Bearer old", secret], secret));
        for wrong in ["", "Bearer", "bearer t0ken", "Bearer t0ken ", "t0ken"] {
            assert!(!knock(&[secret], wrong), "{wrong}");
        }
    }
    assert!(!let_in("pushwoosh", &["Bearer t0ken"], &[], PAGE, &[]));
    assert!(!let_in("pushwoosh", &[], &[], PAGE, &[]));
}

/// From 100 events on a batch is sent; it may be much more.
#[test]
fn pushwoosh_batching() {
    for count in [1, 100, 1000, 5000] {
        let batch = format!("[{}]", vec![with(r#""n":1"#); count].join(","));
        let mut ids: Vec<_> = items("pushwoosh", &batch)
            .into_iter()
            .map(|item| item.event.unwrap().event_id.unwrap())
            .collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}

#[test]
fn pushwoosh_body_shape() {
    let (a, b) = (with(r#""n":1"#), with(r#""n":2"#));
    let ids = |body: &str| -> Vec<_> {
        items("pushwoosh", body)
            .into_iter()
            .map(|item| item.event.unwrap().event_id)
            .collect()
    };
    assert_eq!(ids(&a).len(), 1);
    let two = ids(&format!("[{a},{b}]"));
    for body in [
        format!("{a}\n{b}\n"),
        format!("{a}{b}"),
        format!("[{a}]\n[{b}]"),
        format!(r#"{{"events":[{a},{b}]}}"#),
        format!(r#"{{"data":[{a},{b}],"count":2}}"#),
        format!("{{\"items\":[{a}]}}\n{{\"items\":[{b}]}}"),
    ] {
        assert_eq!(ids(&body), two, "{body}");
    }
}

/// By HTTP there is no id: the bytes are the identity.
#[test]
fn pushwoosh_uuid_in_http_body() {
    let id = |body: &str| event("pushwoosh", body).event_id.unwrap();
    assert_eq!(id(PAGE), id(PAGE));
    assert_ne!(id(PAGE), id(&PAGE.replace("961048", "961049")));
}

/// By gRPC there is one, and nothing else tells events apart.
#[test]
fn pushwoosh_uuid() {
    let id = |fields: &str| event("pushwoosh", &with(fields)).event_id.unwrap();
    assert_eq!(id(r#""uuid":"u1","n":1"#), id(r#""n":2,"uuid":"u1""#));
    assert_ne!(id(r#""uuid":"u1""#), id(r#""uuid":"u2""#));
    assert_ne!(id(r#""uuid":"","n":1"#), id(r#""uuid":"","n":2"#));
}

#[test]
fn pushwoosh_event_name() {
    for (name, expected) in [
        ("Push Sent", "message.sent"),
        ("Email Sent", "message.sent"),
        ("Email Delivered", "message.delivered"),
        ("Email Opened", "message.opened"),
        ("Email Bounced", "message.bounced"),
        ("Email Soft Bounced", "message.pending"),
        ("Next Year's Event", "other"),
    ] {
        let body = json!({"event_name": name, "timestamp": 1}).to_string();
        assert_eq!(kind("pushwoosh", &body), expected);
        assert_eq!(event("pushwoosh", &body).provider_kind, name);
    }
}

/// Above 2^53, where a double would be another message.
#[test]
fn pushwoosh_message_id() {
    for value in ["18446744073709551615", r#""18446744073709551615""#] {
        let body = with(&format!(r#""message_id":{value}"#));
        let id = event("pushwoosh", &body).message_id.unwrap();
        assert_eq!(id, "18446744073709551615");
    }
}

#[test]
fn pushwoosh_message_code() {
    let code = "E682-E6D92B9A-53E24868";
    assert_eq!(event("pushwoosh", PAGE).message_id.as_deref(), Some(code));
    // It names the message where there is a number as well.
    let body = with(&format!(r#""message_id":7,"message_code":"{code}""#));
    assert_eq!(event("pushwoosh", &body).message_id.as_deref(), Some(code));
}

#[test]
fn pushwoosh_campaign_id() {
    for value in ["961048", r#""961048""#] {
        let body = with(&format!(r#""campaign_id":{value}"#));
        assert_eq!(
            event("pushwoosh", &body).campaign.as_deref(),
            Some("961048")
        );
    }
}

#[test]
fn pushwoosh_platform() {
    let channel = |platform: &str| {
        let body = with(&format!(r#""platform":"{platform}""#));
        event("pushwoosh", &body).channel.unwrap().into_owned()
    };
    for platform in [
        "iOS",
        "Android",
        "macOS",
        "Windows",
        "Amazon",
        "Safari",
        "Chrome",
        "Firefox",
        "Internet Explorer",
        "Baidu",
        "Huawei",
        "Xiaomi",
    ] {
        assert_eq!(channel(platform), "push");
        assert_eq!(channel(&platform.to_uppercase()), "push");
    }
    for platform in ["Email", "SMS", "Line", "WhatsApp", "Fax"] {
        assert_eq!(channel(platform), platform.to_lowercase());
    }
}

/// A string that may be JSON or not, or anything else.
#[test]
fn pushwoosh_payload() {
    assert_eq!(
        stored("pushwoosh", PAGE, "payload"),
        "Welcome to Headway! 👋"
    );
    for payload in [json!("{\"a\":1}"), json!({"a": [1]}), json!(7), json!(null)] {
        let body = with(&format!(r#""payload":{payload}"#));
        assert_eq!(stored("pushwoosh", &body, "payload"), payload);
    }
}

#[test]
fn pushwoosh_application_code() {
    assert_eq!(stored("pushwoosh", PAGE, "application_code"), "32E5A-9B411");
}

#[test]
fn pushwoosh_hwid() {
    let event = event("pushwoosh", PAGE);
    assert_eq!(event.recipient.as_deref(), Some("irun4716@gmail.com"));
}

#[test]
fn pushwoosh_user_id() {
    assert_eq!(stored("pushwoosh", PAGE, "user_id"), "1894410");
    for value in ["1894410", r#""1894410""#] {
        let body = with(&format!(r#""user_id":{value}"#));
        assert_eq!(
            event("pushwoosh", &body).recipient.as_deref(),
            Some("1894410")
        );
    }
}

#[test]
fn pushwoosh_timestamp() {
    let time = |value: &str| {
        let body = format!(r#"{{"event_name":"Push Sent","timestamp":{value}}}"#);
        at("pushwoosh", &body)
    };
    let seconds = Some(1_723_799_271_000_000);
    assert_eq!(time("1723799271"), seconds);
    assert_eq!(time("1.723799271E9"), seconds);
    assert_eq!(time(r#""1723799271""#), seconds);
    assert_eq!(time("1723799271000"), seconds);
    assert_eq!(time(r#""2024-08-16T09:07:51Z""#), seconds);
    for absent in ["null", r#""""#] {
        assert_eq!(time(absent), None);
    }
}

#[test]
fn pushwoosh_journey_title_journey_point_title() {
    assert_eq!(stored("pushwoosh", PAGE, "journey_title"), "");
    let point = stored("pushwoosh", PAGE, "journey_point_title");
    assert_eq!(point, "5_Welcome_ID_new");
}

/// Live activity events contain only metadata.
#[test]
fn pushwoosh_live_activity_id() {
    for body in [
        r#"{"event_name":"Live Activity Updated","live_activity_id":"la-1"}"#,
        r#"{"live_activity_id":"la-1","timestamp":1723799271}"#,
    ] {
        assert_eq!(kind("pushwoosh", body), "other");
        assert!(event("pushwoosh", body).event_id.is_some());
        assert_eq!(stored("pushwoosh", body, "live_activity_id"), "la-1");
    }
}
