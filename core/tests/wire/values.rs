//! Every type a field may have, as JSON.

use prost::Message;
use serde_json::{Value, json};
use tidings_core::wire::{Bytes, Schema};
use tidings_proto::{
    ppoppo::{
        RecipientDeliveryStatus, RecipientStatus, SendRequestEvent, SendRequestEventFrame,
        SendRequestEventType, SendRequestStatus, SendRequestSummary,
        send_request_event_frame::Frame,
    },
    pushwoosh::Event,
};

use crate::peer::{Peer, call, decode, own, page, ppoppo, pushwoosh};

const IMPORTS: &str =
    "import \"google/protobuf/any.proto\"; import \"google/protobuf/duration.proto\";
    import \"google/protobuf/struct.proto\"; import \"google/protobuf/timestamp.proto\";
    import \"google/protobuf/wrappers.proto\"; import \"google/protobuf/empty.proto\";
    service S { rpc M(R) returns (stream E); }";

/// A proto3 event of these fields, in a schema and at the peer.
fn event(fields: &str) -> (Schema, Peer) {
    with_syntax(
        "proto3",
        &format!(
            "message R {{ string after_event_id = 1; }} message E {{ string event_id = 1; string event_type = 99; {fields} }}"
        ),
    )
}

fn with_syntax(syntax: &str, body: &str) -> (Schema, Peer) {
    let proto = format!("syntax = \"{syntax}\"; package p; {IMPORTS} {body}");
    let schema = own(call("ppoppo"), &proto, "p.S/M", "{}").unwrap();
    (schema, Peer::new(&proto))
}

fn only(schema: &Schema, bytes: impl Into<Bytes>) -> Value {
    let mut all = decode(schema, bytes);
    assert_eq!(all.len(), 1);
    all.pop().unwrap()
}

/// A length-delimited field of these contents.
fn field(number: u8, contents: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2, u8::try_from(contents.len()).unwrap()];
    bytes.extend_from_slice(contents);
    bytes
}

fn framed(event: SendRequestEvent) -> Vec<u8> {
    let frame = Some(Frame::Event(event));
    SendRequestEventFrame { frame }.encode_to_vec()
}

#[test]
fn a_ppoppo_event_keeps_its_names_and_leaves_defaults_out() {
    let event = SendRequestEvent {
        event_id: "01ARYZ6S41TSV4RRFFQ69G5FAV".to_owned(),
        send_request_id: "request".to_owned(),
        event_type: SendRequestEventType::RecipientFailed.into(),
        recipient: Some(RecipientStatus {
            id: "r".to_owned(),
            ppnum: "12300000004".to_owned(),
            status: RecipientDeliveryStatus::Failed.into(),
            error_code: Some("BLOCKED".to_owned()),
            message_id: None,
            created_at: Some(prost_types::Timestamp {
                seconds: 1_767_323_044,
                nanos: 500_000_000,
            }),
        }),
        summary: Some(SendRequestSummary {
            status: SendRequestStatus::Completed.into(),
            delivered: i32::MAX,
            failed: 0,
            ..SendRequestSummary::default()
        }),
        occurred_at: Some(prost_types::Timestamp {
            seconds: 1_767_323_045,
            nanos: 0,
        }),
    };
    assert_eq!(
        only(&ppoppo(), framed(event)),
        json!({
            "event_id": "01ARYZ6S41TSV4RRFFQ69G5FAV",
            "send_request_id": "request",
            "event_type": "SEND_REQUEST_EVENT_TYPE_RECIPIENT_FAILED",
            "recipient": {
                "id": "r", "ppnum": "12300000004", "error_code": "BLOCKED",
                "status": "RECIPIENT_DELIVERY_STATUS_FAILED",
                "created_at": "2026-01-02T03:04:04.500Z",
            },
            "summary": {"status": "SEND_REQUEST_STATUS_COMPLETED", "delivered": i32::MAX},
            "occurred_at": "2026-01-02T03:04:05Z",
        })
    );
}

#[test]
fn an_unknown_enum_number_stays_a_number() {
    let event = SendRequestEvent {
        event_type: 99,
        ..Default::default()
    };
    assert_eq!(only(&ppoppo(), framed(event)), json!({"event_type": 99}));
}

