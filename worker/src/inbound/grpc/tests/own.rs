//! Sources that bring the provider's own schema.

use prost::Message;
use serde_json::{Value, json};
use tidings_core::wire::compile;
use tonic::client::Grpc;

use super::*;
use crate::sources::source::{Described, OwnSchema};

const PROTO: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../core/testdata/wire/pushwoosh_variant.proto"
));
const NAMES: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../core/testdata/wire/pushwoosh_names.json"
));
const METHOD: &str = "/acme.hits.v3.HitService/DeliverHits";

/// The peer's messages, by the variant's numbers.
#[derive(Clone, PartialEq, Message)]
struct Hits {
    #[prost(message, repeated, tag = "2")]
    hits: Vec<Hit>,
}

#[derive(Clone, PartialEq, Message)]
struct Hit {
    #[prost(sint64, tag = "1")]
    at: i64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "4")]
    key: String,
}

#[derive(Clone, PartialEq, Message)]
struct Acks {
    #[prost(message, repeated, tag = "1")]
    acks: Vec<Ack>,
}

#[derive(Clone, PartialEq, Message)]
struct Ack {
    #[prost(int32, tag = "2")]
    result: i32,
    #[prost(string, tag = "3")]
    key: String,
}

const OK: i32 = 7;
const RETRY: i32 = 3;

fn schema(names: &str) -> OwnSchema {
    let described = Described {
        method: METHOD.to_owned(),
        descriptor_set: compile(PROTO).unwrap(),
        names: serde_json::from_str(names).unwrap(),
    };
    OwnSchema::new("pushwoosh", &json!({}), described, None)
}

fn own(name: &str, names: &str) -> Source {
    Source {
        id: 1,
        schema: Some(schema(names)),
        ..source(name, "pushwoosh")
    }
}

fn batch(keys: &[&str]) -> Vec<u8> {
    let hits = keys.iter().map(|key| Hit {
        at: 1_723_799_271,
        name: "Push Sent".to_owned(),
        key: (*key).to_owned(),
    });
    let hits = hits.collect();
    Hits { hits }.encode_to_vec()
}

impl Fixture {
    /// Pushes these messages; gives what the replies say, a line a message.
    async fn deliver(
        &self,
        path: &str,
        authorization: &str,
        messages: &[Vec<u8>],
    ) -> Result<Vec<String>, Status> {
        let messages: Vec<_> = messages.iter().map(|m| Bytes::from(m.clone())).collect();
        let mut request = Request::new(tokio_stream::iter(messages));
        let value = authorization.parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let replies = grpc.streaming(request, path.parse().unwrap(), Raw).await?;
        let replies: Vec<_> = replies.into_inner().collect().await;
        let line = |reply: Bytes| {
            let acks = Acks::decode(reply).unwrap().acks.into_iter();
            let acks: Vec<_> = acks
                .map(|ack| format!("{} {}", ack.key, ack.result))
                .collect();
            acks.join(", ")
        };
        replies.into_iter().map(|reply| reply.map(line)).collect()
    }
}

#[actix::test]
async fn pushwoosh_grpc_unknown_schema() {
    let fixture = with(&[own("own", NAMES)], 1).await;
    let messages = [batch(&["a", "bad", "c"]), batch(&[]), batch(&["d"])];
    // By its name, and by its authorization.
    for (path, authorization) in [
        (format!("/hooks/own{METHOD}"), "Bearer own"),
        (format!("/own{METHOD}"), "Bearer own"),
        (METHOD.to_owned(), "Bearer own"),
    ] {
        let lines = fixture.deliver(&path, authorization, &messages).await;
        let lines = lines.unwrap().join("; ");
        assert_eq!(
            lines.replace("; ", ", "),
            format!("a {OK}, bad {RETRY}, c {OK}, d {OK}"),
            "{path}"
        );
        assert!(lines.contains(&format!("; d {OK}")), "a reply a message");
    }
    let seen = fixture.seen.lock().unwrap();
    let bodies = seen.iter().map(|request| request.body.as_ref());
    let bodies = bodies.map(|body| serde_json::from_slice(body).unwrap());
    // An array with the bad one fails, and its events are submitted again.
    let alone: Vec<Value> = bodies.filter(Value::is_object).collect();
    assert_eq!(alone.len(), 12);
    assert_eq!(
        alone[0],
        json!({"uuid": "a", "event_name": "Push Sent", "timestamp": 1_723_799_271}),
        "in our names"
    );
    assert!(seen.iter().all(|request| request.source.as_ref() == "own"));
}

