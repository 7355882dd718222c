//! A time that the schema has as text, and the wire as a `google.protobuf.Timestamp`.

use serde_json::{Value, json};
use tidings_core::wire::Decoded;

use crate::peer::{PAGE, Peer, decode, page};

/// Ppoppo's peer, if its time is a Timestamp.
fn peer() -> Peer {
    let text = PAGE.replace(
        "string occurred_at",
        "google.protobuf.Timestamp occurred_at",
    );
    Peer::new(&text.replace(
        "package chat.external;",
        "package chat.external; import \"google/protobuf/timestamp.proto\";",
    ))
}

fn only(bytes: Vec<u8>) -> Decoded {
    let mut all: Vec<Decoded> = page().events(bytes.into()).collect();
    assert_eq!(all.len(), 1);
    all.pop().unwrap()
}

#[test]
fn a_timestamp_is_read_where_the_schema_has_text() {
    for at in [
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05.123456789Z",
        // Its bytes are a text of UTF-8.
        "2022-02-19T10:02:42Z",
        "1970-01-01T00:00:01Z",
        "1970-01-01T00:00:00.000000005Z",
        "9999-12-31T23:59:59.500Z",
        "0001-01-01T00:00:00Z",
    ] {
        let event = json!({
            "event_id": "01ARYZ6S41TSV4RRFFQ69G5FAV", "send_request_id": "r",
            "event_type": "RECIPIENT_FAILED", "recipient": {"ppnum": "1", "error_code": "BLOCKED"},
            "occurred_at": at,
        });
        let mut bytes = peer().encode("chat.external.SendRequestEvent", &event);
        assert_eq!(decode(&page(), bytes.clone()), [event]);
        let decoded = only(bytes.clone());
        assert_eq!(decoded.error, None);
        assert_eq!(
            decoded.key.unwrap().as_bytes(),
            b"01ARYZ6S41TSV4RRFFQ69G5FAV"
        );
        // And what is not known beside it is kept.
        bytes.extend([0xc0, 0x0c, 0x07]);
        let json: Value = serde_json::from_slice(&only(bytes).json).unwrap();
        assert_eq!(
            (&json["occurred_at"], &json["@unknown"]),
            (&json!(at), &json!("wAwH"))
        );
    }
    let bytes = peer().encode(
        "chat.external.SendRequestEvent",
        &json!({"event_id": "e", "occurred_at": "1970-01-01T00:00:00Z"}),
    );
    // A Timestamp of nothing is a text of nothing.
    assert_eq!(only(bytes).error, None);
}

#[test]
fn what_is_no_timestamp_is_what_it_was() {
    let field = |contents: &[u8]| -> Vec<u8> {
        let length = u8::try_from(contents.len()).unwrap();
        [&[0x0a, 1, b'e', 0x32, length], contents].concat()
    };
    for text in [
        "2026-01-02T03:04:05Z",
        "\u{8}",
        "\u{10}\u{10}x",
        "\u{8}\u{1}\u{1a}\u{0}",
        "x",
    ] {
        assert_eq!(
            decode(&page(), field(text.as_bytes())),
            [json!({"event_id": "e", "occurred_at": text})]
        );
    }
    // Evidence: no text and no Timestamp, out of range, something beside it, two of it,
    // and a whole Timestamp in an event that is bad elsewhere.
    let whole = [0x08, 0xff, 0x01];
    for bytes in [
        field(&[0xff, 0xff]),
        field(&[0x10, 0xff, 0xff, 0xff, 0xff, 0x07]),
        field(&[0x08, 0xff, 0x01, 0x18, 0x01]),
        [field(&whole), field(&whole)].concat(),
        [field(&whole), vec![0x12, 1, 0xff]].concat(),
        [field(&whole), vec![0x12, 5]].concat(),
        [field(&whole), vec![0x30, 5]].concat(),
    ] {
        let decoded = only(bytes);
        assert!(decoded.error.is_some());
        assert_eq!(decoded.key.unwrap().as_bytes(), b"e");
    }
}