#[test]
fn unknown_fields_are_kept_encoded_where_they_are() {
    // Field 200, a varint of 7; then the same after a known field, and inside one.
    let unknown = vec![0xc0, 0x0c, 0x07];
    assert_eq!(
        only(&pushwoosh(), unknown.clone()),
        json!({"@unknown": "wAwH"})
    );
    let mut bytes = Event {
        uuid: "u".to_owned(),
        message_id: Some(u64::MAX),
        ..Event::default()
    }
    .encode_to_vec();
    bytes.extend(&unknown);
    assert_eq!(
        only(&pushwoosh(), bytes),
        json!({"uuid": "u", "message_id": u64::MAX, "@unknown": "wAwH"})
    );
    assert_eq!(
        only(&ppoppo(), field(1, &field(4, &unknown))),
        json!({"recipient": {"@unknown": "wAwH"}})
    );
}

#[test]
fn every_scalar_is_what_json_has_for_it() {
    let (schema, peer) = event(
        "int32 a = 2; int64 b = 3; uint32 c = 4; uint64 d = 5; sint64 e = 6; fixed64 f = 7;
         sfixed32 g = 8; bool h = 9; bytes i = 10; float j = 11; double k = 12; repeated int64 l = 13;
         repeated bytes m = 14; optional int32 n = 15; optional string o = 16; repeated K q = 17; K r = 18; }
         enum K { K_ZERO = 0; K_ONE = 1;",
    );
    let value = json!({
        "event_id": "\u{0}\"\u{1f44b}", "a": i32::MIN, "b": i64::MIN, "c": u32::MAX, "d": u64::MAX,
        "e": -1, "f": 1, "g": -5, "h": true, "i": "/wA=", "j": 0.1, "k": -1.5e300,
        "l": [0, i64::MAX], "m": ["", "AA=="], "n": 0, "o": "", "q": ["K_ONE", "K_ZERO", 7], "r": "K_ONE",
    });
    let bytes = peer.encode("p.E", &value);
    let text = schema.events(bytes.into()).next().unwrap().json;
    assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), value);
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains("\"j\":0.1,"),
        "the shortest that is the same: {text}"
    );
}

#[test]
fn numbers_that_json_lacks_are_texts() {
    let (schema, peer) = event(
        "double a = 2; float b = 3; repeated double c = 4; google.protobuf.DoubleValue d = 5; google.protobuf.Value e = 6;",
    );
    let value =
        json!({"a": "NaN", "b": "-Infinity", "c": ["Infinity", 0.0, "-Infinity"], "d": "NaN"});
    let mut bytes = peer.encode("p.E", &value);
    // A Value of NaN, which the peer's JSON refuses to be.
    let mut nan = vec![0x11];
    nan.extend(f64::NAN.to_le_bytes());
    bytes.extend(field(6, &nan));
    let mut expected = value;
    expected["e"] = json!("NaN");
    assert_eq!(only(&schema, bytes), expected);
}

