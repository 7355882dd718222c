//! Statements from servers over real sockets.

use std::net::SocketAddr;

use serde_json::json;
use tidings_core::wire::Schema;

use super::*;
use crate::{
    commands::reflect::testing::{
        METHOD, PREFIX, Play, TOKEN, VARIANT, VARIANT_NAMES, documented, variant,
    },
    settings::{Command, Stop},
    testing,
};

async fn server(described: Option<Vec<u8>>) -> SocketAddr {
    let play = Play {
        described,
        ..Play::default()
    };
    play.start(None).await
}

async fn answered(
    address: SocketAddr,
    asked: Option<&str>,
    own: Option<&str>,
    names: &str,
) -> Result<Answer, Failed> {
    let dial = Dial::new(
        "ppoppo",
        &json!({"endpoint": format!("http://{address}{PREFIX}")}),
    )
    .unwrap();
    let resume = Resume {
        cursor: None,
        secret: Some(TOKEN.to_owned()),
    };
    let wish = Wish {
        source: "o'chat",
        call: testing::call("ppoppo"),
        asked,
        own,
        names: serde_json::from_str(names).unwrap(),
    };
    ask(&wish, &dial, &resume).await
}

/// The descriptor set that a statement holds.
fn set(sql: &str) -> Vec<u8> {
    let (_, hex) = sql.split_once("descriptor_set => '\\x").unwrap();
    let hex = hex.strip_suffix("');").unwrap().as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    hex.chunks(2).map(byte).collect()
}

#[tokio::test]
async fn the_documented_method_is_found_by_itself() {
    let answer = answered(server(Some(documented())).await, None, None, "{}").await;
    let answer = answer.unwrap();
    assert_eq!(answer.code, Code::Clean, "{:?}", answer.notes);
    let head = format!(
        "select tidings.set_source_schema('o''chat', method => '{METHOD}', names => '{{}}', descriptor_set => '\\x"
    );
    assert!(answer.sql.starts_with(&head), "{}", answer.sql);
    Schema::new(
        testing::call("ppoppo"),
        &set(&answer.sql),
        METHOD,
        &Names::new(),
    )
    .unwrap();
    assert_eq!(answer.notes.len(), 2, "{:?}", answer.notes);
}

#[tokio::test]
async fn a_method_of_the_documented_name_is_found_in_another_package() {
    let text = include_str!("../../../../proto/ppoppo/v1/external.proto");
    let text = text.replace("package pcs.external.v1", "package pcs.external.v7");
    let described = tidings_core::wire::compile(&text).unwrap();
    let answer = answered(server(Some(described)).await, None, None, "{}")
        .await
        .unwrap();
    let path = "/pcs.external.v7.MessageService/StreamSendRequestEvents";
    assert!(answer.sql.contains(path), "{}", answer.sql);
    assert_eq!(answer.code, Code::Clean, "{:?}", answer.notes);
}

#[tokio::test]
async fn another_method_is_offered_and_what_has_to_be_mapped_is_said() {
    let address = server(Some(variant())).await;
    let Failed(code, reason) = answered(address, None, None, "{}").await.unwrap_err();
    assert_eq!(code, Code::Findings);
    assert!(
        reason.contains("--method") && reason.contains(VARIANT),
        "{reason}"
    );

    for (asked, own) in [(Some(VARIANT), None), (None, Some(VARIANT))] {
        let answer = answered(address, asked, own, "{}").await.unwrap();
        assert_eq!(answer.code, Code::Findings);
        assert!(
            answer.sql.contains(VARIANT),
            "a draft is printed all the same"
        );
        let notes = answer.notes.join("\n");
        for word in [
            "cannot be used as it is",
            "event_id",
            "ppnum",
            "Person.number",
            "WHAT_ARRIVED",
        ] {
            assert!(notes.contains(word), "{word} is not in {notes}");
        }
    }
    let answer = answered(address, Some(VARIANT), None, VARIANT_NAMES)
        .await
        .unwrap();
    assert_eq!(answer.code, Code::Clean, "{:?}", answer.notes);
    // What the variant has no names for.
    let left = "names that are known here, and that it does not have: \
                SEND_REQUEST_EVENT_TYPE_REQUEST_FAILED, completed_at, created_at, \
                pending_consent, status, total_recipients";
    assert_eq!(answer.notes[2], left);
    assert_eq!(
        answer.notes[3],
        "names that it has instead: FollowNoticesResponse.made_at, FollowNoticesResponse.notices"
    );
    let names: Names = serde_json::from_str(VARIANT_NAMES).unwrap();
    Schema::new(testing::call("ppoppo"), &set(&answer.sql), VARIANT, &names).unwrap();
}

