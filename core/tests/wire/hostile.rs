//! No bytes from outside lead to a panic, to a deep stack, or to JSON that is none.

use base64::{Engine, prelude::BASE64_STANDARD};
use proptest::{collection::vec, prelude::*, sample::Index};
use prost::Message;
use serde_json::{Value, json};
use tidings_core::wire::{Bytes, Names, Reply, Schema, compile};

use crate::peer::{Peer, call, own, ppoppo, pushwoosh};

/// Everything a `.proto` file can say, twice nested.
const RICH: &str = "syntax = \"proto3\"; package p;
    import \"google/protobuf/any.proto\"; import \"google/protobuf/struct.proto\";
    import \"google/protobuf/timestamp.proto\"; import \"google/protobuf/wrappers.proto\";
    service S { rpc M(stream W) returns (stream A); }
    message A { string uuid = 1; K status = 2; }
    message W { repeated E events = 1; map<string, E> odd = 2; }
    enum K { NONE = 0; OK = 1; }
    message E { string uuid = 1; int64 a = 2; double b = 3; repeated sint32 c = 4; map<int64, E> d = 5;
                oneof o { E e = 6; bytes f = 7; } K g = 8; google.protobuf.Any h = 9;
                google.protobuf.Value i = 10; google.protobuf.Timestamp j = 11; repeated E k = 12;
                google.protobuf.StringValue l = 13; optional float m = 14; fixed64 n = 15; string event_name = 16; }";

fn rich() -> Schema {
    own(call("pushwoosh"), RICH, "p.S/M", "{}").unwrap()
}

/// Each event is an object that a reader takes, and the bytes of one that cannot be
/// decoded are all there.
fn check(schema: &Schema, bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut kept = 0;
    for event in schema.events(Bytes::copy_from_slice(bytes)) {
        let value: Value = serde_json::from_slice(&event.json)
            .map_err(|error| TestCaseError::fail(format!("{error}")))?;
        prop_assert!(value.is_object());
        prop_assert_eq!(value.get("@error").is_some(), event.error.is_some());
        if event.error.is_some() {
            let evidence = value["@undecodable"].as_str().unwrap_or_default();
            kept += BASE64_STANDARD.decode(evidence).unwrap().len();
        }
        if let Some(key) = &event.key {
            for refused in [None, Some("reason")] {
                let _ = schema.replies(&[Reply { key, refused }]);
            }
        }
    }
    prop_assert!(kept <= bytes.len());
    Ok(())
}

