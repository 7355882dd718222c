//! Events inside other messages: none, one, or a batch; whole, bad, or cut off.

use serde_json::{Value, json};
use tidings_core::wire::Schema;

use crate::peer::{Peer, call, decode, own};

fn stream(wrapper: &str) -> (Schema, Peer) {
    let proto = format!(
        "syntax = \"proto3\"; service S {{ rpc M(stream W) returns (stream A); }}
         message A {{ string uuid = 1; string status = 2; }}
         message E {{ string uuid = 1; string text = 2; }} message W {{ {wrapper} }}
         message Other {{ string x = 1; }}"
    );
    (
        own(call("pushwoosh"), &proto, "S/M", "{}").unwrap(),
        Peer::new(&proto),
    )
}

/// The uuids to be answered, and whether each event was decoded.
fn keys(schema: &Schema, bytes: &[u8]) -> Vec<(Option<String>, bool)> {
    let events = schema.events(bytes.to_vec().into());
    events
        .map(|event| {
            let key = event
                .key
                .map(|k| String::from_utf8(k.as_bytes().to_vec()).unwrap());
            (key, event.error.is_none())
        })
        .collect()
}

fn of(uuid: &str, whole: bool) -> (Option<String>, bool) {
    (Some(uuid.to_owned()), whole)
}

#[test]
fn one_event_or_a_batch() {
    let (single, peer) = stream("string note = 1; oneof of { E event = 3; Other beat = 4; }");
    let bytes = peer.encode("W", &json!({"note": "n", "event": {"uuid": "a"}}));
    assert_eq!(decode(&single, bytes), [json!({"uuid": "a"})]);
    let (batch, peer) = stream("repeated E events = 3; string note = 1;");
    let bytes = peer.encode(
        "W",
        &json!({"note": "n", "events": [{"uuid": "a"}, {}, {"uuid": "c"}]}),
    );
    assert_eq!(
        decode(&batch, bytes),
        [json!({"uuid": "a"}), json!({}), json!({"uuid": "c"})]
    );
}

#[test]
fn a_wrapper_without_an_event_is_none() {
    let (schema, peer) = stream("repeated E events = 3; Other beat = 4;");
    assert!(decode(&schema, vec![]).is_empty());
    assert!(decode(&schema, peer.encode("W", &json!({"beat": {"x": "y"}}))).is_empty());
}

#[test]
fn what_a_schema_does_not_know_of_a_wrapper_is_kept() {
    let (schema, _) = stream("repeated E events = 3;");
    // Two events, and around them field 9, twice.
    let mut bytes = b"\x4a\x01x\x1a\x03\x0a\x01a\x1a\x03\x0a\x01b\x48\x07".to_vec();
    assert_eq!(
        decode(&schema, bytes.clone()),
        [
            json!({"uuid": "a", "@envelope": "SgF4SAc="}),
            json!({"uuid": "b"})
        ]
    );
    // Without an event it is all there is: the events may be in there.
    bytes.truncate(3);
    let evidence = decode(&schema, bytes);
    assert_eq!(evidence[0]["@undecodable"], "SgF4");
    assert_eq!(keys(&schema, b"\x4a\x01x"), [(None, false)]);
    // The event's field, but as a number.
    assert_eq!(keys(&schema, b"\x18\x01"), [(None, false)]);
}

#[test]
fn one_bad_event_fails_alone() {
    let (schema, _) = stream("repeated E events = 3;");
    let bytes = b"\x1a\x03\x0a\x01a\x1a\x06\x0a\x01b\x12\x01\xff\x1a\x03\x0a\x01c";
    assert_eq!(
        keys(&schema, bytes),
        [of("a", true), of("b", false), of("c", true)]
    );
}

