//! Clients that send much and read nothing: what they hold is bounded, they keep no other
//! source out, and their calls end.

use crate::bursts::framed::{connect, framed, push};
use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::future::poll_fn;
use h2::SendStream;
use h2::client::ResponseFuture;
use std::time::Duration;
use tidings_e2e::{DEADLINE, on_stage_with, wait_logged};
use tidings_harness::procfs::Usage;
use tidings_harness::stage::Stage;
use tidings_proto::pushwoosh::Event;
use tokio::time::timeout;

const GREEDY: &str = "Bearer greedy";
const OTHER: &str = "Bearer other";
/// The default of --push-streams; one source may have half of them.
const STREAMS: usize = 64;
const OF_ONE: usize = 32;
/// Slightly less than --max-body.
const UUID: usize = (8 << 20) - 1_000;
/// Limit on the growth of the worker, at its peak, in MiB: the manual's three times
/// --pending-bytes, and its fixed part.
const MOST_GROWTH: u64 = 3 * 64 + 64;

fn add_sources(stage: &Stage) -> Result<()> {
    stage.connect()?.execute(
        "select tidings.add_source('greedy', 'pushwoosh', $1),
                tidings.add_source('other', 'pushwoosh', $2)",
        &[&GREEDY, &OTHER],
    )?;
    Ok(())
}

fn event(uuid: &str) -> Event {
    Event {
        uuid: uuid.to_owned(),
        event_name: "Push Sent".to_owned(),
        ..Event::default()
    }
}

struct Call {
    response: ResponseFuture,
    stream: SendStream<Bytes>,
}

/// A push stream over a connection of its own, with this window for its replies.
async fn open(stage: &Stage, authorization: &str, window: u32) -> Result<Call> {
    let mut requests = connect(stage.worker.grpc, window).await?;
    let (response, stream) = requests.send_request(push(authorization)?, false)?;
    Ok(Call { response, stream })
}

/// Sends what there is room for until all is sent or the stream has ended, and returns
/// whether it is all.
async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes) -> bool {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let Some(Ok(room)) = poll_fn(|context| stream.poll_capacity(context)).await else {
            return false;
        };
        let part = data.split_to(room.min(data.len()));
        if stream.send_data(part, false).is_err() {
            return false;
        }
    }
    true
}

/// Pushes one event, and returns the reply.
async fn pushed(stage: &Stage, authorization: &str, uuid: &str) -> Result<String> {
    let mut call = open(stage, authorization, 1 << 16).await?;
    call.stream.send_data(framed(&event(uuid)), true)?;
    let response = call.response.await?;
    ensure!(
        !response.headers().contains_key("grpc-status"),
        "{response:?}"
    );
    let mut body = response.into_body();
    let reply = body.data().await.context("there is no reply")??;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

async fn known(stage: &Stage) -> Result<()> {
    for authorization in [GREEDY, OTHER] {
        let attempts = async { while pushed(stage, authorization, "known").await.is_err() {} };
        timeout(DEADLINE, attempts)
            .await
            .context("it is never taken")?;
    }
    Ok(())
}

#[test]
fn replies_that_nobody_reads_are_bounded_and_their_calls_end() -> Result<()> {
    on_stage_with(&["--body-timeout", "10s"], |stage| {
        add_sources(stage)?;
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(async {
            known(stage).await?;
            let before = Usage::of(stage.worker.id())?.resident;
            let large = framed(&event(&"u".repeat(UUID)));
            let mut held = Vec::new();
            for number in 0..STREAMS {
                let whose = if number % 2 == 0 { GREEDY } else { OTHER };
                // No room for any reply.
                let mut call = open(stage, whose, 0).await?;
                let sent = send(&mut call.stream, large.clone());
                let sent = timeout(DEADLINE, sent).await.context("it is not taken")?;
                ensure!(sent, "stream {number} has ended before its event was sent");
                held.push(call);
            }
            let mut ended = 0;
            for Call { response, stream } in held {
                let ending = async {
                    let _open = stream;
                    let response = response.await?;
                    if let Some(status) = response.headers().get("grpc-status") {
                        return anyhow::Ok(status.clone());
                    }
                    let mut body = response.into_body();
                    ensure!(body.data().await.is_none(), "a reply without room");
                    let trailers = body.trailers().await?.context("no trailers")?;
                    trailers.get("grpc-status").cloned().context("no status")
                };
                let status = timeout(DEADLINE, ending).await.context("it stays open")??;
                ensure!(status == "8", "{status:?}");
                ended += 1;
            }
            let growth = Usage::of(stage.worker.id())?.peak.saturating_sub(before) >> 20;
            println!("{ended} streams ended; the worker grew by {growth} MiB at most");
            ensure!(growth <= MOST_GROWTH, "the worker grew by {growth} MiB");
            anyhow::Ok(())
        })?;
        let log = stage.cluster.folder().join("worker.log");
        wait_logged(&log, 1, |line| {
            line.contains("replies_unread") && line.contains("WARN")
        })?;
        Ok(())
    })
}

#[test]
fn a_source_whose_clients_send_halves_and_read_nothing_keeps_no_other_out() -> Result<()> {
    // Longer than any wait here, so that nobody is helped by the end of a call.
    on_stage_with(&["--body-timeout", "5m"], |stage| {
        add_sources(stage)?;
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(async {
            known(stage).await?;
            let large = framed(&event(&"u".repeat(UUID)));
            let half = large.slice(..large.len() / 2);
            let mut held = Vec::new();
            for number in 0..OF_ONE {
                let Call {
                    response,
                    mut stream,
                } = open(stage, GREEDY, 0).await?;
                let data = if number % 2 == 0 {
                    half.clone()
                } else {
                    large.clone()
                };
                held.push(response);
                tokio::spawn(async move {
                    send(&mut stream, data).await;
                    // It stays open, and nothing more comes.
                    poll_fn(|context| stream.poll_reset(context)).await
                });
            }
            // One stream more of that source is refused, and says why.
            let refused = async {
                loop {
                    let call = open(stage, GREEDY, 1 << 16).await?;
                    let response = call.response.await?;
                    if let Some(status) = response.headers().get("grpc-status") {
                        return anyhow::Ok(status.clone());
                    }
                }
            };
            let status = timeout(DEADLINE, refused)
                .await
                .context("never refused")??;
            ensure!(status == "8", "{status:?}");
            for number in 0..20 {
                let uuid = format!("beside-{number}");
                let reply = pushed(stage, OTHER, &uuid);
                let reply = timeout(Duration::from_secs(10), reply).await;
                let reply = reply.context("the other source is kept out")??;
                ensure!(reply.contains("Success"), "{reply}");
            }
            drop(held);
            Ok(())
        })
    })
}
