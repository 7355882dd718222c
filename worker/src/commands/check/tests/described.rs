//! Servers that describe their schema.

use super::*;
use crate::commands::reflect::testing::{documented, variant};

#[tokio::test]
async fn the_same_schema_by_either_version_of_reflection() {
    for (only_alpha, version) in [(false, "v1"), (true, "v1alpha")] {
        let play = Play {
            described: Some(documented()),
            only_alpha,
            ..play(First::Event(framed(&event())))
        };
        let found = one(Subject::at(play.start(None).await).look().await);
        let said = format!("reflection: grpc.reflection.{version}, the same schema");
        assert_eq!(found.details[4], said);
    }
}

#[tokio::test]
async fn another_schema_is_told_with_what_takes_it_over() {
    // Their own numbers: the file of proto/, renumbered.
    let text = include_str!("../../../../../proto/ppoppo/v1/external.proto");
    let text = text.replace("occurred_at = 6", "occurred_at = 16");
    let play_other = Play {
        described: Some(tidings_core::wire::compile(&text).unwrap()),
        ..play(First::Event(framed(&event())))
    };
    let found = Subject::at(play_other.start(None).await).look().await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(
        found[0].details[4],
        "reflection: grpc.reflection.v1, another schema"
    );
    expect(
        &found[1],
        Word::Warn,
        &["another schema", "tidings-worker schema chat"],
    );
    assert_eq!(
        found[1].details,
        ["SendRequestEvent.occurred_at (field 16) is not known here"]
    );

    let play_variant = Play {
        method: String::new(),
        described: Some(variant()),
        ..Play::default()
    };
    let found = Subject::at(play_variant.start(None).await).look().await;
    assert_eq!(found.len(), 2, "{found:?}");
    expect(
        &found[0],
        Word::Fail,
        &["UNIMPLEMENTED", "tidings.set_source_schema"],
    );
    expect(
        &found[1],
        Word::Warn,
        &["no such method", "tidings-worker schema chat"],
    );
    assert_eq!(
        found[1].details,
        ["its services: acme.notices.v2.NoticeService"]
    );
}
