//! Bursts of the smallest events, while Postgres stands still: flow control slows their
//! sender down before anything cuts the connection, on both sides.

pub(crate) mod framed;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use framed::{Ppoppo, framed};
use futures_util::stream;
use postgres::Client;
use prost::Message as _;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tidings_e2e::{DEADLINE, eventually, on_stage, wait_upkeep};
use tidings_proto::ppoppo::send_request_event_frame::Frame;
use tidings_proto::ppoppo::{
    RecipientStatus, SendRequestEvent, SendRequestEventFrame, SendRequestEventType,
};
use tidings_proto::pushwoosh::Event;
use tidings_proto::pushwoosh::event_streaming_client::EventStreamingClient;
use tonic::Request;

const AUTHORIZATION: &str = "Bearer burst";
/// Events of one push stream, and the bytes of each.
const PUSHED: usize = 5_000;
const SIZE: usize = 80;
/// Events of the dialed stream: more than a worker gathers, and as many as it took to reach
/// the library's limit.
const STREAMED: usize = 20_000;
/// Time for which Postgres stands still.
const LOCKED: Duration = Duration::from_secs(3);

/// Runs `during` while `tidings.event` is locked, and for [`LOCKED`] after it has returned.
pub(crate) fn locked<T>(client: &mut Client, during: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut lock = client.transaction()?;
    lock.batch_execute("lock table tidings.event in access exclusive mode")?;
    let begun = Instant::now();
    let value = during()?;
    eventually("the lock was held for its time", || {
        Ok((begun.elapsed() >= LOCKED).then_some(()))
    })?;
    lock.rollback()?;
    Ok(value)
}

/// The event of a push with this number, which has [`SIZE`] bytes.
fn pushed(series: u32, number: usize) -> Event {
    let mut event = Event {
        uuid: format!("{series:08x}-0000-4000-8000-{number:012x}"),
        event_name: "Push Sent".to_owned(),
        timestamp: 1_793_500_000,
        ..Event::default()
    };
    let missing = SIZE.saturating_sub(event.encoded_len() + 2);
    event.hwid = "h".repeat(missing);
    event
}

/// Pushes the events with tonic's own client, which puts several into a frame if it can.
async fn by_tonic(at: SocketAddr, events: Vec<Event>) -> Result<BTreeSet<String>> {
    let mut client = EventStreamingClient::connect(format!("http://{at}")).await?;
    let mut request = Request::new(stream::iter(events));
    let metadata = request.metadata_mut();
    metadata.insert("authorization", AUTHORIZATION.parse()?);
    let mut replies = client.stream_events(request).await?.into_inner();
    let mut successes = BTreeSet::new();
    while let Some(reply) = replies.message().await? {
        ensure!(reply.status == "Success", "{reply:?}");
        ensure!(successes.insert(reply.uuid.clone()), "{reply:?} again");
    }
    Ok(successes)
}

pub(crate) fn stored_once(
    client: &mut Client,
    source: &str,
    key: &str,
    expected: usize,
) -> Result<()> {
    let row = client.query_one(
        "select count(*), count(distinct e.payload->>$2)
         from tidings.event e join tidings.source s on s.id = e.source_id where s.name = $1",
        &[&source, &key],
    )?;
    let expected = i64::try_from(expected)?;
    let found: (i64, i64) = (row.get(0), row.get(1));
    ensure!(
        found == (expected, expected),
        "{source}: {found:?}, not {expected}"
    );
    Ok(())
}