#[actix::test]
async fn a_message_with_more_events_than_may_be_in_flight_is_answered_whole() {
    let fixture = with(&[own("own", NAMES)], 1).await;
    let keys: Vec<_> = (10..50).map(|n| n.to_string()).collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    let path = format!("/own{METHOD}");
    let lines = fixture
        .deliver(&path, "Bearer own", &[batch(&keys)])
        .await
        .unwrap();
    let expected: Vec<_> = keys.iter().map(|key| format!("{key} {OK}")).collect();
    assert_eq!(lines.join(", "), expected.join(", "));
}

#[actix::test]
async fn every_uuid_that_can_be_read_is_answered() {
    let fixture = with(&[own("own", NAMES)], 1).await;
    let mut cut = batch(&["a", "b"]);
    let end = cut.len() - 1;
    cut[end] = 0xff; // no UTF-8, in the key of b
    let mut short = batch(&["c", "d"]);
    short.extend([0x12, 0x7f, 0x22, 0x01, b'e']); // an event that says it is longer
    let path = format!("/own{METHOD}");
    let lines = fixture
        .deliver(&path, "Bearer own", &[cut, short])
        .await
        .unwrap();
    let all = lines.join(", ");
    assert_eq!(
        all,
        format!("a {OK}, /w== {RETRY}, c {OK}, d {OK}, e {RETRY}")
    );
    let seen = fixture.seen.lock().unwrap();
    let kept =
        |request: &&crate::pipeline::request::Request| request.body.starts_with(b"{\"@error\"");
    assert_eq!(seen.iter().filter(kept).count(), 2, "as evidence");
}

#[actix::test]
async fn both_schemas_are_served_at_once() {
    let sources = [own("own", NAMES), source("found", "pushwoosh")];
    let fixture = with(&sources, 2).await;
    let batch = [batch(&["b"])];
    let (ours, theirs) = tokio::join!(
        fixture.push("", &["a"]),
        fixture.deliver(METHOD, "Bearer own", &batch),
    );
    assert_eq!(ours.unwrap(), ["a Success"]);
    assert_eq!(theirs.unwrap(), [format!("b {OK}")]);
    // An authorization that two sources share: the method tells which is meant.
    let theirs = fixture.deliver(METHOD, "Bearer good", &batch).await;
    assert_eq!(theirs.unwrap(), [format!("b {OK}")]);
    let last = fixture.seen.lock().unwrap().last().unwrap().source.clone();
    assert_eq!(last.as_ref(), "own");
}

#[actix::test]
async fn a_source_has_one_method() {
    let sources = [own("own", NAMES), source("named", "pushwoosh")];
    let fixture = with(&sources, 1).await;
    let status = fixture.push("/own", &["a"]).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains(METHOD), "{status}");
    let path = format!("/named{METHOD}");
    let status = fixture.deliver(&path, "Bearer own", &[]).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("StreamEvents"), "{status}");
}

#[actix::test]
async fn a_schema_that_cannot_be_used_is_answered_with_the_reason() {
    let fixture = with(&[own("own", r#"{"nothing": "something"}"#)], 1).await;
    for (path, authorization) in [
        (format!("/own{METHOD}"), "Bearer own"),
        (METHOD.to_owned(), "Bearer own"),
    ] {
        let status = fixture
            .deliver(&path, authorization, &[])
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{path}");
        assert!(
            status.message().contains(r#"names has "nothing""#),
            "{status}"
        );
    }
}

#[actix::test]
async fn a_schema_is_served_as_soon_as_it_is_known_and_no_longer() {
    let fixture = with(&[source("own", "pushwoosh")], 1).await;
    let path = format!("/own{METHOD}");
    let attempt = || fixture.deliver(&path, "Bearer own", &[]);
    assert_eq!(attempt().await.unwrap_err().code(), Code::Unimplemented);
    fixture
        .snapshot
        .send_replace(snapshot(&[own("own", NAMES)]));
    assert!(attempt().await.unwrap().is_empty());
    fixture
        .snapshot
        .send_replace(snapshot(&[source("own", "pushwoosh")]));
    assert_eq!(attempt().await.unwrap_err().code(), Code::Unimplemented);
}

#[actix::test]
async fn the_health_of_a_service_of_its_own_is_there_as_long_as_it_is() {
    let fixture = with(&[own("own", NAMES)], 1).await;
    let service = "acme.hits.v3.HitService".to_owned();
    let mut health = HealthClient::new(fixture.channel.clone());
    let request = HealthCheckRequest { service };
    let mut changes = health.watch(request).await.unwrap().into_inner();
    let first = changes.message().await.unwrap().unwrap();
    assert_eq!(first.status, ServingStatus::Serving as i32);
    fixture.snapshot.send_replace(snapshot(&[]));
    let gone = tokio::time::timeout(Duration::from_secs(10), changes.message()).await;
    let gone = gone.expect("it is told");
    assert!(!matches!(gone, Ok(Some(change)) if change.status == ServingStatus::Serving as i32));
}