#[tokio::test]
async fn a_server_without_reflection_or_without_the_method_says_so() {
    let Failed(_, reason) = answered(server(None).await, None, None, "{}")
        .await
        .unwrap_err();
    assert!(reason.contains("does not offer reflection"), "{reason}");
    assert!(reason.contains("tidings.set_source_schema"), "{reason}");
    let address = server(Some(documented())).await;
    let asked = answered(address, Some("no.Such/Method"), None, "{}").await;
    let Failed(_, reason) = asked.unwrap_err();
    assert!(reason.contains("no method no.Such/Method"), "{reason}");
    assert!(reason.contains(METHOD), "{reason}");
}

#[test]
fn a_source_that_is_not_dialed_has_no_server_to_ask() {
    let source = |name: &str, provider: &str| Source {
        id: 1,
        name: name.into(),
        provider: provider.to_owned(),
        options: json!({}),
        enabled: true,
        schema: None,
        former_names: Vec::new(),
    };
    let all = || {
        vec![
            source("chat", "ppoppo"),
            source("shop", "pushwoosh"),
            source("sms", "arpoone"),
        ]
    };
    assert_eq!(&*find(all(), "chat").unwrap().name, "chat");
    let why = |name| find(all(), name).unwrap_err().1;
    assert!(
        why("shop").contains("tidings.set_source_schema('shop'"),
        "{}",
        why("shop")
    );
    assert!(why("sms").contains("needs no schema"), "{}", why("sms"));
    assert!(
        why("nothing").ends_with("those that are dialed: chat"),
        "{}",
        why("nothing")
    );
}

#[test]
fn names_are_read_before_anything_is_asked() {
    let parsed = |names: &str| {
        let url = "postgres://u@h/d";
        let line = [
            "tidings-worker",
            "schema",
            "--database-url",
            url,
            "chat",
            "--names",
            names,
        ];
        crate::settings::parse(line).map(|(command, _)| command)
    };
    let Ok(Command::Schema(settings)) = parsed(VARIANT_NAMES) else {
        panic!("not the command schema");
    };
    assert_eq!(settings.names.unwrap()["Notice.id"], "event_id");
    let Err(Stop::Bad(text)) = parsed(r#"{"id": 1}"#) else {
        panic!("it is accepted");
    };
    assert!(text.contains("not names"), "{text}");
}

#[test]
fn control_characters_are_not_printed() {
    let wish = |source: &'static str, names: &str| Wish {
        source,
        call: testing::call("ppoppo"),
        asked: None,
        own: None,
        names: serde_json::from_str(names).unwrap(),
    };
    let method = |name: &str| Method {
        path: format!("/a.B/{name}"),
        name: name.to_owned(),
        input: ".a.I".to_owned(),
        output: ".a.O".to_owned(),
        is_stream: true,
    };
    let set = FileDescriptorSet::default();
    for (source, names, name) in [
        ("chat", "{}", "C\u{1b}[2J"),
        ("chat", "{}", "C\u{9b}2J"),
        ("chat", "{}", "C D"),
        ("ch\u{9b}at", "{}", "C"),
        ("chat", "{\"\u{9b}\": \"event_id\"}", "C"),
    ] {
        let stated = statement(&wish(source, names), &set, &method(name), String::new());
        let Failed(code, reason) = stated.unwrap_err();
        assert_eq!(code, Code::Findings);
        assert!(!shown(&reason).contains(char::is_control), "{reason:?}");
    }
    assert!(statement(&wish("chat", "{}"), &set, &method("C"), String::new()).is_ok());
}

/// A pipe that nobody reads.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let answer = || Answer {
        sql: "select 1;".to_owned(),
        notes: vec!["odd\u{1b}words".to_owned()],
        code: Code::Clean,
    };
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    assert_eq!(print(Ok(answer()), &mut out, &mut notes), Code::Clean);
    assert_eq!(
        (out, notes),
        (b"select 1;\n".to_vec(), b"odd words\n".to_vec())
    );
    assert_eq!(print(Ok(answer()), &mut Closed, &mut Closed), Code::System);
    let failed = Err(failed("no"));
    assert_eq!(print(failed, &mut Closed, &mut Closed), Code::Findings);
}
