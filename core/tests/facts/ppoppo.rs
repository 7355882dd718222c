use tidings_core::{Ulid, provider, time::Micros};

use crate::reading::{at, event, items, kind, stored};

const ULID: &str = "01J93XS9VVR000000000000001";
const MS: i64 = 1_727_782_496_123_000;

fn with(fields: &str) -> String {
    format!(r#"{{"event_id":"{ULID}",{fields}}}"#)
}

#[test]
fn ppoppo_event_id() {
    let id = |id: &str| {
        let body = format!(r#"{{"event_id":{id}}}"#);
        event("ppoppo", &body).event_id
    };
    let ulid = ULID.parse::<Ulid>().unwrap();
    assert_eq!(id(&format!("\"{ULID}\"")), Some(ulid));
    assert_eq!(id(&format!("\"{}\"", ULID.to_lowercase())), Some(ulid));
    // A prefix as the template ids have it: another id, at the ULID's time.
    let prefixed = id(&format!("\"evt_{ULID}\"")).unwrap();
    assert_ne!(prefixed, ulid);
    assert_eq!(prefixed.ms(), ulid.ms());
    // No ULID at all: opaque, and never refused.
    for opaque in [
        "\"0b8e7a5e-8f8b-4a83\"",
        "42",
        "\"81J93XS9VVR000000000000001\"",
    ] {
        assert_eq!(id(opaque).unwrap().ms(), 0);
    }
    for none in ["{}", r#"{"event_id":""}"#, r#"{"event_id":null}"#] {
        assert!(items("ppoppo", none)[0].event.is_err(), "{none}");
    }
}

#[test]
fn ppoppo_send_request_id() {
    for (value, expected) in [
        (
            r#""01J93XR0000000000000000000""#,
            Some("01J93XR0000000000000000000"),
        ),
        (r#""req_7""#, Some("req_7")),
        ("7", Some("7")),
        (r#""""#, None),
        ("null", None),
    ] {
        for name in ["send_request_id", "sendRequestId"] {
            let body = with(&format!(r#""{name}":{value}"#));
            assert_eq!(event("ppoppo", &body).request_id.as_deref(), expected);
        }
    }
}

#[test]
fn ppoppo_event_type() {
    for (word, expected) in [
        ("RECIPIENT_DELIVERED", "message.delivered"),
        ("RECIPIENT_FAILED", "message.failed"),
        ("RECIPIENT_PENDING_CONSENT", "consent.requested"),
        ("CONSENT_GRANTED", "consent.granted"),
        ("CONSENT_DENIED", "consent.denied"),
        ("REQUEST_COMPLETED", "request.completed"),
        ("POLL_RESPONSE_RECEIVED", "poll.answered"),
        ("REQUEST_FAILED", "request.failed"),
        ("RECIPIENT_READ", "other"),
        ("UNSPECIFIED", "other"),
    ] {
        let prefixed = format!("SEND_REQUEST_EVENT_TYPE_{word}");
        let rust: String = word
            .split('_')
            .map(|part| part[..1].to_owned() + &part[1..].to_lowercase())
            .collect();
        let lower = word.to_lowercase();
        for written in [word, &prefixed, &rust, &lower, &prefixed.to_lowercase()] {
            let body = with(&format!(r#""event_type":"{written}""#));
            let event = event("ppoppo", &body);
            assert_eq!(event.kind.as_str(), expected, "{written}");
            assert_eq!(event.provider_kind, written);
        }
    }
    // A number that this version does not know is kept.
    let body = with(r#""event_type":42"#);
    assert_eq!(kind("ppoppo", &body), "other");
    assert_eq!(event("ppoppo", &body).provider_kind, "42");
}

#[test]
fn ppoppo_recipient() {
    for body in [
        with(r#""recipient":{"ppnum":"12300000004","error_code":"E1","message_id":"m1"}"#),
        with(r#""recipient":{"ppnum":"12300000004","errorCode":"E1","messageId":"m1"}"#),
        with(r#""ppnum":"12300000004","error_code":"E1","message_id":"m1""#),
    ] {
        let event = event("ppoppo", &body);
        assert_eq!(event.recipient.as_deref(), Some("12300000004"));
        assert_eq!(event.error_code.as_deref(), Some("E1"));
        assert_eq!(event.message_id.as_deref(), Some("m1"));
    }
    // Absent, or with less or more than expected: the event stays. Consent and poll
    // events may come without one.
    for recipient in ["null", "{}", r#"{"ppnum":null}"#, "[]", r#""?""#] {
        let body = with(&format!(
            r#""event_type":"CONSENT_GRANTED","recipient":{recipient}"#
        ));
        assert_eq!(event("ppoppo", &body).recipient, None, "{recipient}");
    }
    let body = with(r#""recipient":{"ppnum":"1","device":{"os":"ios"}}"#);
    assert_eq!(stored("ppoppo", &body, "recipient")["device"]["os"], "ios");
}

/// In the contract a recipient who does not consent has failed, and the code says why.
#[test]
fn ppoppo_error_code() {
    for (code, expected) in [
        ("consent_denied", "consent.denied"),
        ("CONSENT_EXPIRED", "consent.expired"),
        ("consent_lost", "message.failed"),
        ("", "message.failed"),
    ] {
        let body = with(&format!(
            r#""event_type":"SEND_REQUEST_EVENT_TYPE_RECIPIENT_FAILED","recipient":{{"ppnum":"12300000004","error_code":"{code}"}}"#
        ));
        assert_eq!(kind("ppoppo", &body), expected, "{code}");
    }
    let other =
        with(r#""event_type":"RECIPIENT_DELIVERED","recipient":{"error_code":"consent_denied"}"#);
    assert_eq!(kind("ppoppo", &other), "message.delivered");
}

fn asked(part: &str, fields: &str) -> String {
    format!(r#"{{"reconciled":true,"send_request_id":"r","{part}":{{{fields}}}}}"#)
}

const CREATED: &str = r#""created_at":"2024-10-01T11:34:56.123Z""#;

#[test]
fn ppoppo_get_send_request_status() {
    for (part, status, code, expected) in [
        (
            "recipient",
            "RECIPIENT_DELIVERY_STATUS_DELIVERED",
            "",
            "message.delivered",
        ),
        ("recipient", "DELIVERED", "", "message.delivered"),
        (
            "recipient",
            "RECIPIENT_DELIVERY_STATUS_FAILED",
            "blocked",
            "message.failed",
        ),
        (
            "recipient",
            "RECIPIENT_DELIVERY_STATUS_FAILED",
            "consent_denied",
            "consent.denied",
        ),
        (
            "recipient",
            "RECIPIENT_DELIVERY_STATUS_FAILED",
            "consent_expired",
            "consent.expired",
        ),
        (
            "recipient",
            "RECIPIENT_DELIVERY_STATUS_PENDING_CONSENT",
            "",
            "consent.requested",
        ),
        (
            "recipient",
            "RECIPIENT_DELIVERY_STATUS_PENDING",
            "",
            "message.pending",
        ),
        ("recipient", "RECIPIENT_DELIVERY_STATUS_NEW", "", "other"),
        (
            "summary",
            "SEND_REQUEST_STATUS_COMPLETED",
            "",
            "request.completed",
        ),
        (
            "summary",
            "SEND_REQUEST_STATUS_FAILED",
            "",
            "request.failed",
        ),
        ("summary", "SEND_REQUEST_STATUS_PROCESSING", "", "other"),
    ] {
        let fields =
            format!(r#""ppnum":"12300000004","status":"{status}","error_code":"{code}",{CREATED}"#);
        let body = asked(part, &fields);
        let event = event("ppoppo", &body);
        assert_eq!(event.kind.as_str(), expected, "{status}");
        assert_eq!(
            event.provider_kind,
            format!("GetSendRequestStatus/{status}")
        );
        assert_eq!(event.request_id.as_deref(), Some("r"));
        // A recipient's status is older than its events; the outcome of a request is newer,
        // because it gets the time of its receipt.
        let is_outcome = expected.starts_with("request.");
        assert_eq!(event.occurred_at.is_none(), is_outcome, "{status}");
    }
    for bad in [
        asked("other", ""),
        r#"{"reconciled":true,"recipient":{}}"#.to_owned(),
    ] {
        assert!(items("ppoppo", &bad)[0].event.is_err(), "{bad}");
    }
}

/// The same answer, received again, is a duplicate; another answer is another event.
#[test]
fn ppoppo_answers_are_what_they_say() {
    let id = |fields: &str| {
        event("ppoppo", &asked("recipient", fields))
            .event_id
            .unwrap()
    };
    let all = [
        r#""ppnum":"1","status":"DELIVERED","message_id":"m""#,
        r#""ppnum":"2","status":"DELIVERED","message_id":"m""#,
        r#""ppnum":"1","status":"DELIVERED","message_id":"n""#,
        r#""ppnum":"1","status":"FAILED","error_code":"m""#,
        r#""ppnum":"1","status":"FAILED","error_code":"consent_denied""#,
    ];
    let ids: std::collections::HashSet<Ulid> = all.iter().map(|fields| id(fields)).collect();
    assert_eq!(ids.len(), all.len());
    let again =
        r#""message_id":"m","status":"RECIPIENT_DELIVERY_STATUS_DELIVERED","ppnum":"1","id":"x""#;
    assert_eq!(id(again), id(all[0]));
    let of_request = |fields: &str| {
        let body = asked("summary", &format!(r#""status":"COMPLETED"{fields}"#));
        event("ppoppo", &body).event_id.unwrap()
    };
    assert!(!ids.contains(&of_request("")));
    let counts = [
        "",
        r#","delivered":1"#,
        r#","failed":1"#,
        r#","pending_consent":1"#,
        r#","total_recipients":1"#,
        r#","delivered":2"#,
    ];
    let ids: std::collections::HashSet<Ulid> = counts.iter().map(|it| of_request(it)).collect();
    assert_eq!(ids.len(), counts.len());
    let again = r#","created_at":"2024-10-01T11:34:56Z","delivered":1"#;
    assert_eq!(of_request(again), of_request(counts[1]));
}

/// The time at which a recipient was asked for consent, as SQL reads it from what is stored.
#[test]
fn ppoppo_recipients_were_asked_at() {
    let asked_at = |recipient: &str| {
        let item = with(&format!(r#""recipient":{recipient}"#));
        let ppoppo = provider::find("ppoppo").unwrap();
        ppoppo.facts(&item).asked_at.map(Micros::get)
    };
    for name in ["created_at", "createdAt"] {
        for (value, expected) in [
            (r#""2024-10-01T11:34:56.123Z""#, Some(MS)),
            (r#""2024-10-01T13:34:56.123+02:00""#, Some(MS)),
            (r#"{"seconds":"1727782496","nanos":123000000}"#, Some(MS)),
            (r#"{"seconds":1727782496}"#, Some(MS - 123_000)),
            (r#""1970-01-01T00:00:00Z""#, None),
            (r#""0001-01-01T00:00:00Z""#, None),
            (r#"{"seconds":-1}"#, None),
            (r#"{"seconds":"9223372036854775807"}"#, None),
            ("{}", None),
            ("[]", None),
            (r#""soon""#, None),
            ("null", None),
        ] {
            let recipient = format!(r#"{{"ppnum":"1","{name}":{value}}}"#);
            assert_eq!(asked_at(&recipient), expected, "{value}");
        }
    }
    assert_eq!(asked_at(r#""12300000004""#), None);
    assert_eq!(asked_at("{}"), None);
}

#[test]
fn ppoppo_channel_messages() {
    let body = |from_app: &str, id: &str| {
        format!(
            r#"{{"channel_id":"c",{from_app}"message":{{"id":"{id}","sender_ppnum":"12300000004","content":"hello","type":"MESSAGE_TYPE_TEXT","created_at":"2024-10-01T11:34:56.123456Z"}}}}"#
        )
    };
    let text = body("", ULID);
    let written = event("ppoppo", &text);
    assert_eq!(written.event_id, Some(ULID.parse().unwrap()));
    assert_eq!(written.kind.as_str(), "inbound.received");
    assert_eq!(written.recipient.as_deref(), Some("12300000004"));
    assert_eq!(written.message_id.as_deref(), Some(ULID));
    assert_eq!(written.provider_kind, "MESSAGE_TYPE_TEXT");
    assert_eq!(at("ppoppo", &text), Some(MS + 456));
    assert_eq!(stored("ppoppo", &text, "message")["content"], "hello");
    // A message of the app itself is not inbound.
    let own = body(r#""from_app":true,"#, ULID);
    assert_eq!(kind("ppoppo", &own), "other");
    assert_eq!(event("ppoppo", &own).recipient, None);
    let opaque = body("", "m-1");
    assert_ne!(event("ppoppo", &opaque).event_id, written.event_id);
    let bare = format!(r#"{{"message":{{"id":"{ULID}"}}}}"#);
    assert_eq!(at("ppoppo", &bare), Some(MS));
    for none in [
        r#"{"message":{}}"#,
        r#"{"message":7}"#,
        r#"{"message":{"id":""}}"#,
    ] {
        assert!(items("ppoppo", none)[0].event.is_err(), "{none}");
    }
}

#[test]
fn ppoppo_summary() {
    let body =
        with(r#""event_type":"REQUEST_COMPLETED","summary":{"delivered":"2","failed":1,"x":0}"#);
    assert_eq!(kind("ppoppo", &body), "request.completed");
    let summary = stored("ppoppo", &body, "summary");
    assert_eq!(
        (&summary["delivered"], &summary["failed"]),
        (&"2".into(), &1.into())
    );
    for none in ["null", "[]"] {
        let body = with(&format!(
            r#""event_type":"REQUEST_COMPLETED","summary":{none}"#
        ));
        assert_eq!(kind("ppoppo", &body), "request.completed");
    }
}

#[test]
fn ppoppo_occurred_at() {
    let time = |value: &str| at("ppoppo", &with(&format!(r#""occurred_at":{value}"#)));
    let exact = Some(MS + 456);
    // RFC 3339, as the page says; or the Timestamp that a sibling message has.
    assert_eq!(time(r#""2024-10-01T11:34:56.123456Z""#), exact);
    assert_eq!(time(r#""2024-10-01T13:34:56.123456+02:00""#), exact);
    assert_eq!(time(r#"{"seconds":1727782496,"nanos":123456000}"#), exact);
    assert_eq!(time(r#"{"seconds":"1727782496","nanos":123456999}"#), exact);
    assert_eq!(time("1727782496123456"), exact);
    assert_eq!(
        at(
            "ppoppo",
            &with(r#""occurredAt":"2024-10-01T11:34:56.123456Z""#)
        ),
        exact
    );
    // Absent: the ULID says when.
    for none in [
        "null",
        r#""""#,
        "{}",
        r#""1970-01-01T00:00:00Z""#,
        r#""0001-01-01T00:00:00Z""#,
        "0",
        r#"{"seconds":0}"#,
        r#"{"seconds":-62135596800}"#,
        "-62135596800",
    ] {
        assert_eq!(time(none), Some(MS), "{none}");
    }
    assert_eq!(time(r#""1970-01-01T00:00:01Z""#), Some(1_000_000));
    let prefixed = format!(r#"{{"event_id":"evt_{ULID}"}}"#);
    assert_eq!(at("ppoppo", &prefixed), Some(MS));
    assert_eq!(at("ppoppo", r#"{"event_id":"evt_1"}"#), None);
}

/// What comes after an item is asked for by its id, also where the item is no event.
#[test]
fn ppoppo_cursor() {
    for (item, cursor) in [
        (r#"{"event_id": "e1"}"#, Some("e1")),
        (r#"{"eventId": "e1"}"#, Some("e1")),
        (r#"{"event_id": "e1", "occurred_at": "never"}"#, Some("e1")),
        (r#"{"event_id": ""}"#, None),
        (r#"{"event_id": 1}"#, None),
        (r#"{"event_type": "CONSENT_GRANTED"}"#, None),
        (
            r#"{"channel_id": "c", "message": {"id": "m1"}}"#,
            Some("m1"),
        ),
        (r#"{"message": {"id": 1}}"#, None),
        // An answer is not part of a stream.
        (
            r#"{"reconciled": true, "event_id": "e1", "recipient": {}}"#,
            None,
        ),
        ("1", None),
    ] {
        let body = format!("[{item}]");
        assert_eq!(
            items("ppoppo", &body)[0].cursor.as_deref(),
            cursor,
            "{item}"
        );
    }
}

#[test]
fn ppoppo_summary_as_sql_asks_for_it() {
    let facts = |item| provider::find("ppoppo").unwrap().facts(item);
    let item = r#"{"event_type": "REQUEST_COMPLETED", "summary": {"delivered": 2}}"#;
    assert_eq!(facts(item).summary, Some(r#"{"delivered": 2}"#));
    assert_eq!(facts(r#"{"summary": null}"#).summary, None);
    assert_eq!(facts("no JSON").summary, None);
}
