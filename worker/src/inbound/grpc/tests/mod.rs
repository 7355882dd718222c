mod end;
mod limits;
mod own;

use std::sync::{Arc, Mutex};

use actix::{Actor, Handler};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use metrics_exporter_prometheus::PrometheusBuilder;
use tidings_proto::pushwoosh::{Event, event_streaming_client::EventStreamingClient};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, transport::Channel};
use tonic_health::{
    ServingStatus,
    pb::{HealthCheckRequest, health_client::HealthClient},
};

use super::{
    connection::{CONNECTION_WINDOW, HEADERS, SEND_BUFFER},
    push::{ChunkLimits, PushStreams, Turns},
    *,
};
use crate::{
    admission::{
        budget::{Budget, Limits},
        directory::{
            Directory,
            fake::{Control, snapshot, source},
        },
    },
    inbound::{peer::Proxies, refusal::Refusals},
    pipeline::{
        request::{Outcome, Verdict, fake},
        taking::Taking,
    },
    process::{drain::Drain, metric},
    sources::{
        control::FindSource,
        source::{Snapshot, Source},
    },
    testing,
    wire::codec::Raw,
};

/// Knows two authorizations.
struct Finder;

impl Actor for Finder {
    type Context = actix::Context<Self>;
}

impl Handler<FindSource> for Finder {
    type Result = Result<Option<String>, String>;

