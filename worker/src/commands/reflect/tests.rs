//! Reflection over real sockets, in both versions.

use std::net::SocketAddr;

use prost::Message;
use serde_json::json;
use tidings_core::wire::{Names, Schema};

use super::{
    testing::{METHOD, PREFIX, Play, TOKEN, VARIANT, VARIANT_NAMES, documented, variant},
    *,
};
use crate::{dial::connection::Connection, testing::call};

fn dial(address: SocketAddr) -> Dial {
    Dial::new(
        "ppoppo",
        &json!({"endpoint": format!("http://{address}{PREFIX}")}),
    )
    .unwrap()
}

async fn connect(dial: &Dial) -> Connection {
    dial::connect(dial, None).await.unwrap()
}

#[tokio::test]
async fn a_schema_with_its_imports_is_read_in_both_versions() {
    for only_alpha in [false, true] {
        let play = Play {
            described: Some(variant()),
            only_alpha,
            ..Play::default()
        };
        let dial = dial(play.start(None).await);
        let connection = connect(&dial).await;
        let opened = Reflection::open(&dial, connection.requests(), TOKEN).await;
        let mut server = opened.unwrap();
        assert_eq!(server.version() == VERSIONS[1], only_alpha);
        assert_eq!(server.services(), ["acme.notices.v2.NoticeService"]);

        let set = server.describe("acme.notices.v2.NoticeService").await;
        let set = set.unwrap().unwrap();
        assert_eq!(set.file.len(), 3, "the two imports too");
        let names: Names = serde_json::from_str(VARIANT_NAMES).unwrap();
        let schema = Schema::new(call("ppoppo"), &set.encode_to_vec(), VARIANT, &names);
        assert_eq!(schema.unwrap().path(), VARIANT);
        let other = server.describe("pcs.external.v1.MessageService").await;
        assert!(other.unwrap().is_none());
    }
}

#[tokio::test]
async fn who_does_not_offer_it_or_refuses_it_is_told_apart() {
    let play = Play {
        method: METHOD.to_owned(),
        ..Play::default()
    };
    let dial = dial(play.start(None).await);
    let connection = connect(&dial).await;
    let opened = Reflection::open(&dial, connection.requests(), TOKEN).await;
    assert!(
        matches!(opened, Err(ReflectError::NotOffered)),
        "{opened:?}"
    );
    let opened = Reflection::open(&dial, connection.requests(), "another").await;
    let Err(ReflectError::Refused(reason)) = opened else {
        panic!("{opened:?}");
    };
    assert!(reason.starts_with("UNAUTHENTICATED"), "{reason}");
}

#[tokio::test]
async fn an_import_that_is_not_described_is_named() {
    let mut set = FileDescriptorSet::decode(variant().as_slice()).unwrap();
    set.file
        .retain(|file| !file.name().ends_with("wrappers.proto"));
    let play = Play {
        described: Some(set.encode_to_vec()),
        ..Play::default()
    };
    let dial = dial(play.start(None).await);
    let connection = connect(&dial).await;
    let opened = Reflection::open(&dial, connection.requests(), TOKEN).await;
    let described = opened
        .unwrap()
        .describe("acme.notices.v2.NoticeService")
        .await;
    let Err(ReflectError::Unusable(reason)) = described else {
        panic!("{described:?}");
    };
    assert!(
        reason.contains("google/protobuf/wrappers.proto"),
        "{reason}"
    );
}

#[test]
fn the_methods_of_a_set_are_found() {
    let set = FileDescriptorSet::decode(documented().as_slice()).unwrap();
    let found: Vec<_> = methods(&set)
        .into_iter()
        .map(|m| (m.path, m.is_stream))
        .collect();
    let push = "/pushwoosh.event_streaming.v1.EventStreaming/StreamEvents";
    assert!(found.contains(&(METHOD.to_owned(), true)), "{found:?}");
    assert!(found.contains(&(push.to_owned(), false)), "{found:?}");
}
