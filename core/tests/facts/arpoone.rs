use serde_json::json;

use crate::reading::{at, event, items, items_with, kind, let_in, stored};

const LEAST: &str = r#""Msisdn":"351913462111","Status":"DELIVERED","MessageId":"8f14e45f-ceea-467f-a1d2-91f8a7b3c6d5","OrganizationId":"5b3a1c7e-2d49-4f80-9c6b-0e1f2a3b4c5d""#;

fn with(fields: &str) -> String {
    format!("{{{LEAST},{fields}}}")
}

#[test]
fn arpoone_msisdn() {
    for number in ["351913462111", "+351913462111"] {
        let body = json!([{"Msisdn": number, "Status": "PENDING", "MessageId": "m1"}]);
        assert_eq!(
            event("arpoone", &body.to_string()).recipient.as_deref(),
            Some(number)
        );
    }
}

#[test]
fn arpoone_status() {
    for (status, expected) in [
        ("DELIVERED", "message.delivered"),
        ("NOT_DELIVERED", "message.failed"),
        ("PENDING", "message.pending"),
        ("Delivered", "message.delivered"),
        ("QUEUED", "other"),
    ] {
        let body = json!([{"Status": status, "MessageId": "m1"}]).to_string();
        assert_eq!(kind("arpoone", &body), expected);
        assert_eq!(event("arpoone", &body).provider_kind, status);
    }
}

/// One message has several states: its id alone is no identity.
#[test]
fn arpoone_message_id() {
    let body = r#"[{"MessageId":"m1","Status":"PENDING"},{"MessageId":"m1","Status":"DELIVERED"},
                   {"MessageId":"m1","Status":"PENDING","ReportDateTime":"2024-10-01T11:34:56Z"}]"#;
    let ids: Vec<_> = items("arpoone", body)
        .into_iter()
        .map(|item| {
            let event = item.event.unwrap();
            assert_eq!(event.message_id.as_deref(), Some("m1"));
            event.event_id.unwrap()
        })
        .collect();
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
}

