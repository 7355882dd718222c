//! What the properties mean for each provider, case by case.

use tidings_core::Ulid;

use crate::support::normalize;

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
    let with_others = format!(r#"[{{"event_name":"Push Opened","timestamp":1}},{PUSH},{PUSH}]"#);
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
            "arpoone",
            r#""MessageId":"m1","EventType":"opened""#,
            "EventDetails",
        ),
        (
            "arpoone",
            r#""MessageId":"m1","EventType":"opened""#,
            "Email",
        ),
        (
            "pushpushgo",
            r#""kind":"transaction:message:clicked","messageId":"m1","subscriberId":"p1","ts":1727782496123"#,
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
                r#"{{"kind":"transaction:message:delivered","messageId":"m1","subscriberId":"p1","ts":{ts}}}"#
            ),
        )
    };
    let ts = pushpushgo("1727782496123");
    assert_eq!(ts, pushpushgo(r#""1727782496123""#));
    assert_eq!(ts, pushpushgo(r#""2024-10-01T11:34:56.123Z""#));
    assert_ne!(ts, pushpushgo("1727782496124"));
}

/// Arpoone's three webhooks may come to one URL, with ids of one kind.
#[test]
fn what_differs_in_kind_differs_in_identity() {
    let items = [
        r#"{"MessageId":"m1","Status":"opened"}"#,
        r#"{"MessageId":"m1","EventType":"opened"}"#,
        r#"{"Id":"m1","From":"1","Text":"opened"}"#,
    ];
    let ids = ids("arpoone", &format!("[{}]", items.join(",")));
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
}

/// What the page does not say tells two events apart, whatever it is.
#[test]
fn what_pushpushgo_does_not_document_is_told_by_its_bytes() {
    for (a, b) in [
        (
            r#"{"kind":"campaign:finished","campaignId":"A","ts":1727782496123}"#,
            r#"{"kind":"campaign:finished","campaignId":"B","ts":1727782496123}"#,
        ),
        (
            r#"{"kind":"subscriber:update","customId":"A","ts":1727782496123}"#,
            r#"{"kind":"subscriber:update","customId":"B","ts":1727782496123}"#,
        ),
        (
            r#"{"kind":"transaction:message:sent","messageId":"m1","subscriberId":"p1","n":1}"#,
            r#"{"kind":"transaction:message:sent","messageId":"m1","subscriberId":"p1","n":2}"#,
        ),
        (
            r#"{"kind":"transaction:message:delivered","messageId":"m1","n":1,"ts":1727782496123}"#,
            r#"{"kind":"transaction:message:delivered","messageId":"m1","n":2,"ts":1727782496123}"#,
        ),
        (
            r#"{"kind":"transaction:message:delivered","subscriberId":"p1","n":1,"ts":1727782496123}"#,
            r#"{"kind":"transaction:message:delivered","subscriberId":"p1","n":2,"ts":1727782496123}"#,
        ),
    ] {
        let id = ids("pushpushgo", a);
        assert!(id[0].is_some(), "{a}");
        assert_eq!(id, ids("pushpushgo", a));
        assert_ne!(id, ids("pushpushgo", b), "{b}");
    }
}

#[test]
fn how_email_details_are_written_does_not_matter() {
    let id = |details: &str| {
        let item = r#""MessageId":"m1","EventType":"clicked","Time":1727782496"#;
        ids(
            "arpoone",
            &format!(r#"{{{item},"EventDetails":{details}}}"#),
        )
    };
    let details = id(r#"{"Link":{"a":1,"b":[1,2]},"Url":"https://example.com/a"}"#);
    for written in [
        r#"{"Url":"https://example.com/a","Link":{"b":[1,2],"a":1}}"#,
        r#"{ "Link": { "a": 1, "b": [1, 2] }, "Url": "https://example.com/a" }"#,
        r#"{"Link":{"a":1,"b":[1,2]},"Url":"https:\/\/example.com\/\u0061"}"#,
    ] {
        assert_eq!(details, id(written), "{written}");
    }
    for other in [
        r#"{"Link":{"a":1,"b":[2,1]},"Url":"https://example.com/a"}"#,
        r#"{"Link":{"a":1,"b":[1,2]},"Url":"https://example.com/b"}"#,
    ] {
        assert_ne!(details, id(other), "{other}");
    }
    assert_eq!(id("[1, 2]"), id("[1,2]"));
}

/// The fields of a Pushwoosh event mean the same beside its uuid.
#[test]
fn a_pushwoosh_event_beside_its_uuid_is_that_event() {
    let flat = ids(
        "pushwoosh",
        r#"{"uuid":"u1","event_name":"Push Sent","timestamp":1723799271}"#,
    );
    for item in [
        r#"{"uuid":"u1","event":{"event_name":"Push Sent","timestamp":1723799271}}"#,
        r#"{"uuid":"u1","n":{"a":1},"data":"{\"event_name\":\"Push Sent\",\"timestamp\":1723799271}"}"#,
        r#"{"event":{"uuid":"u1","event_name":"Push Sent","timestamp":1723799271}}"#,
        r#"{"uuid":"u1","event":{"uuid":"u2","live_activity_id":"la","timestamp":1723799271}}"#,
    ] {
        assert_eq!(flat, ids("pushwoosh", item), "{item}");
    }
}

/// Without a time, what an event says of itself tells it from others.
#[test]
fn events_without_a_time_meet_themselves() {
    for (provider, item, other) in [
        (
            "ppoppo",
            r#"{"event_id":"evt_1"}"#,
            r#"{"event_id":"evt_2"}"#,
        ),
        (
            "pushwoosh",
            r#"{"uuid":"u1","event_name":"Push Sent"}"#,
            r#"{"uuid":"u2","event_name":"Push Sent"}"#,
        ),
        (
            "pushwoosh",
            r#"{"event_name":"Push Sent"}"#,
            r#"{"event_name":"Push Opened"}"#,
        ),
        (
            "arpoone",
            r#"{"MessageId":"m1","Status":"PENDING"}"#,
            r#"{"MessageId":"m1","Status":"DELIVERED"}"#,
        ),
        (
            "pushpushgo",
            r#"{"kind":"transaction:message:delivered","messageId":"m1","subscriberId":"p1"}"#,
            r#"{"kind":"transaction:message:delivered","messageId":"m1","subscriberId":"p2"}"#,
        ),
    ] {
        let id = ids(provider, item);
        assert!(id[0].is_some(), "{provider}");
        assert_eq!(id, ids(provider, item), "{provider}");
        assert_ne!(id, ids(provider, other), "{provider}");
    }
}

/// A stored id never changes, or an upgrade would store every retried event again.
#[test]
fn ids_are_what_they_were_in_0_2_0() {
    for (provider, item, id) in [
        (
            "ppoppo",
            r#"{"event_id":"evt_1","occurred_at":"2024-10-01T11:34:56Z"}"#,
            "01J93XS9R0RCXRJZF8X8QYS8JV",
        ),
        (
            "pushwoosh",
            r#"{"uuid":"u1","event_name":"Push Sent","timestamp":1723799271}"#,
            "01J5D72XJR6AGFW16ZPQP55EAF",
        ),
        (
            "pushwoosh",
            r#"{"event_name":"Push Sent","timestamp":1723799271,"hwid":"h1"}"#,
            "01J5D72XJRJ9XWAZX7BKB2JYVC",
        ),
        (
            "arpoone",
            r#"[{"MessageId":"m1","Status":"PENDING","ReportDateTime":"2024-10-01T11:34:56Z","ReportDescription":"d"}]"#,
            "01J93XS9R03EACW1N0CDV6G35Y",
        ),
        (
            "pushpushgo",
            r#"{"kind":"transaction:message:clicked","messageId":"m1","subscriberId":"p1","clickAction":2,"ts":1727782496123}"#,
            "01J93XS9VVJTY6M1EXVR5DAC50",
        ),
    ] {
        assert_eq!(
            ids(provider, item)[0].unwrap().to_string(),
            id,
            "{provider}"
        );
    }
}

/// Nothing tells two apart, so each receipt is an event of its own.
#[test]
fn subscriber_events_have_no_identity() {
    for kind in ["update", "subscribe", "unsubscribe"] {
        let body = format!(r#"{{"kind":"subscriber:{kind}","ppgId":"p1","customId":"c1"}}"#);
        assert_eq!(ids("pushpushgo", &body), [None]);
    }
}
