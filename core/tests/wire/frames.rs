//! Streams whose messages are frames: an event, a sign of life, or that the cursor has
//! expired. The schemas are made up.

use serde_json::{Value, json};
use tidings_core::wire::{Bytes, Call, Frame, Notice, Proto, Role, Schema, Start};

use crate::peer::{Peer, decode, names};

const PROTO: Proto = Proto {
    name: "acme/v1/events.proto",
    text: r#"syntax = "proto3"; package acme.v1;
        service Events {
          rpc Follow(Ask) returns (stream Frame);
          rpc Read(Ask) returns (stream Post);
        }
        message Ask { optional string after = 1; optional string order = 2; }
        message Frame {
          oneof frame { Event event = 1; KeepAlive keep_alive = 2; Expired cursor_expired = 4; Event held = 5; string motto = 6; }
          int64 sent = 9;
        }
        message Event { string event_id = 1; string event_type = 2; }
        message KeepAlive {}
        message Expired { string detail = 1; int32 days = 2; }
        message Post { oneof frame { Written event = 1; KeepAlive keep_alive = 2; string cursor_expired = 3; } }
        message Written { string channel = 1; Message message = 2; bool own = 3; message Message { string id = 1; string text = 2; } }"#,
};

const FOLLOW: Call = Call {
    stream: "orders",
    method: "/acme.v1.Events/Follow",
    proto: PROTO,
    key: "event_id",
    needs: "event_type",
    beside: false,
    time: None,
    values: &[],
    frame: Some(Frame {
        event: "event",
        alive: &["keep_alive"],
        expired: Some("cursor_expired"),
    }),
    role: Role::Dialed {
        cursor: "after",
        start: Start::Oldest,
        filters: &["order"],
    },
    inquiry: None,
};

/// Another stream of the same provider: the key is inside a message of the event.
const READ: Call = Call {
    stream: "posts",
    method: "/acme.v1.Events/Read",
    key: "message.id",
    needs: "message",
    ..FOLLOW
};

fn frame(of: &str, json: &Value) -> Bytes {
    Peer::new(PROTO.text).encode(of, json).into()
}

#[test]
fn a_frame_is_an_event_or_says_something_of_the_stream() {
    let schema = Schema::of(&FOLLOW).unwrap();
    let expired = |detail: &str| Some(Notice::CursorExpired(detail.to_owned()));
    for (json, events, notice) in [
        (
            json!({"event": {"event_id": "e1", "event_type": "SENT"}}),
            json!([{"event_id": "e1", "event_type": "SENT"}]),
            None,
        ),
        (json!({"keep_alive": {}}), json!([]), None),
        (json!({"keep_alive": {}, "sent": 5}), json!([]), None),
        (json!({}), json!([]), None),
        (
            json!({"cursor_expired": {"detail": "7 days"}}),
            json!([]),
            expired("7 days"),
        ),
        (
            json!({"cursor_expired": {"detail": "old", "days": 7}}),
            json!([]),
            expired(r#"{"detail":"old","days":7}"#),
        ),
        (json!({"cursor_expired": {}}), json!([]), expired("")),
        // Another member that holds an event of the same type is no event of the stream.
        (
            json!({"held": {"event_id": "e2"}, "sent": 5}),
            json!([]),
            Some(Notice::Unread("held, sent".to_owned())),
        ),
    ] {
        let bytes = frame("acme.v1.Frame", &json);
        assert_eq!(schema.notice(&bytes), notice, "{json}");
        assert_eq!(json!(decode(&schema, bytes)), events, "{json}");
    }
}

#[test]
fn a_frame_that_cannot_be_read_to_its_end_says_what_stands_before() {
    let schema = Schema::of(&FOLLOW).unwrap();
    let whole = frame("acme.v1.Frame", &json!({"cursor_expired": {"detail": "7"}}));
    let cut = [&whole[..], &[0x0a, 0x7f]].concat();
    assert!(matches!(
        schema.notice(&cut.into()),
        Some(Notice::CursorExpired(_))
    ));
    // Its own message cannot be decoded: that it has expired is known all the same.
    let odd = vec![0x22, 0x02, 0x08, 0xff];
    let notice = schema.notice(&odd.into());
    assert_eq!(notice, Some(Notice::CursorExpired(String::new())));
    // A member that is not in the schema is evidence.
    let unknown = vec![0x3a, 0x00];
    assert_eq!(schema.notice(&unknown.clone().into()), None);
    let kept = decode(&schema, unknown);
    assert_eq!(kept[0]["@undecodable"], "OgA=");
}

#[test]
fn what_is_said_of_a_stream_is_bounded() {
    let schema = Schema::of(&FOLLOW).unwrap();
    let long = json!({"cursor_expired": {"detail": "x".repeat(10_000)}});
    let Some(Notice::CursorExpired(detail)) = schema.notice(&frame("acme.v1.Frame", &long)) else {
        panic!("it has expired");
    };
    assert!(detail.len() < 1_000);
}

#[test]
fn a_second_stream_has_a_frame_and_a_key_of_its_own() {
    let schema = Schema::of(&READ).unwrap();
    let event = json!({"channel": "c", "message": {"id": "m1", "text": "hello"}, "own": true});
    let bytes = frame("acme.v1.Post", &json!({"event": event}));
    assert_eq!(decode(&schema, bytes.clone()), [event]);
    let keys = |bytes: Bytes| -> Vec<String> {
        let keys = schema.events(bytes).map(|event| event.key.unwrap());
        keys.map(|key| String::from_utf8(key.as_bytes().to_vec()).unwrap())
            .collect()
    };
    assert_eq!(keys(bytes.clone()), ["m1"]);
    let cut = bytes.slice(..bytes.len() - 1);
    assert_eq!(keys(cut), ["m1"], "as far as it can be read");
    let cut = bytes.slice(..bytes.len() - 3);
    assert_eq!(keys(cut), [""], "the message that has it is cut off");
    let expired = frame("acme.v1.Post", &json!({"cursor_expired": "gone"}));
    let notice = schema.notice(&expired);
    assert_eq!(notice, Some(Notice::CursorExpired("gone".to_owned())));
}

#[test]
fn a_schema_of_ones_own_need_not_have_frames() {
    let bare = r#"syntax = "proto3"; service S { rpc M(Ask) returns (stream Event); }
        message Ask { string after = 1; } message Event { string event_id = 1; string event_type = 2; }"#;
    let set = tidings_core::wire::compile(bare).unwrap();
    let schema = Schema::new(&FOLLOW, &set, "S/M", &names("{}")).unwrap();
    let event = json!({"event_id": "e1", "event_type": "SENT"});
    let bytes: Bytes = Peer::new(bare).encode("Event", &event).into();
    assert_eq!(schema.notice(&bytes), None);
    assert_eq!(decode(&schema, bytes), [event]);
}

#[test]
fn a_schema_of_ones_own_maps_its_members() {
    let text = PROTO.text.replace("cursor_expired", "too_old");
    let set = tidings_core::wire::compile(&text).unwrap();
    let schema = |mapping: &str| Schema::new(&FOLLOW, &set, FOLLOW.method, &names(mapping));
    let bytes = frame("acme.v1.Frame", &json!({"cursor_expired": {"detail": "7"}}));
    let mapped = schema(r#"{"Frame.too_old": "cursor_expired"}"#).unwrap();
    assert!(matches!(
        mapped.notice(&bytes),
        Some(Notice::CursorExpired(_))
    ));
    let unmapped = schema("{}").unwrap();
    let notice = unmapped.notice(&bytes);
    assert_eq!(notice, Some(Notice::Unread("too_old".to_owned())));
}