/// Kept as sent; not demanded, and no part of the identity.
#[test]
fn arpoone_organization_id() {
    let body = format!("{{{LEAST}}}");
    let organization = stored("arpoone", &body, "OrganizationId");
    assert_eq!(organization, "5b3a1c7e-2d49-4f80-9c6b-0e1f2a3b4c5d");
    assert!(
        items("arpoone", r#"{"MessageId":"m1","Status":"PENDING"}"#)[0]
            .event
            .is_ok()
    );
}

#[test]
fn arpoone_report_description() {
    for (value, expected) in [
        (r#""Absent subscriber""#, Some("Absent subscriber")),
        ("27", Some("27")),
        (r#""""#, None),
        ("null", None),
    ] {
        let body = with(&format!(r#""ReportDescription":{value}"#));
        assert_eq!(event("arpoone", &body).reason.as_deref(), expected);
    }
}

#[test]
fn arpoone_report_date_time() {
    let time = |value: &str| at("arpoone", &with(&format!(r#""ReportDateTime":{value}"#)));
    let second = 1_727_782_496_000_000;
    for (digits, micros) in [
        ("", 0),
        (".1", 100_000),
        (".123", 123_000),
        (".1234567", 123_456),
    ] {
        for offset in ["", "Z", "+00:00"] {
            let value = format!(r#""2024-10-01T11:34:56{digits}{offset}""#);
            assert_eq!(time(&value), Some(second + micros), "{value}");
        }
    }
    for value in [
        r#""2024-10-01 11:34:56""#,
        r#""2024-10-01T12:34:56+01:00""#,
        r#""/Date(1727782496000)/""#,
        r#""/Date(1727782496000+0100)/""#,
        "1727782496",
        "1727782496000",
        "638633792960000000",
    ] {
        assert_eq!(time(value), Some(second), "{value}");
    }
    for none in [
        "null",
        r#""""#,
        r#""0001-01-01T00:00:00""#,
        r#""/Date(-62135596800000)/""#,
        r#""1/1/0001 12:00:00 AM""#,
        r#""1\/1\/0001 00:00:00""#,
        r#""01/01/0001 00:00:00""#,
        r#""01.01.0001 00:00:00""#,
        "-62135596800",
        "-62135596800000",
        r#""-62135596800""#,
    ] {
        assert_eq!(time(none), None, "{none}");
    }
    // Digits alone are a number only where they can be no date.
    for digits in ["20241001", "202410011134", "20241001113456"] {
        for written in [digits.to_owned(), format!(r#""{digits}""#)] {
            let body = with(&format!(r#""ReportDateTime":{written}"#));
            let error = items("arpoone", &body)[0].event.clone().unwrap_err();
            assert!(error.to_string().contains("time_format"), "{error}");
        }
    }
    // What the page leaves open, the source's options say.
    for (options, written) in [
        (r#"{"timezone":"Europe/Lisbon"}"#, "2024-10-01T12:34:56"),
        (
            r#"{"time_format":"%d/%m/%Y %H:%M:%S"}"#,
            "01/10/2024 11:34:56",
        ),
    ] {
        let body = with(&format!(r#""ReportDateTime":"{written}""#));
        let event = items_with("arpoone", options, &body)[0]
            .event
            .clone()
            .unwrap();
        assert_eq!(event.occurred_at.unwrap().get(), second);
    }
}

#[test]
fn arpoone_total_segments() {
    for value in ["2", r#""2""#, "null"] {
        let body = with(&format!(r#""TotalSegments":{value}"#));
        let expected: serde_json::Value = serde_json::from_str(value).unwrap();
        assert_eq!(stored("arpoone", &body, "TotalSegments"), expected);
    }
}

/// An echo, not necessarily JSON: the page's own sample is broken JSON.
#[test]
fn arpoone_custom_payload() {
    for payload in ["{\"abc\": \"123\"}", "{\"abc\": \"123\"", "order 7 👋", ""] {
        let body = with(&format!(r#""CustomPayload":{}"#, json!(payload)));
        assert_eq!(stored("arpoone", &body, "CustomPayload"), payload);
    }
    for other in [json!({"abc": 123}), json!(null)] {
        let body = with(&format!(r#""CustomPayload":{other}"#));
        assert_eq!(stored("arpoone", &body, "CustomPayload"), other);
    }
}

/// No event id, no signature, no header: a token in the URL is the secret.
#[test]
fn arpoone_no_signature() {
    let body = format!("[{{{LEAST}}}]");
    let knock = |headers: &[(&str, &str)]| let_in("arpoone", &["t0ken"], &[], &body, headers);
    assert!(knock(&[("url-token", "t0ken")]));
    assert!(!knock(&[("url-token", "T0ken")]));
    assert!(!knock(&[("authorization", "t0ken")]));
    assert!(!let_in("arpoone", &[], &[], &body, &[]));
}

/// A receiver in the field met one object in camelCase, then an array in `PascalCase`.
#[test]
fn arpoone_object_or_array_in_any_case() {
    let pascal = r#"[{"Msisdn":"1","Status":"DELIVERED","MessageId":"m1","OrganizationId":"o"}]"#;
    let camel = r#"{"msisdn":"1","status":"DELIVERED","messageId":"m1","organizationId":"o"}"#;
    assert_eq!(event("arpoone", pascal), event("arpoone", camel));
}

#[test]
fn arpoone_email_webhook() {
    for (word, expected) in [
        ("bounced", "message.bounced"),
        ("clicked", "message.clicked"),
        ("opened", "message.opened"),
        ("spam", "message.complained"),
        ("unsubscribed", "message.unsubscribed"),
        ("blocked", "message.rejected"),
        ("Opened", "message.opened"),
        ("paused", "other"),
    ] {
        let body = json!([{"EventType": word, "Email": "a@example.com", "MessageId": "m1",
                           "Time": 1_727_782_496, "EventDetails": {"Reason": "r"}}])
        .to_string();
        let event = event("arpoone", &body);
        assert_eq!(event.kind.as_str(), expected);
        assert_eq!(event.provider_kind, word);
        assert_eq!(event.channel.as_deref(), Some("email"));
        assert_eq!(event.recipient.as_deref(), Some("a@example.com"));
        assert_eq!(event.message_id.as_deref(), Some("m1"));
        assert_eq!(event.reason.as_deref(), Some("r"));
    }
    // The unit of its time is not said.
    for time in ["1727782496", "1727782496000", "1727782496000000"] {
        let body = format!(r#"{{"EventType":"opened","MessageId":"m1","Time":{time}}}"#);
        assert_eq!(at("arpoone", &body), Some(1_727_782_496_000_000));
    }
}

#[test]
fn arpoone_inbound_sms() {
    let body = r#"[{"Id":"8f14e45f","OrganizationId":"o","ReceiveDateTime":"2024-10-01T11:34:56",
                    "From":"351913462111","To":"4949","Keyword":"STOP","Text":"STOP now",
                    "Encoding":0,"Mcc":268,"Mnc":6,"TotalSegments":1}]"#;
    let event = event("arpoone", body);
    assert_eq!(event.kind.as_str(), "inbound.received");
    assert_eq!(event.channel.as_deref(), Some("sms"));
    assert_eq!(event.recipient.as_deref(), Some("351913462111"));
    assert_eq!(event.message_id.as_deref(), Some("8f14e45f"));
    assert_eq!(event.occurred_at.unwrap().get(), 1_727_782_496_000_000);
    assert_eq!(stored("arpoone", body, "Text"), "STOP now");
}

/// Up to a thousand, of all kinds, each by itself.
#[test]
fn arpoone_array_of_1000() {
    let state = r#"{"MessageId":"m1","Status":"PENDING"}"#;
    let email = r#"{"MessageId":"m1","EventType":"opened"}"#;
    let inbound = r#"{"Id":"i1","From":"1","Text":"x"}"#;
    let body = format!("[{}]", [state, email, inbound, "{}"].repeat(250).join(","));
    let items = items("arpoone", &body);
    assert_eq!(items.len(), 1000);
    for four in items.chunks(4) {
        let kinds = four
            .iter()
            .map(|item| item.event.as_ref().ok().map(|event| event.kind.as_str()));
        let expected = [
            Some("message.pending"),
            Some("message.opened"),
            Some("inbound.received"),
            None,
        ];
        assert!(kinds.eq(expected));
    }
}