#[test]
fn maps_and_oneofs() {
    let (schema, peer) = event(
        "map<string, int64> a = 2; map<int32, In> b = 3; map<bool, K> c = 4; oneof one { string d = 5; In e = 6; int32 f = 7; } }
         message In { string x = 1; } enum K { K_ZERO = 0; K_ONE = 1;",
    );
    let value = json!({
        "a": {"": 0, "b": 1, "a": i64::MIN}, "b": {"-1": {"x": "y"}, "0": {}}, "c": {"true": "K_ONE", "false": 9},
        "f": 0,
    });
    let bytes = peer.encode("p.E", &value);
    assert_eq!(only(&schema, bytes.clone()), value);
    let text = |bytes: Vec<u8>| schema.events(bytes.into()).next().unwrap().json;
    let first = text(bytes.clone());
    assert!(
        (0..20).all(|_| text(bytes.clone()) == first),
        "in one order"
    );
    // The last of a oneof is the one that is set.
    let mut both = field(5, b"x");
    both.extend(field(6, b""));
    assert_eq!(only(&schema, both), json!({"e": {}}));
}

#[test]
fn ppoppo_occurred_at() {
    let (schema, peer) =
        event("google.protobuf.Timestamp occurred_at = 2; google.protobuf.Duration took = 3;");
    for (at, took) in [
        ("2026-01-02T03:04:05Z", "1.5s"),
        ("2026-01-02T03:04:05.123456789Z", "0s"),
        ("1970-01-01T00:00:00Z", "-0.000000001s"),
        ("0001-01-01T00:00:00Z", "-315576000000s"),
        ("9999-12-31T23:59:59.500Z", "10s"),
    ] {
        let bytes = peer.encode("p.E", &json!({"occurred_at": at, "took": took}));
        assert_eq!(
            only(&schema, bytes),
            json!({"occurred_at": at, "took": took})
        );
    }
    // Out of range: the message that it is, so that nothing is lost.
    let bytes = field(2, &[0x10, 0xff, 0xff, 0xff, 0xff, 0x07]);
    assert_eq!(
        only(&schema, bytes),
        json!({"occurred_at": {"nanos": i32::MAX}})
    );
    let mut both = field(3, &[0x08, 0x01]);
    both.extend(field(
        3,
        &[
            0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
        ],
    ));
    assert_eq!(
        only(&schema, both),
        json!({"took": {"seconds": 1, "nanos": -1}})
    );
    let text = Event {
        uuid: "as it is".to_owned(),
        ..Event::default()
    };
    assert_eq!(only(&page(), text.encode_to_vec())["event_id"], "as it is");
}

#[test]
fn the_well_known_types_are_what_they_stand_for() {
    let (schema, peer) = event(
        "google.protobuf.Struct a = 2; google.protobuf.Value b = 3; google.protobuf.ListValue c = 4;
         google.protobuf.StringValue d = 5; google.protobuf.UInt64Value e = 6; google.protobuf.BoolValue f = 7;
         google.protobuf.BytesValue g = 8; google.protobuf.Empty h = 9; google.protobuf.NullValue i = 10;
         repeated google.protobuf.Value j = 11; google.protobuf.Int64Value k = 12;",
    );
    let bytes = peer.encode("p.E", &json!({
        "a": {"x": [1, null, {"y": true}], "z": {}}, "b": "text", "c": [[], "a", 1.5], "d": "", "e": "18446744073709551615",
        "f": false, "g": "AA==", "h": {}, "j": [null, 1, "2"], "k": "-9223372036854775808",
    }));
    assert_eq!(
        only(&schema, bytes),
        json!({
            "a": {"x": [1.0, null, {"y": true}], "z": {}}, "b": "text", "c": [[], "a", 1.5], "d": "", "e": u64::MAX,
            "f": false, "g": "AA==", "h": {}, "j": [null, 1.0, "2"], "k": i64::MIN,
        })
    );
}

#[test]
fn what_only_calls_itself_well_known_is_the_message_that_it_is() {
    let proto = "syntax = \"proto3\"; package google.protobuf; service S { rpc M(R) returns (stream E); }
                 message R { string after_event_id = 1; }
                 message E { string event_id = 1; string event_type = 99; Timestamp a = 2; StringValue b = 3; Struct c = 4; Any d = 5; Value e = 6; Duration f = 7; }
                 message Timestamp { string seconds = 1; } message StringValue { string value = 1; string more = 2; }
                 message Struct { int32 fields = 1; } message Any { string type_url = 1; repeated bytes value = 2; }
                 message Value { string x = 1; string y = 2; } message Duration { int64 seconds = 1; }";
    let schema = own(call("ppoppo"), proto, "google.protobuf.S/M", "{}").unwrap();
    // By number and type, as the peer of these tests takes them for what they say.
    let text = |number: u8| field(number, b"t");
    let mut bytes = field(2, &text(1));
    bytes.extend(field(3, &[text(1), text(2)].concat()));
    bytes.extend(field(4, &[0x08, 0x07]));
    bytes.extend(field(5, &[text(1), text(2)].concat()));
    bytes.extend(field(6, &[text(1), text(2)].concat()));
    bytes.extend(field(7, &[0x08, 0x07]));
    assert_eq!(
        only(&schema, bytes),
        json!({
            "a": {"seconds": "t"}, "b": {"value": "t", "more": "t"}, "c": {"fields": 7},
            "d": {"type_url": "t", "value": ["dA=="]}, "e": {"x": "t", "y": "t"}, "f": {"seconds": 7},
        })
    );
}

#[test]
fn an_any_is_its_message_or_kept_encoded() {
    let (schema, peer) =
        event("google.protobuf.Any a = 2; } message In { string x = 1; google.protobuf.Any y = 2;");
    let known = json!({"a": {"@type": "t/p.In", "x": "1"}});
    assert_eq!(only(&schema, peer.encode("p.E", &known)), known);
    let known = json!({"a": {"@type": "t/google.protobuf.Duration", "value": "2s"}});
    assert_eq!(only(&schema, peer.encode("p.E", &known)), known);

    let mut any = field(1, b"t/p.Absent");
    any.extend(field(2, &[0xff]));
    assert_eq!(
        only(&schema, field(2, &any)),
        json!({"a": {"type_url": "t/p.Absent", "value": "/w=="}})
    );
    let mut bad = field(1, b"t/p.In");
    bad.extend(field(2, &[0xff]));
    assert_eq!(
        only(&schema, field(2, &bad)),
        json!({"a": {"type_url": "t/p.In", "value": "/w=="}}),
        "bytes that are not of that type"
    );
    assert_eq!(only(&schema, field(2, &[])), json!({"a": {}}));
}

#[test]
fn proto2_groups_extensions_and_presence() {
    let (schema, peer) = with_syntax(
        "proto2",
        "message R { optional string after_event_id = 1; }
         message E { required string event_id = 1; optional string event_type = 99; optional group In = 2 { optional int32 x = 1; repeated group Deep = 2 { optional bool y = 1; } }
                     optional int32 c = 3 [default = 7]; repeated int32 d = 4; optional K k = 5 [default = B]; extensions 100 to 199; }
         enum K { A = 1; B = 2; }
         extend E { optional string more = 100; repeated R rs = 101; }",
    );
    let mut bytes = vec![0x13, 0x08, 0x05, 0x13, 0x08, 0x01, 0x14, 0x14];
    bytes.extend([0x18, 0x00, 0x20, 0x01, 0x20, 0x02, 0x28, 0x09]);
    bytes.extend(peer.encode(
        "p.E",
        &json!({"[p.more]": "m", "[p.rs]": [{}, {"after_event_id": ""}]}),
    ));
    assert_eq!(
        only(&schema, bytes),
        json!({
            "in": {"x": 5, "deep": [{"y": true}]}, "c": 0, "d": [1, 2], "k": 9,
            "[p.more]": "m", "[p.rs]": [{}, {"after_event_id": ""}],
        })
    );
}

#[test]
fn what_cannot_be_decoded_is_kept_as_evidence() {
    let schema = pushwoosh();
    for (bytes, kept, uuid) in [
        (vec![0xff, 0xff], "//8=", ""),
        // A uuid, and then a text of no UTF-8 before a second uuid.
        (
            b"\x0a\x01u\x12\x01\xff\x0a\x01v".to_vec(),
            "CgF1EgH/CgF2",
            "v",
        ),
        // Cut off in the middle of the second field.
        (b"\x0a\x01u\x12\x05ab".to_vec(), "CgF1EgVhYg==", "u"),
        (b"\x0a\x05u".to_vec(), "CgV1", ""),
        (b"\x0a\x01\xff".to_vec(), "CgH/", "\u{fffd}"),
    ] {
        let events: Vec<_> = schema.events(bytes.into()).collect();
        let [event] = events.as_slice() else {
            panic!("one event");
        };
        let json: Value = serde_json::from_slice(&event.json).unwrap();
        assert_eq!(json["@undecodable"], kept);
        assert_eq!(json["@error"], event.error.clone().unwrap());
        let key = event.key.clone().unwrap();
        assert_eq!(String::from_utf8_lossy(key.as_bytes()), uuid);
    }
}
