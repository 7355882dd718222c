//! Against a real tonic server whose answers misbehave.

use std::{collections::HashMap, pin::Pin};

use futures_util::{Stream, StreamExt as _};
use tidings_proto::pushwoosh::{
    Event, EventStatus,
    event_streaming_server::{EventStreaming, EventStreamingServer},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};

use super::*;
use crate::{draw::Purpose, testing::Refusal};

#[derive(Default)]
struct Log {
    streams: usize,
    /// How often each uuid came, and how often it was answered `Success`.
    seen: HashMap<String, (u32, u32)>,
}

/// Fails the first call, cuts the second stream after 100 events, and on the third
/// refuses each tenth event; after that, all succeeds.
#[derive(Clone, Default)]
struct Moody(Arc<Mutex<Log>>);

#[tonic::async_trait]
impl EventStreaming for Moody {
    type StreamEventsStream = Pin<Box<dyn Stream<Item = Result<EventStatus, Status>> + Send>>;

    async fn stream_events(
        &self,
        request: Request<Streaming<Event>>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        let authorization = request.metadata().get("authorization").unwrap();
        assert_eq!(authorization.to_str().unwrap(), "Bearer t");
        let nth = {
            let mut log = self.0.lock().unwrap();
            log.streams += 1;
            log.streams
        };
        if nth == 1 {
            return Err(Status::unavailable("not yet"));
        }
        let log = Arc::clone(&self.0);
        let answers = request.into_inner().enumerate().map(move |(at, event)| {
            let uuid = event?.uuid;
            if nth == 2 && at == 100 {
                return Err(Status::internal("cut"));
            }
            let fails = nth == 3 && at % 10 == 0;
            let mut log = log.lock().unwrap();
            let seen = log.seen.entry(uuid.clone()).or_default();
            seen.0 += 1;
            seen.1 += u32::from(!fails);
            let status = if fails { "Try again" } else { "Success" };
            Ok(EventStatus {
                uuid,
                status: status.to_owned(),
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

async fn serve(service: Moody) -> (Uri, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let serving = Server::builder()
        .add_service(EventStreamingServer::new(service))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let task = tokio::spawn(async { serving.await.unwrap() });
    (uri.parse().unwrap(), task)
}

fn plan(events: u32, duplicates: f64) -> Plan {
    Plan {
        draw: Draw::new(5, Purpose::PushwooshGrpc),
        from: "2026-11-01T21:00:00Z".parse().unwrap(),
        events,
        duplicates,
        faults: Arc::default(),
        schema: Schema::Documented,
    }
}

fn target(address: Uri) -> Target {
    Target {
        address,
        authorization: HeaderValue::from_static("Bearer t"),
    }
}

#[tokio::test]
async fn every_uuid_succeeds_in_the_end_and_some_come_again() {
    let moody = Moody::default();
    let (address, server) = serve(moody.clone()).await;
    let book = Book::new("s");
    drive(
        target(address),
        plan(4500, 0.05),
        Arc::clone(&book),
        Pace::unlimited(),
    )
    .await
    .unwrap();
    server.abort();
    let log = moody.0.lock().unwrap();
    assert_eq!(log.seen.len(), 4500);
    assert!(log.seen.values().all(|seen| seen.1 >= 1));
    let twice = log.seen.values().filter(|seen| seen.1 > 1).count();
    assert!((100..400).contains(&twice), "{twice}");
    let counts = book.counts();
    assert_eq!((counts.emitted, counts.acknowledged), (4500, 4500));
    assert!(counts.retried > 100, "{counts:?}");
    for line in book.lines() {
        let seen = log.seen[&line.key];
        assert!(line.emissions >= seen.0, "{line:?} {seen:?}");
        assert!(line.acknowledged <= seen.1, "{line:?} {seen:?}");
    }
}

#[tokio::test]
async fn without_a_server_nothing_counts_as_emitted() {
    let refusal = Refusal::new();
    let book = Book::new("s");
    let driving = drive(
        target(refusal.uri.clone()),
        plan(100, 0.0),
        Arc::clone(&book),
        Pace::unlimited(),
    );
    let waited = tokio::time::timeout(Duration::from_millis(50), driving).await;
    assert!(waited.is_err());
    assert_eq!(book.lines(), []);
}
