//! One gRPC stream of Pushwoosh's, on which every event is answered.

use super::bodies::Bodies;
use anyhow::{Context as _, Result, ensure};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tidings_proto::pushwoosh::Event;
use tidings_proto::pushwoosh::event_streaming_client::EventStreamingClient;
use tokio_stream::iter;
use tonic::Request;
use tonic::transport::Endpoint;

/// Entries of the metadata.
pub(crate) const AUTHORIZATION: &str = "Bearer pushwoosh";

/// Limit on the wait for the next answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// So many events, each of another message.
pub(crate) fn events(count: u64) -> Vec<Event> {
    let mut bodies = Bodies::new(7);
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default();
    (0..count)
        .map(|at| Event {
            uuid: bodies.id().to_string(),
            event_name: "Email Delivered".to_owned(),
            message_code: bodies.id().to_string(),
            campaign_id: Some(961_048),
            platform: "Email".to_owned(),
            payload: "Welcome to Headway!".to_owned(),
            application_code: "32E5A-9B411".to_owned(),
            hwid: format!("{}@example.com", bodies.id().simple()),
            user_id: at.to_string(),
            timestamp: i64::try_from(now - at % 60).unwrap_or_default(),
            journey_point_title: "5_Welcome_ID_new".to_owned(),
            ..Event::default()
        })
        .collect()
}

/// Sends them over one stream, and returns how long it took until all were answered
/// `Success`.
pub(crate) fn send(to: SocketAddr, events: Vec<Event>) -> Result<Duration> {
    ensure!(to.ip().is_loopback(), "the load is for this machine alone");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let channel = Endpoint::from_shared(format!("http://{to}"))?
            .connect()
            .await?;
        let count = events.len();
        let began = Instant::now();
        let mut request = Request::new(iter(events));
        request
            .metadata_mut()
            .insert("authorization", AUTHORIZATION.parse()?);
        let answers = EventStreamingClient::new(channel)
            .stream_events(request)
            .await;
        let mut answers = answers.context("the stream is refused")?.into_inner();
        let mut answered = 0;
        while answered < count {
            let answer = tokio::time::timeout(PATIENCE, answers.message()).await;
            let answer = answer
                .context("no answer")??
                .context("the stream has ended")?;
            ensure!(
                answer.status == "Success",
                "an event was answered {}",
                answer.status
            );
            answered += 1;
        }
        Ok(began.elapsed())
    })
}