#[test]
fn every_uuid_is_found_however_much_of_the_message_is_missing() {
    let (schema, peer) = stream("repeated E events = 3;");
    let all = ["a", "b", "c"].map(|uuid| json!({"uuid": uuid, "text": "0123456789"}));
    let whole = peer.encode("W", &json!({"events": all}));
    let each = whole.len() / 3;
    for length in 0..whole.len() {
        let found = keys(&schema, &whole[..length]);
        let complete = length / each;
        let wholes = found.iter().filter(|(_, whole)| *whole).count();
        assert_eq!(wholes, complete, "{length}");
        // The uuid is there as soon as its byte is.
        let inside = length % each;
        let partial = (inside >= 5).then(|| ["a", "b", "c"][complete]);
        let last = found.iter().find(|(_, whole)| !whole);
        let last = last
            .and_then(|(key, _)| key.as_deref())
            .filter(|key| !key.is_empty());
        assert_eq!(last, partial, "{length}");
        assert_eq!(
            found.len(),
            complete + usize::from(inside > 0),
            "nothing is dropped: {length}"
        );
    }
}

#[test]
fn the_parts_of_one_event_are_put_together() {
    let (schema, _) = stream("E event = 3;");
    let bytes = b"\x1a\x03\x0a\x01a\x1a\x03\x12\x01x".to_vec();
    assert_eq!(decode(&schema, bytes), [json!({"uuid": "a", "text": "x"})]);
}

#[test]
fn fields_of_one_type_all_carry_events() {
    let (schema, peer) =
        stream("repeated E live = 3; E replayed = 1; string note = 2; E last = 4;");
    let bytes = peer.encode(
        "W",
        &json!({"live": [{"uuid": "a"}, {"uuid": "b"}], "replayed": {"uuid": "c"}, "last": {}}),
    );
    let expected = ["c", "a", "b"].map(|uuid| json!({"uuid": uuid}));
    assert_eq!(
        decode(&schema, bytes),
        [expected.as_slice(), &[json!({})]].concat()
    );
    // In the order of the message; the parts of a single field are one event, where its
    // first part is; the last event is cut off.
    let bytes = b"\x22\x03\x0a\x01d\x1a\x03\x0a\x01a\x0a\x03\x0a\x01c\x22\x03\x12\x01x\x1a\x03\x0a\x01b\x0a\x05\x0a\x01e";
    assert_eq!(
        keys(&schema, bytes),
        [
            of("d", true),
            of("a", true),
            of("c", true),
            of("b", true),
            of("e", false)
        ]
    );
    assert_eq!(
        decode(&schema, bytes.to_vec())[0],
        json!({"uuid": "d", "text": "x"})
    );
}

#[test]
fn a_reply_has_one_place() {
    let proto = "syntax = \"proto3\"; service S { rpc M(stream E) returns (stream W); }
         message E { string uuid = 1; string event_name = 2; }
         message A { string uuid = 1; string status = 2; } message W { A one = 1; A two = 2; }";
    let error = own(call("pushwoosh"), proto, "S/M", "{}").unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("in more than one place: one, two; rename"),
        "{error}"
    );
}

#[test]
fn a_batch_is_cut_without_being_copied() {
    let (schema, _) = stream("repeated E events = 3;");
    // The most events that eight megabytes can carry.
    let bytes = b"\x1a\x00".repeat(4 << 20);
    let mut pieces = schema.pieces(bytes.into());
    assert_eq!(
        pieces
            .by_ref()
            .take(1000)
            .filter(|piece| piece.is_empty())
            .count(),
        1000
    );
    assert_eq!(pieces.count(), (4 << 20) - 1000);
}

#[test]
fn the_event_may_be_the_message_although_it_has_one_inside() {
    let (schema, peer) = stream("string uuid = 1; string event_name = 2; E origin = 3;");
    let event = json!({"uuid": "a", "origin": {"uuid": "b"}});
    let bytes = peer.encode("W", &event);
    assert_eq!(decode(&schema, bytes), [event] as [Value; 1]);
}
