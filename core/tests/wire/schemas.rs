//! What a schema must have, and what it says when it does not.

use serde_json::json;
use tidings_core::{
    provider,
    wire::{Call, Names, Schema, compile},
};

use crate::peer::{Peer, call, decode, own};

/// A chat's stream; `event` is the body of its event.
fn chat(event: &str) -> String {
    format!(
        "syntax = \"proto3\"; package chat;
         service Events {{ rpc Follow(Req) returns (stream Event); rpc Get(Req) returns (Event);
                          rpc Talk(stream Event) returns (stream Event); }}
         message Req {{ string after_event_id = 1; }}
         message Event {{ {event} }}"
    )
}

fn follow(proto: &str, mapping: &str) -> Result<Schema, String> {
    own(call("ppoppo"), proto, "/chat.Events/Follow", mapping).map_err(|error| error.to_string())
}

#[test]
fn a_missing_field_is_named_with_a_way_out() {
    let error = follow(&chat("string kind = 1; string id = 2; int64 at = 3;"), "{}").unwrap_err();
    assert_eq!(
        error,
        "the message chat.Event has no field event_id; the fields of Event are kind, id, at; \
         if one of them plays that part, map it: names => '{\"Event.id\": \"event_id\"}'"
    );
    follow(
        &chat("string id = 1; string event_type = 2;"),
        r#"{"Event.id": "event_id"}"#,
    )
    .unwrap();

    let none = follow(&chat(""), "{}").unwrap_err();
    assert!(none.ends_with("it has no fields at all"), "{none}");

    let wrapped = "repeated Note notes = 1; } message Note { string id = 1;";
    let error = follow(&chat(wrapped), "{}").unwrap_err();
    assert!(
        error.starts_with(
            "neither the message chat.Event nor chat.Note, which is in its field notes, \
             has a field event_id; the fields of Note are id"
        ),
        "{error}"
    );
    assert!(error.contains(r#"'{"Note.id": "event_id"}'"#), "{error}");

    let request =
        "syntax = \"proto3\"; message R { string from = 1; } message E { string event_id = 1; string event_type = 2; }
                   service S { rpc M(R) returns (stream E); }";
    let error = own(call("ppoppo"), request, "S/M", "{}").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the message R has no field after_event_id")
    );
}

#[test]
fn a_method_that_is_not_there_is_answered_with_those_that_are() {
    let set = compile(&chat(
        "string event_id = 1; Kind event_type = 2; } enum Kind { NONE = 0;",
    ))
    .unwrap();
    let new = |method: &str| {
        let schema = Schema::new(call("ppoppo"), &set, method, &Names::new());
        schema.map_err(|error| error.to_string())
    };
    assert_eq!(
        new("/chat.Events/Watch").unwrap_err(),
        "the descriptor set has no method /chat.Events/Watch; \
         it has /chat.Events/Follow, /chat.Events/Get, /chat.Events/Talk"
    );
    for wrong in ["", "Follow", "chat.Events.Follow"] {
        let error = new(wrong).unwrap_err();
        assert!(
            error.contains("write it as /package.Service/Method"),
            "{error}"
        );
    }
    assert_eq!(
        new("chat.Events/Get").unwrap_err(),
        "the method /chat.Events/Get must stream its response and take one request"
    );
    assert!(
        new("chat.Events/Talk").is_err(),
        "it takes more than one request"
    );
    assert_eq!(
        new(" chat.Events/Follow ").unwrap().path(),
        "/chat.Events/Follow"
    );
    let pushed = Schema::new(
        call("pushwoosh"),
        &set,
        "/chat.Events/Follow",
        &Names::new(),
    );
    assert_eq!(
        pushed.unwrap_err().to_string(),
        "the method /chat.Events/Follow must stream both its requests and its responses"
    );
    let empty = compile("syntax = \"proto3\";").unwrap();
    let error = Schema::new(call("ppoppo"), &empty, "a/B", &Names::new()).unwrap_err();
    assert!(error.to_string().ends_with("it describes no service"));
}

#[test]
fn a_key_must_be_one_text() {
    for (kind, fits) in [
        ("string", true),
        ("bytes", true),
        ("optional string", true),
        ("google.protobuf.StringValue", true),
        ("google.protobuf.BytesValue", true),
        ("int64", false),
        ("repeated string", false),
        ("map<string, string>", false),
        ("google.protobuf.Timestamp", false),
        ("Req", false),
    ] {
        let proto = chat(&format!("{kind} event_id = 1; string event_type = 2;")).replace(
            "package chat;",
            "package chat; import \"google/protobuf/wrappers.proto\"; import \"google/protobuf/timestamp.proto\";",
        );
        let schema = follow(&proto, "{}");
        assert_eq!(schema.is_ok(), fits, "{kind}: {schema:?}");
        if let Err(error) = schema {
            assert!(error.contains("chat.Event.event_id is a"), "{error}");
        }
    }
}

#[test]
fn names_may_be_qualified_as_far_as_needed() {
    let proto = chat(
        "string id = 1; string at = 2; Inner inner = 3; map<string, string> key = 4; string event_type = 5; }
                      message Inner { string id = 1; string value = 2;",
    );
    let mapping = r#"{"id": "message_id", "Event.id": "event_id", "chat.Event.at": "occurred_at",
                      "inner": "recipient", "value": "key"}"#;
    let schema = follow(&proto, mapping).unwrap();
    let event =
        json!({"id": "e", "at": "t", "inner": {"id": "m", "value": "p"}, "key": {"value": "v"}});
    let bytes = Peer::new(&proto).encode("chat.Event", &event);
    assert_eq!(
        decode(&schema, bytes),
        [
            json!({"event_id": "e", "occurred_at": "t", "recipient": {"message_id": "m", "key": "p"},
                "key": {"value": "v"}})
        ]
    );
}

#[test]
fn a_name_that_is_not_there_is_an_error() {
    let proto = chat(
        "string event_id = 1; Kind kind = 2; string event_type = 3; } enum Kind { NONE = 0; OK = 1; }
                      message Unused { string lonely = 1; google.protobuf.Timestamp t = 2;",
    )
    .replace(
        "package chat;",
        "package chat; import \"google/protobuf/timestamp.proto\";",
    );
    for absent in [
        "absent",
        "Event.absent",
        "Other.event_id",
        "lonely",
        "seconds",
        "vent_id",
        "Event",
        "",
    ] {
        let error = follow(&proto, &json!({absent: "x"}).to_string()).unwrap_err();
        assert!(error.contains(&format!("names has {absent:?}")), "{error}");
    }
    for there in [
        "OK",
        "Kind.OK",
        "chat.Kind.OK",
        "chat.OK",
        "kind",
        "chat.Event.kind",
    ] {
        follow(&proto, &json!({there: "x"}).to_string()).unwrap();
    }
    for to in ["", "a.b", "a\nb"] {
        let error = follow(&proto, &json!({"kind": to}).to_string()).unwrap_err();
        assert!(error.contains("which is not a name"), "{error}");
    }
}

#[test]
fn two_fields_or_values_of_one_name_are_refused() {
    let proto = chat(
        "string id = 1; string event_id = 2; Kind kind = 3; string event_type = 4; } enum Kind { A = 0; B = 1;",
    );
    let error = follow(&proto, r#"{"id": "event_id"}"#).unwrap_err();
    assert_eq!(
        error,
        "with names applied, two fields of chat.Event are called event_id: id and event_id; \
         map the other one to another name"
    );
    follow(&proto, r#"{"id": "event_id", "event_id": "other_id"}"#).unwrap();
    let error = follow(&proto, r#"{"A": "B"}"#).unwrap_err();
    assert!(
        error.contains("two values of chat.Kind are called B: A and B"),
        "{error}"
    );
    follow(&proto, r#"{"A": "B", "B": "A"}"#).unwrap();
}

#[test]
fn what_only_shares_a_scope_is_no_obstacle() {
    // A oneof, an enum nobody refers to, a reserved name: each has one of our names.
    let proto = chat(
        "reserved \"event_type\"; oneof recipient { string who = 1; } string event_id = 2; Kind kind = 3; }
         enum Kind { NONE = 0; GOOD = 1; }
         enum Unused { RECIPIENT_FAILED = 0; RECIPIENT_DELIVERED = 1; }
         message Other { string id = 1; string ppnum = 2;",
    );
    let mapping = r#"{"who": "recipient", "kind": "event_type", "GOOD": "RECIPIENT_DELIVERED"}"#;
    let schema = follow(&proto, mapping).unwrap();
    let bytes = Peer::new(&proto).encode(
        "chat.Event",
        &json!({"who": "p", "event_id": "e", "kind": "GOOD"}),
    );
    assert_eq!(
        decode(&schema, bytes),
        [json!({"recipient": "p", "event_id": "e", "event_type": "RECIPIENT_DELIVERED"})]
    );
}

#[test]
fn only_protobufs_own_files_may_be_missing_from_a_descriptor_set() {
    use prost::Message;
    use prost_reflect::prost_types::FileDescriptorSet;
    let proto = chat("string event_id = 1; google.protobuf.Timestamp at = 2; google.protobuf.Type t = 3; int32 event_type = 4;")
        .replace("package chat;", "package chat; import \"google/protobuf/timestamp.proto\"; import \"google/protobuf/type.proto\";");
    let mut set = FileDescriptorSet::decode(compile(&proto).unwrap().as_slice()).unwrap();
    set.file.retain(|file| file.package() == "chat");
    let new = |set: &FileDescriptorSet| {
        Schema::new(
            call("ppoppo"),
            &set.encode_to_vec(),
            "chat.Events/Follow",
            &Names::new(),
        )
    };
    let event = Peer::new(&proto).encode("chat.Event", &json!({"at": "2026-01-02T03:04:05Z"}));
    assert_eq!(
        decode(&new(&set).unwrap(), event),
        [json!({"at": "2026-01-02T03:04:05Z"})]
    );

    set.file[0].dependency[0] = "shop/types.proto".to_owned();
    let error = new(&set).unwrap_err().to_string();
    assert!(
        error.contains("shop/types.proto") && error.contains("--include_imports"),
        "{error}"
    );
    set.file[0].dependency[0] = "google/protobuf/../../etc/passwd".to_owned();
    assert!(new(&set).is_err());
}

#[test]
fn a_default_is_renamed_with_its_enum() {
    let proto = "syntax = \"proto2\"; service S { rpc M(R) returns (stream E); }
                 message R { optional string after_event_id = 1; }
                 message E { optional string event_id = 1; optional K kind = 2 [default = GOOD]; }
                 enum K { BAD = 1; GOOD = 2; }";
    let mapping = r#"{"GOOD": "RECIPIENT_DELIVERED", "kind": "event_type"}"#;
    let schema = own(call("ppoppo"), proto, "S/M", mapping).unwrap();
    let bytes = Peer::new(proto).encode("E", &json!({"kind": "GOOD"}));
    assert_eq!(
        decode(&schema, bytes),
        [json!({"event_type": "RECIPIENT_DELIVERED"})]
    );
}

#[test]
fn an_event_in_two_places_is_ambiguous() {
    let proto = chat(
        "Note first = 1; Note same = 2; Other second = 3; }
         message Note { string event_id = 1; string event_type = 2; }
         message Other { string event_id = 1; string event_type = 2;",
    );
    let error = follow(&proto, "{}").unwrap_err();
    assert!(
        error.contains("in more than one place: first, same, second; rename"),
        "{error}"
    );
}

#[test]
fn every_call_of_a_provider_has_a_schema_that_can_be_used() {
    let mut with_a_call = Vec::new();
    for provider in provider::ALL {
        for call in provider.calls {
            let schema = Schema::of(call).unwrap();
            assert_eq!(schema.path(), call.method);
            let folder = format!("{}/", provider.name);
            assert!(call.proto.name.starts_with(&folder), "{folder}");
            let options = json!({"stream": call.stream});
            assert_eq!(provider.call(&options), Some(call));
        }
        assert_eq!(provider.call(&json!({})), provider.calls.first());
        let mut served = provider.calls.iter().map(Call::is_served);
        let name = provider.name;
        assert!(
            served.all(|served| served != provider.is_dialed()),
            "{name}"
        );
        assert!(
            !provider.is_dialed() || !provider.calls.is_empty(),
            "{name}"
        );
        with_a_call.extend(provider.call(&json!({})).map(|_| provider.name));
    }
    assert!(with_a_call.contains(&"ppoppo") && with_a_call.contains(&"pushwoosh"));
    assert!(!with_a_call.contains(&"arpoone"));
}