fn sample() -> Vec<u8> {
    let inner = json!({"uuid": "in", "d": {"1": {"uuid": "deep"}}, "k": [{"a": 1}, {"b": "NaN"}]});
    let event = json!({
        "uuid": "u", "a": 5, "b": 1.5, "c": [1, -2, 3], "d": {"7": inner}, "e": inner, "g": "OK",
        "h": {"@type": "t/p.E", "uuid": "any"}, "i": {"x": [1, {"y": null}]}, "j": "2026-01-02T03:04:05Z",
        "k": [inner, {}], "l": "text", "m": 0.0, "n": 9,
    });
    Peer::new(RICH).encode(
        "p.W",
        &json!({"events": [event, {"uuid": "second"}], "odd": {"z": {}}}),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn arbitrary_bytes_are_messages_or_evidence(bytes in vec(any::<u8>(), 0..300)) {
        check(&rich(), &bytes)?;
        check(&ppoppo(), &bytes)?;
        check(&pushwoosh(), &bytes)?;
    }

    #[test]
    fn a_message_with_wrong_bytes_is_one_too(
        cut in any::<Index>(),
        wrong in vec((any::<Index>(), any::<u8>()), 0..8),
    ) {
        let mut bytes = sample();
        for (at, byte) in wrong {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        check(&rich(), &bytes)?;
    }

    #[test]
    fn an_arbitrary_descriptor_set_is_refused_or_used(bytes in vec(any::<u8>(), 0..200)) {
        let _ = Schema::new(call("pushwoosh"), &bytes, "p.S/M", &Names::new());
    }

    #[test]
    fn a_descriptor_set_with_wrong_bytes_is_refused_or_used(
        wrong in vec((any::<Index>(), any::<u8>()), 1..6),
        mapped in any::<bool>(),
    ) {
        let mut set = SET.with(Clone::clone);
        for (at, byte) in wrong {
            let at = at.index(set.len());
            set[at] = byte;
        }
        let names = if mapped {
            Names::from([("a".to_owned(), "uuid".to_owned()), ("uuid".to_owned(), "b".to_owned())])
        } else {
            Names::new()
        };
        for call in [call("pushwoosh"), call("ppoppo")] {
            if let Ok(schema) = Schema::new(call, &set, "p.S/M", &names) {
                check(&schema, &sample())?;
            }
        }
    }

    #[test]
    fn arbitrary_text_is_compiled_or_refused(text in "[ -~\n]{0,200}", cut in any::<Index>()) {
        let _ = compile(&text);
        let _ = compile(&RICH[..cut.index(RICH.len())]);
        let _ = compile(&RICH.replacen(' ', &text, 1 + cut.index(40)));
    }
}

thread_local! {
    static SET: Vec<u8> = compile(RICH).unwrap();
}

/// `contents` in a length-delimited field, `times` over.
fn nested(number: u8, times: usize) -> Vec<u8> {
    let mut reversed: Vec<u8> = Vec::new();
    for _ in 0..times {
        let mut head = vec![number << 3 | 2];
        let mut length = reversed.len();
        while length >= 0x80 {
            head.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        head.push(length as u8);
        reversed.extend(head.iter().rev());
    }
    reversed.reverse();
    reversed
}

#[test]
fn nesting_ends_in_evidence_and_not_in_the_stack() {
    let schema = rich();
    for number in [6, 10, 12, 13] {
        for times in [1, 10, 90, 99, 100, 101, 200_000] {
            let mut message = nested(number, times);
            // Of one event in a batch.
            let mut wrapper = vec![0x0a];
            let mut length = message.len();
            while length >= 0x80 {
                wrapper.push((length & 0x7f) as u8 | 0x80);
                length >>= 7;
            }
            wrapper.push(length as u8);
            wrapper.append(&mut message);
            check(&schema, &wrapper).unwrap();
            let groups = [0x0b_u8].repeat(times);
            check(&schema, &groups).unwrap();
        }
    }
}

#[test]
fn an_any_inside_an_any_has_an_end() {
    // Each is decoded anew, so that no decoder counts them together.
    let mut bytes = Vec::new();
    for _ in 0..20_000 {
        let any = prost_reflect::prost_types::Any {
            type_url: "t/p.E".to_owned(),
            value: bytes,
        };
        let any = any.encode_to_vec();
        bytes = vec![9 << 3 | 2];
        prost::encoding::encode_varint(any.len() as u64, &mut bytes);
        bytes.extend(any);
        if bytes.len() > 60_000 {
            break;
        }
    }
    let mut wrapper = vec![0x0a];
    prost::encoding::encode_varint(bytes.len() as u64, &mut wrapper);
    wrapper.extend(bytes);
    check(&rich(), &wrapper).unwrap();
}

#[test]
fn what_a_compiler_would_not_make_of_a_map_is_refused() {
    use prost_reflect::prost_types::{FileDescriptorSet, field_descriptor_proto::Type};
    let set = compile(RICH).unwrap();
    let broken = |change: &dyn Fn(&mut prost_reflect::prost_types::DescriptorProto)| {
        let mut set = FileDescriptorSet::decode(set.as_slice()).unwrap();
        let file = set
            .file
            .iter_mut()
            .find(|file| file.package() == "p")
            .unwrap();
        let event = file
            .message_type
            .iter_mut()
            .find(|m| m.name() == "E")
            .unwrap();
        change(
            event
                .nested_type
                .iter_mut()
                .find(|m| m.name() == "DEntry")
                .unwrap(),
        );
        Schema::new(
            call("pushwoosh"),
            &set.encode_to_vec(),
            "p.S/M",
            &Names::new(),
        )
    };
    assert!(broken(&|_| ()).is_ok());
    assert!(broken(&|entry| entry.field.clear()).is_err());
    assert!(broken(&|entry| entry.field.truncate(1)).is_err());
    assert!(broken(&|entry| entry.field[0].number = Some(3)).is_err());
    assert!(broken(&|entry| entry.field[0].set_type(Type::Double)).is_err());
    assert!(broken(&|entry| entry.field[0].type_name = Some(".p.E".to_owned())).is_err());
    assert!(broken(&|entry| entry.field[1].label = Some(3)).is_err());
    assert!(
        broken(&|entry| entry.field.swap(0, 1)).is_ok(),
        "in any order"
    );
}

#[test]
fn a_syntax_that_is_not_known_is_refused() {
    use prost_reflect::prost_types::FileDescriptorSet;
    let mut set = FileDescriptorSet::decode(compile(RICH).unwrap().as_slice()).unwrap();
    set.file
        .iter_mut()
        .for_each(|file| file.syntax = Some("editions".to_owned()));
    let error = Schema::new(
        call("pushwoosh"),
        &set.encode_to_vec(),
        "p.S/M",
        &Names::new(),
    );
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("is written in editions, and only proto2 and proto3 are read"),
        "{error}"
    );
}

#[test]
fn a_descriptor_set_beyond_a_limit_is_refused() {
    use prost_reflect::prost_types::{
        DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    };
    let refused = |set: &[u8]| {
        let error = Schema::new(call("ppoppo"), set, "a/B", &Names::new()).unwrap_err();
        assert!(error.to_string().contains("beyond a limit"), "{error}");
    };
    refused(&vec![0; (4 << 20) + 1]);
    let file = |n: usize| FileDescriptorProto {
        name: Some(n.to_string()),
        ..FileDescriptorProto::default()
    };
    let set = FileDescriptorSet {
        file: (0..1_001).map(file).collect(),
    };
    refused(&set.encode_to_vec());
    let message = DescriptorProto {
        field: vec![FieldDescriptorProto::default(); 5_001],
        ..DescriptorProto::default()
    };
    let set = FileDescriptorSet {
        file: vec![FileDescriptorProto {
            message_type: vec![message],
            ..file(0)
        }],
    };
    refused(&set.encode_to_vec());
    // A chain of public imports as long as may be, which is followed by recursion.
    let chain = (0..1_000).map(|n| FileDescriptorProto {
        dependency: vec![((n + 1) % 1_000).to_string()],
        public_dependency: vec![0],
        ..file(n)
    });
    let set = FileDescriptorSet {
        file: chain.collect(),
    };
    assert!(Schema::new(call("ppoppo"), &set.encode_to_vec(), "a/B", &Names::new()).is_err());
}

/// Errors repeat what they refuse, in a line of a log and in Postgres, which has no U+0000.
#[test]
fn no_error_repeats_a_control_character() {
    use prost_reflect::prost_types::FileDescriptorSet;
    let mut errors = vec![
        compile("syntax = \"pr\u{3}to3\";").unwrap_err(),
        compile("syntax = \"proto3\"; message \u{7f} {}").unwrap_err(),
        own(call("pushwoosh"), RICH, "p.S/M\u{0}", "{}").unwrap_err(),
        own(call("pushwoosh"), RICH, "p.S/M", "{\"a\\u0000\": \"b\"}").unwrap_err(),
    ];
    let set = compile(RICH).unwrap();
    let with = |change: &dyn Fn(&mut prost_reflect::prost_types::FileDescriptorProto)| {
        let mut set = FileDescriptorSet::decode(set.as_slice()).unwrap();
        set.file.iter_mut().for_each(change);
        let set = set.encode_to_vec();
        Schema::new(call("pushwoosh"), &set, "p.S/M", &Names::new()).unwrap_err()
    };
    errors.push(with(&|file| file.name = Some("a\u{0}.proto".to_owned())));
    errors.push(with(&|file| file.package = Some("a\u{1b}".to_owned())));
    errors.push(with(&|file| {
        for message in &mut file.message_type {
            message.field.clear();
            message.name = Some(format!("{}\u{9b}", message.name()));
        }
    }));
    for error in errors {
        let text = error.to_string();
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}
