//! What an event must say, and which of an enum's names it is said by.

use serde_json::{Value, json};
use tidings_core::wire::{Reply, Schema, SchemaError};

use crate::peer::{Peer, call, decode, own};

fn ppoppo(event: &str, mapping: &str) -> Result<Schema, String> {
    let proto = format!(
        "syntax = \"proto3\"; service S {{ rpc M(R) returns (stream E); }}
         message R {{ string after_event_id = 1; }} message E {{ string event_id = 1; {event} }}"
    );
    own(call("ppoppo"), &proto, "S/M", mapping).map_err(|error| error.to_string())
}

fn pushwoosh(event: &str) -> Result<Schema, SchemaError> {
    let proto = format!(
        "syntax = \"proto3\"; import \"google/protobuf/struct.proto\";
         import \"google/protobuf/timestamp.proto\"; import \"google/protobuf/wrappers.proto\";
         service S {{ rpc M(stream E) returns (stream A); }}
         message A {{ string uuid = 1; string status = 2; }}
         message Named {{ string event_name = 1; }} message Other {{ string x = 1; }}
         message E {{ string uuid = 1; {event} }}"
    );
    own(call("pushwoosh"), &proto, "S/M", "{}")
}

#[test]
fn a_ppoppo_event_must_have_its_type() {
    for (event, guess) in [
        (
            "string at = 2; Kind kind = 3; } enum Kind { NONE = 0;",
            "kind",
        ),
        ("string at = 2; int32 n = 3;", "at"),
    ] {
        let error = ppoppo(event, "{}").unwrap_err();
        assert!(
            error.starts_with(
                "the message E has no field event_type; the fields of E are event_id, at"
            ),
            "{error}"
        );
        let hint = format!(r#"map it: names => '{{"E.{guess}": "event_type"}}'"#);
        assert!(error.ends_with(&hint), "{error}");
        ppoppo(
            event,
            &json!({format!("E.{guess}"): "event_type"}).to_string(),
        )
        .unwrap();
    }
    let error = ppoppo("", "{}").unwrap_err();
    assert!(
        error.ends_with("it has no field beside event_id"),
        "{error}"
    );
    assert!(
        ppoppo("string json = 2;", "{}").is_err(),
        "it is not looked for beside the key"
    );
}

#[test]
fn a_pushwoosh_event_must_have_its_name_or_be_beside_its_uuid() {
    for (event, fits) in [
        ("string event_name = 2; string a = 3; string b = 4;", true),
        (
            "Named event = 2; google.protobuf.Timestamp at = 3; int64 n = 4;",
            true,
        ),
        ("string json = 2;", true),
        ("bytes json = 2; Other other = 3;", true),
        ("google.protobuf.StringValue json = 2;", true),
        ("google.protobuf.Struct event = 2;", true),
        ("google.protobuf.Value event = 2;", true),
        ("", false),
        ("int64 n = 2; google.protobuf.Timestamp at = 3;", false),
        ("Other event = 2;", false),
        ("string name = 2; string json = 3;", false),
        ("Named event = 2; google.protobuf.Struct more = 3;", false),
        // They would have one uuid.
        ("repeated Named events = 2;", false),
        ("map<string, Named> events = 2;", false),
    ] {
        let schema = pushwoosh(event);
        assert_eq!(schema.is_ok(), fits, "{event}: {schema:?}");
        if let Err(error) = schema {
            let error = error.to_string();
            assert!(error.contains("E has no field event_name"), "{error}");
        }
    }
    let error = pushwoosh("string id = 2; string name = 3;").unwrap_err();
    let hint = r#"names => '{"E.name": "event_name"}'"#;
    assert!(error.to_string().ends_with(hint), "{error}");
}

#[test]
fn of_an_enums_aliases_the_mapped_one_is_written_or_the_known_one_or_the_first() {
    let kinds = "Kind event_type = 2; } enum Kind { option allow_alias = true;
        ZERO = 0; NOTHING = 0; UNSPECIFIED = 0;
        ARRIVED = 5; KIND_RECIPIENT_DELIVERED = 5; OK = 5; DONE = 5;
        LOST = 3; GONE = 3; AWAY = 3;";
    let read = |mapping: &str, number: u8| -> Value {
        let schema = ppoppo(kinds, mapping).unwrap();
        decode(&schema, vec![0x10, number])[0]["event_type"].clone()
    };
    assert_eq!(read("{}", 5), "KIND_RECIPIENT_DELIVERED");
    assert_eq!(read("{}", 3), "LOST");
    assert_eq!(read("{}", 7), 7);
    for theirs in ["ARRIVED", "OK", "DONE", "KIND_RECIPIENT_DELIVERED"] {
        assert_eq!(read(&json!({theirs: "MINE"}).to_string(), 5), "MINE");
    }
    let mapping = r#"{"GONE": "RECIPIENT_FAILED", "UNSPECIFIED": "NONE"}"#;
    assert_eq!(read(mapping, 3), "RECIPIENT_FAILED");
    assert_eq!(read(mapping, 5), "KIND_RECIPIENT_DELIVERED");
}

#[test]
fn a_status_is_found_among_aliases() {
    let proto = "syntax = \"proto3\"; service S { rpc M(stream E) returns (stream A); }
         message E { string uuid = 1; string event_name = 2; }
         message A { string uuid = 1; K status = 2; }
         enum K { option allow_alias = true; NIL = 0; DONE = 1; SUCCESS = 1; AGAIN = 3; OTHER = 2; RETRY = 3; }";
    let schema = own(call("pushwoosh"), proto, "S/M", "{}").unwrap();
    let event = Peer::new(proto).encode("E", &json!({"uuid": "u"}));
    let key = schema.events(event.into()).next().unwrap().key.unwrap();
    for (refused, status) in [(None, 1), (Some("busy"), 3)] {
        let sent = schema.replies(&[Reply { key: &key, refused }]);
        assert_eq!(sent[0].as_ref(), [0x0a, 1, b'u', 0x10, status]);
    }
}