    fn handle(&mut self, find: FindSource, _: &mut Self::Context) -> Self::Result {
        assert_eq!(find.provider, "pushwoosh");
        let has = |value: &str| {
            find.headers
                .contains(&format!(r#""authorization":"{value}""#))
        };
        if let Some(name) = find.name {
            return Ok((has("Bearer good") || has("Bearer own")).then_some(name));
        }
        let found = [("Bearer good", "found"), ("Bearer own", "own")];
        let found = found.into_iter().find(|(value, _)| has(value));
        Ok(found.map(|(_, name)| name.to_owned()))
    }
}

struct Fixture {
    channel: Channel,
    address: std::net::SocketAddr,
    budget: Budget,
    drain: Drain,
    snapshot: watch::Sender<Snapshot>,
    taking: Taking,
    seen: Arc<Mutex<Vec<crate::pipeline::request::Request>>>,
    /// Until the server has ended.
    serving: JoinHandle<()>,
}

async fn fixture() -> Fixture {
    let sources = [
        source("found", "pushwoosh"),
        source("named", "pushwoosh"),
        source("sms", "arpoone"),
    ];
    with(&sources, 1).await
}

/// A server of these sources, with room for so many streams.
async fn with(sources: &[Source], streams: usize) -> Fixture {
    keeping(sources, streams, Duration::from_secs(60)).await
}

/// The same, where a connection is kept so long without a call.
async fn keeping(sources: &[Source], streams: usize, keep_alive: Duration) -> Fixture {
    let answer = |request: &crate::pipeline::request::Request| -> Outcome {
        let body = std::str::from_utf8(&request.body).unwrap();
        let bad = body.contains("bad");
        Ok(fake::receipt(if bad {
            Verdict::Malformed
        } else {
            Verdict::Accepted
        }))
    };
    let (pipeline, seen) = testing::pipeline(answer, testing::PATIENCE);
    let now = snapshot(sources);
    let watched = watch::Sender::new(now.clone());
    let control = Control {
        looks: Arc::default(),
        later: now,
        snapshot: watched.clone(),
    };
    let drain = Drain::new();
    let budget = Budget::new(Limits {
        requests: 10,
        bytes: 10_000,
        share: 50,
        wire: 5_000,
        message: 1_000,
    });
    let push = Push {
        pipeline,
        directory: Directory::new(watched.subscribe(), control.start().recipient()),
        finder: Finder.start().recipient(),
        budget: budget.clone(),
        drain: drain.clone(),
        chunks: ChunkLimits {
            events: 4,
            bytes: 1_000,
        },
        streams: PushStreams::new(streams, 50),
        turns: Turns::new(1),
        refusals: Refusals::default(),
        proxies: Proxies::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let taking = Taking::trusting();
    let postgres = (watched.subscribe(), taking.clone());
    let limits = GrpcLimits {
        connections: 4,
        streams: 8,
        silence: Duration::from_secs(5),
        keep_alive,
        messages: Bounds {
            message: 1_000,
            time: Duration::from_secs(5),
        },
        open_calls: OpenLimits {
            calls: 4,
            time: Duration::from_secs(60),
        },
    };
    let serving =
        tokio::spawn(async move { serve(listener, None, push, limits, postgres).await.unwrap() });
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    Fixture {
        channel: channel.connect().await.unwrap(),
        address,
        budget,
        drain,
        snapshot: watched,
        taking,
        seen,
        serving,
    }
}

fn event(uuid: &str) -> Event {
    Event {
        uuid: uuid.to_owned(),
        event_name: "Push Sent".to_owned(),
        ..Event::default()
    }
}

fn authorized<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = "Bearer good".parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

impl Fixture {
    fn client(&self, prefix: &str) -> EventStreamingClient<Channel> {
        let origin = format!("http://localhost{prefix}").parse().unwrap();
        EventStreamingClient::with_origin(self.channel.clone(), origin)
    }

    /// Pushes these and gives the replies, sorted.
    async fn push(&self, prefix: &str, uuids: &[&str]) -> Result<Vec<String>, Status> {
        let events: Vec<_> = uuids.iter().map(|uuid| event(uuid)).collect();
        let request = authorized(tokio_stream::iter(events));
        let replies = self
            .client(prefix)
            .stream_events(request)
            .await?
            .into_inner();
        let replies: Vec<_> = replies.collect().await;
        let replies = replies.into_iter();
        let replies = replies.map(|reply| reply.map(|r| format!("{} {}", r.uuid, r.status)));
        let mut replies: Vec<_> = replies.collect::<Result<_, _>>()?;
        replies.sort();
        Ok(replies)
    }
}

#[actix::test]
async fn pushwoosh_grpc_every_uuid_is_answered() {
    let fixture = fixture().await;
    let uuids: Vec<_> = (10..60).map(|n| n.to_string()).collect();
    let uuids: Vec<_> = uuids.iter().map(String::as_str).collect();
    let replies = fixture.push("", &uuids).await.unwrap();
    let expected: Vec<_> = uuids.iter().map(|uuid| format!("{uuid} Success")).collect();
    assert_eq!(replies, expected);

    let seen = fixture.seen.lock().unwrap();
    let bodies = seen.iter().map(|request| request.body.as_ref());
    let bodies = bodies.map(|body| serde_json::from_slice(body).unwrap());
    let events = bodies.map(|body: serde_json::Value| body.as_array().map_or(1, Vec::len));
    assert_eq!(events.sum::<usize>(), 50);
    assert!(
        seen.iter()
            .all(|request| request.source.as_ref() == "found")
    );
    let ids: std::collections::HashSet<_> = seen.iter().map(|r| r.headers.to_string()).collect();
    assert_eq!(ids.len(), seen.len(), "one receipt a request");
}

#[actix::test]
async fn one_bad_event_fails_alone() {
    let log = testing::Log::default();
    let _listening = log.listen();
    let fixture = fixture().await;
    let replies = fixture.push("", &["a", "bad", "c"]).await.unwrap();
    let [a, bad, c] = replies.try_into().unwrap();
    assert_eq!([a.as_str(), c.as_str()], ["a Success", "c Success"]);
    let seen = fixture.seen.lock().unwrap();
    let is_bad = |request: &&crate::pipeline::request::Request| {
        let body = String::from_utf8_lossy(&request.body);
        body.contains("bad") && !body.starts_with('[')
    };
    let receipt = seen.iter().find(is_bad).unwrap().headers.receipt().unwrap();
    assert_eq!(bad, format!("bad malformed (receipt {receipt})"));
    let text = log.text();
    let line = text.lines().find(|line| line.contains(&receipt)).unwrap();
    for part in [
        "WARN",
        r#"source="found""#,
        "peer=127.0.0.1:",
        r#"cause="malformed""#,
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[actix::test]
async fn a_stream_that_is_not_opened_has_a_receipt_id_in_its_status_and_in_the_log() {
    let log = testing::Log::default();
    let _listening = log.listen();
    let recorder = PrometheusBuilder::new().build_recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let fixture = fixture().await;
    for (prefix, authorization, source, cause, level) in [
        (
            "/absent",
            "Bearer good",
            "absent",
            "unknown_source",
            "DEBUG",
        ),
        ("/sms", "Bearer good", "sms", "takes_no_pushes", "DEBUG"),
        ("/named", "Bearer bad", "named", "unauthorized", "WARN"),
        ("", "Bearer bad", "", "unauthorized", "DEBUG"),
    ] {
        let mut request = tonic::Request::new(tokio_stream::iter([event("a")]));
        let value = authorization.parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        let status = fixture.client(prefix).stream_events(request).await;
        let status = status.unwrap_err();
        let receipt = status.metadata().get("tidings-receipt").unwrap();
        let receipt = receipt.to_str().unwrap();
        let text = log.text();
        let line = text.lines().find(|line| line.contains(receipt)).unwrap();
        for part in [
            level.to_owned(),
            format!("source={source:?}"),
            "peer=127.0.0.1:".to_owned(),
            format!("cause={cause:?}"),
        ] {
            assert!(line.contains(&part), "{part}: {line}");
        }
    }
    let text = recorder.handle().render();
    let unauthorized = format!("{}{{reason=\"unauthorized\"}} 2", metric::PUSH_REFUSED);
    assert!(text.contains(&unauthorized), "{text}");
}

#[actix::test]
async fn a_path_names_the_source() {
    let fixture = fixture().await;
    for prefix in ["/absent", "/sms"] {
        let status = fixture.push(prefix, &["a"]).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{prefix}");
    }
    for prefix in ["/named", "/hooks/named"] {
        assert_eq!(fixture.push(prefix, &["a"]).await.unwrap(), ["a Success"]);
    }
    let seen = fixture.seen.lock().unwrap();
    assert!(
        seen.iter()
            .all(|request| request.source.as_ref() == "named")
    );
}

#[actix::test]
async fn pushwoosh_grpc_without_authorization_there_is_no_stream() {
    let fixture = fixture().await;
    for prefix in ["", "/named"] {
        let events = tokio_stream::iter([event("a")]);
        let mut client = fixture.client(prefix);
        let status = client.stream_events(events).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{prefix}");
    }
    assert!(fixture.seen.lock().unwrap().is_empty());
}

#[actix::test]
async fn draining_answers_what_was_sent_and_ends_the_stream() {
    let fixture = fixture().await;
    let (sender, events) = mpsc::channel(8);
    let request = authorized(ReceiverStream::new(events));
    let replies = fixture.client("").stream_events(request).await.unwrap();
    let mut replies = replies.into_inner();
    sender.send(event("a")).await.unwrap();
    assert_eq!(replies.message().await.unwrap().unwrap().status, "Success");

    let second = authorized(tokio_stream::iter([event("b")]));
    let status = fixture.client("").stream_events(second).await.unwrap_err();
    assert_eq!(
        status.code(),
        Code::ResourceExhausted,
        "one stream is the limit here"
    );

    fixture.drain.begin();
    let status = replies.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

#[actix::test]
async fn its_health_follows_postgres() {
    let fixture = fixture().await;
    let service = "pushwoosh.event_streaming.v1.EventStreaming".to_owned();
    let request = HealthCheckRequest { service };
    let mut health = HealthClient::new(fixture.channel.clone());
    let mut changes = health.watch(request).await.unwrap().into_inner();
    let first = changes.message().await.unwrap().unwrap();
    assert_eq!(first.status, ServingStatus::Serving as i32);
    let mut next = async || changes.message().await.unwrap().unwrap().status;
    // Pushes are not spooled, so that a connection alone is not enough.
    fixture.taking.stop_for("read-only");
    assert_eq!(next().await, ServingStatus::NotServing as i32);
    fixture.taking.resume();
    assert_eq!(next().await, ServingStatus::Serving as i32);
    fixture.snapshot.send_replace(Snapshot::default());
    assert_eq!(next().await, ServingStatus::NotServing as i32);
}

#[test]
fn the_manual_states_the_limits_of_a_call() {
    use crate::testing::documents::{MANUAL, states};

    let (headers, question) = (HEADERS >> 10, gateway::QUESTION >> 10);
    states(
        MANUAL,
        &format!(
            "headers of a gRPC call: {headers} KiB; a request to health or reflection: {question} KiB"
        ),
    );
    // What has arrived, and about as much for what the library knows of its last ration.
    let connection = (2 * CONNECTION_WINDOW) >> 10;
    states(
        MANUAL,
        &format!("{connection} KiB for each gRPC connection"),
    );
    // What tonic encodes at a time, and what the library has of it.
    let call = 32 + ((2 * SEND_BUFFER) >> 10);
    states(MANUAL, &format!("{call} KiB for each call on it"));
    let (watches, key) = (open_calls::WATCHES, push::KEY);
    states(
        MANUAL,
        &format!("{watches} watches of the health have neither limit"),
    );
    states(MANUAL, &format!("at most {key} bytes of its event's key"));
    states(
        "docs/security.md",
        &format!("Only {watches} watches of the health"),
    );
}
