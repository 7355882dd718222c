//! Replies that the worker sends, in every form a schema may give them.

use prost::Message;
use serde_json::{Value, json};
use tidings_core::wire::{Key, Reply};
use tidings_proto::pushwoosh::{Event, EventStatus};

use crate::peer::{Peer, call, own, pushwoosh};

/// What the peer reads of the replies to "a", stored, and "b", refused.
fn replies(reply: &str, mapping: &str) -> Result<Vec<Value>, String> {
    let proto = format!(
        "syntax = \"proto3\"; import \"google/protobuf/wrappers.proto\";
         service S {{ rpc M(stream E) returns (stream R); }}
         message E {{ string uuid = 1; string event_name = 2; }} {reply}"
    );
    let schema =
        own(call("pushwoosh"), &proto, "S/M", mapping).map_err(|error| error.to_string())?;
    let peer = Peer::new(&proto);
    let key = |uuid: &str| -> Key {
        let bytes = peer.encode("E", &json!({"uuid": uuid}));
        schema.events(bytes.into()).next().unwrap().key.unwrap()
    };
    let (a, b) = (key("a"), key("b"));
    let both = [
        Reply {
            key: &a,
            refused: None,
        },
        Reply {
            key: &b,
            refused: Some("busy"),
        },
    ];
    let sent = schema.replies(&both);
    assert!(schema.replies(&[]).is_empty());
    Ok(sent.iter().map(|bytes| peer.read("R", bytes)).collect())
}

#[test]
fn pushwoosh_grpc_success_or_the_reason() {
    let schema = pushwoosh();
    let event = |uuid: &str| Event {
        uuid: uuid.to_owned(),
        ..Event::default()
    };
    for (uuid, refused, expected) in [
        ("u", None, "Success"),
        ("v", Some("busy"), "busy"),
        ("", Some("undecodable"), "undecodable"),
    ] {
        let key = schema
            .events(event(uuid).encode_to_vec().into())
            .next()
            .unwrap()
            .key
            .unwrap();
        let sent = schema.replies(&[Reply { key: &key, refused }]);
        let [sent] = sent.as_slice() else {
            panic!("one reply an event");
        };
        assert_eq!(
            EventStatus::decode(sent.clone()).unwrap(),
            EventStatus {
                uuid: uuid.to_owned(),
                status: expected.to_owned(),
            }
        );
    }
}

#[test]
fn pushwoosh_grpc_status_type() {
    let enums = |values: &str| {
        format!("message R {{ string uuid = 1; T status = 2; }} enum T {{ {values} }}")
    };
    for (reply, stored, refused) in [
        (
            "message R { string uuid = 1; string status = 2; }".to_owned(),
            json!("Success"),
            json!("busy"),
        ),
        (
            "message R { string uuid = 1; bytes status = 2; }".to_owned(),
            json!("U3VjY2Vzcw=="),
            json!("YnVzeQ=="),
        ),
        (
            "message R { string uuid = 1; google.protobuf.StringValue status = 2; }".to_owned(),
            json!("Success"),
            json!("busy"),
        ),
        (
            "message R { string uuid = 1; optional bool status = 2; }".to_owned(),
            json!(true),
            json!(false),
        ),
        (
            enums("UNKNOWN = 0; SUCCESS = 1; FAILURE = 2;"),
            json!("SUCCESS"),
            json!("FAILURE"),
        ),
        (
            enums("T_NONE = 0; T_RETRY = 1; T_OK = 2;"),
            json!("T_OK"),
            json!("T_RETRY"),
        ),
        (
            enums("Nothing = 0; NOT_OK = 7; Success = 9;"),
            json!("Success"),
            json!("NOT_OK"),
        ),
        (
            enums("Zero = 0; Stored_OK = 1; Failed = 2; OK = 3;"),
            json!("OK"),
            json!("Failed"),
        ),
        (enums("Unknown = 0; Ok = 1;"), json!("Ok"), Value::Null),
        (
            enums("SUCCESS = 0; PERMANENT_FAILURE = 5; ODD = 6;"),
            Value::Null,
            json!("PERMANENT_FAILURE"),
        ),
        (
            enums("ZERO = 0; SUCCESS = 1; ODD = 6; RETRY = 9;"),
            json!("SUCCESS"),
            json!("RETRY"),
        ),
    ] {
        let expected = |uuid: &str, status: Value| match status {
            Value::Null => json!({"uuid": uuid}),
            status => json!({"uuid": uuid, "status": status}),
        };
        assert_eq!(
            replies(&reply, "{}").unwrap(),
            [expected("a", stored), expected("b", refused)],
            "{reply}"
        );
    }
}

#[test]
fn a_value_may_be_mapped_to_success() {
    let reply =
        "message R { string uuid = 1; T status = 2; } enum T { NIL = 0; DONE = 1; BAD = 2; }";
    let error = replies(reply, "{}").unwrap_err();
    assert!(
        error.contains("the enum T has no value that says success"),
        "{error}"
    );
    let sent = replies(reply, r#"{"DONE": "SUCCESS"}"#).unwrap();
    assert_eq!(sent[0]["status"], "DONE", "the peer reads its own name");
    let lonely = "message R { string uuid = 1; T status = 2; } enum T { OK = 0; }";
    assert!(
        replies(lonely, "{}")
            .unwrap_err()
            .contains("no value beside success")
    );
}

#[test]
fn a_status_that_is_no_text_may_have_the_reason_beside_it() {
    let reply = "message R { string uuid = 1; bool ok = 2; string why = 3; }";
    let sent = replies(reply, r#"{"ok": "status", "why": "reason"}"#).unwrap();
    assert_eq!(
        sent,
        [
            json!({"uuid": "a", "ok": true}),
            json!({"uuid": "b", "why": "busy"})
        ]
    );
}

#[test]
fn a_reply_may_be_wrapped_alone_or_with_others() {
    let status = "message A { string uuid = 1; string status = 2; }";
    let (a, b) = (
        json!({"uuid": "a", "status": "Success"}),
        json!({"uuid": "b", "status": "busy"}),
    );
    assert_eq!(
        replies(&format!("message R {{ A ack = 4; }} {status}"), "{}").unwrap(),
        [json!({"ack": a}), json!({"ack": b})]
    );
    assert_eq!(
        replies(
            &format!("message R {{ repeated A acks = 4; }} {status}"),
            "{}"
        )
        .unwrap(),
        [json!({"acks": [a, b]})]
    );
}

#[test]
fn a_reply_needs_both_fields_of_types_that_fit() {
    for (reply, word) in [
        (
            "message R { string uuid = 1; }",
            "the message R has no field status",
        ),
        (
            "message R { string status = 1; }",
            "the message R has no field uuid",
        ),
        (
            "message R { string uuid = 1; int32 status = 2; }",
            "R.status is a int32",
        ),
        (
            "message R { string uuid = 1; repeated bool status = 2; }",
            "R.status is a repeated bool",
        ),
        (
            "message R { int64 uuid = 1; string status = 2; }",
            "R.uuid is a int64",
        ),
    ] {
        let error = replies(reply, "{}").unwrap_err();
        assert!(error.contains(word), "{error}");
    }
}