#[test]
fn a_burst_of_the_smallest_pushes_is_slowed_down_and_answered_once_each() -> Result<()> {
    ensure!(pushed(1, 7).encoded_len() == SIZE);
    on_stage(|stage| {
        let runtime = tokio::runtime::Runtime::new()?;
        let mut client = stage.connect()?;
        client.execute(
            "select tidings.add_source('pushwoosh', 'pushwoosh', $1)",
            &[&AUTHORIZATION],
        )?;
        wait_upkeep(&mut client)?;
        let mut slow = stage.connect()?;
        let at = stage.worker.grpc;
        for series in 1..=2 {
            let events: Vec<_> = (0..PUSHED).map(|number| pushed(series, number)).collect();
            let expected: BTreeSet<_> = events.iter().map(|event| event.uuid.clone()).collect();
            let sent = Arc::new(AtomicUsize::new(0));
            let push = locked(&mut slow, || {
                Ok(match series {
                    1 => runtime.spawn(by_tonic(at, events)),
                    _ => runtime.spawn(framed::pushed(at, AUTHORIZATION, events, sent.clone())),
                })
            })?;
            let push = async { tokio::time::timeout(DEADLINE, push).await };
            let answered = runtime
                .block_on(push)
                .context("not every push is answered")??;
            let answered = answered.with_context(|| format!("series {series}"))?;
            ensure!(answered == expected, "{} answered", answered.len());
            stored_once(&mut client, "pushwoosh", "uuid", PUSHED * series as usize)?;
        }
        Ok(())
    })
}

/// The frame of Ppoppo's event with this number.
fn streamed(number: usize) -> Bytes {
    let event = SendRequestEvent {
        event_id: format!("01KCM1R300{number:016}"),
        send_request_id: "r".to_owned(),
        event_type: SendRequestEventType::RecipientFailed.into(),
        recipient: Some(RecipientStatus {
            ppnum: format!("{number:011}"),
            ..RecipientStatus::default()
        }),
        summary: None,
        // 2026-11-01T21:00:00Z
        occurred_at: Some(prost_types::Timestamp {
            seconds: 1_793_566_800,
            nanos: 0,
        }),
    };
    let frame = Some(Frame::Event(event));
    framed(&SendRequestEventFrame { frame })
}

#[test]
fn a_dialed_burst_of_small_frames_is_slowed_down_and_nobody_is_blamed() -> Result<()> {
    ensure!(streamed(7).len() < 100, "{} bytes", streamed(7).len());
    on_stage(|stage| {
        let runtime = tokio::runtime::Runtime::new()?;
        let mut client = stage.connect()?;
        let frames = (0..STREAMED).map(streamed).collect();
        let (begin, begun) = tokio::sync::watch::channel(false);
        let ppoppo = runtime.block_on(Ppoppo::serve(frames, begun))?;
        client.execute(
            "select tidings.add_source('ppoppo', 'ppoppo', 'token', jsonb_build_object('endpoint', $1::text))",
            &[&format!("http://{}", ppoppo.at)],
        )?;
        wait_upkeep(&mut client)?;
        let count = |client: &mut Client| -> Result<i64> {
            Ok(client
                .query_one("select count(*) from tidings.event", &[])?
                .get(0))
        };
        eventually("the first event is stored", || {
            Ok((count(&mut client)? == 1).then_some(()))
        })?;
        let mut slow = stage.connect()?;
        let sent = locked(&mut slow, || {
            begin.send_replace(true);
            // More than the worker gathers is on its way, or in its hands.
            eventually("the stream is sent", || {
                let sent = ppoppo.sent.load(Ordering::SeqCst);
                Ok((sent > STREAMED / 2).then_some(sent))
            })
        })?;
        println!("{sent} were sent soon after Postgres stood still");
        eventually("all events are stored", || {
            Ok((count(&mut client)? >= i64::try_from(STREAMED)?).then_some(()))
        })?;
        stored_once(&mut client, "ppoppo", "event_id", STREAMED)?;
        let row = client.query_one(
            "select state, failures, last_error from tidings.stream_status",
            &[],
        )?;
        let status: (String, i32, Option<String>) = (row.get(0), row.get(1), row.get(2));
        ensure!(status == ("connected".to_owned(), 0, None), "{status:?}");
        let connections = ppoppo.connections.load(Ordering::SeqCst);
        ensure!(connections == 1, "{connections} connections");
        ensure!(!stage.worker.tail().contains("keepalive raised"));
        Ok(())
    })
}
