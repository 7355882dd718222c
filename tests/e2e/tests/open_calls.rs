//! Callers without authorization, who cost nothing and wait: they keep nobody out.

use crate::bursts::framed::{connect, framed, push, request};
use anyhow::{Context as _, Result, ensure};
use h2::RecvStream;
use std::time::Duration;
use tidings_e2e::{DEADLINE, eventually, on_stage, on_stage_with};
use tidings_harness::metrics;
use tidings_harness::stage::Stage;
use tidings_proto::pushwoosh::Event;
use tokio::time::timeout;

const AUTHORIZATION: &str = "Bearer at once";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const CONNECTIONS: &str = "tidings_worker_grpc_connections";
/// The default of --grpc-connections.
const MOST: usize = 256;
/// Time within which an answer counts as one that came at once.
const AT_ONCE: Duration = Duration::from_secs(5);

fn add_source(stage: &Stage) -> Result<()> {
    stage.connect()?.execute(
        "select tidings.add_source('pushwoosh', 'pushwoosh', $1)",
        &[&AUTHORIZATION],
    )?;
    Ok(())
}

/// Pushes an event over a connection of its own, and returns the reply.
async fn pushed(stage: &Stage, uuid: &str) -> Result<String> {
    let mut requests = connect(stage.worker.grpc, 1 << 16).await?;
    let (response, mut stream) = requests.send_request(push(AUTHORIZATION)?, false)?;
    let event = Event {
        uuid: uuid.to_owned(),
        event_name: "Push Sent".to_owned(),
        ..Event::default()
    };
    stream.send_data(framed(&event), true)?;
    let response = response.await?;
    ensure!(
        !response.headers().contains_key("grpc-status"),
        "{response:?}"
    );
    let reply = first(response.into_body()).await?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

async fn first(mut body: RecvStream) -> Result<Vec<u8>> {
    Ok(body.data().await.context("there is no message")??.to_vec())
}

#[test]
fn idle_calls_of_anybody_keep_no_authorized_push_out() -> Result<()> {
    on_stage(|stage| {
        add_source(stage)?;
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(async {
            let known = eventually_pushed(stage, "before").await?;
            ensure!(known.contains("Success"), "{known}");
            let mut held = Vec::new();
            for _ in 0..MOST {
                let mut requests = connect(stage.worker.grpc, 1 << 16).await?;
                let asked = requests.send_request(request(REFLECTION, "")?, false)?;
                held.push((requests, asked));
            }
            eventually("the port is full", || {
                let open = metrics::gauge(stage.worker.admin, CONNECTIONS)?;
                Ok((open >= MOST as f64).then_some(()))
            })?;
            let reply = timeout(AT_ONCE, pushed(stage, "at once")).await;
            let reply = reply.context("the push is kept out")??;
            ensure!(reply.contains("Success"), "{reply}");
            drop(held);
            Ok(())
        })
    })
}

/// Pushes until the worker knows the source.
async fn eventually_pushed(stage: &Stage, uuid: &str) -> Result<String> {
    let attempts = async {
        loop {
            if let Ok(reply) = pushed(stage, uuid).await {
                return reply;
            }
        }
    };
    timeout(DEADLINE, attempts)
        .await
        .context("it is never taken")
}

#[test]
fn a_call_of_anybody_ends_after_its_time() -> Result<()> {
    on_stage_with(&["--open-call-time", "1s"], |stage| {
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(async {
            let mut requests = connect(stage.worker.grpc, 1 << 16).await?;
            let (response, _asking) = requests.send_request(request(REFLECTION, "")?, false)?;
            let ended = async {
                let response = response.await?;
                let mut body = response.into_body();
                ensure!(body.data().await.is_none());
                body.trailers().await?.context("no trailers")
            };
            let trailers = timeout(DEADLINE, ended)
                .await
                .context("it does not end")??;
            let status = trailers.get("grpc-status").context("no status")?;
            ensure!(status == "14", "{trailers:?}");
            Ok(())
        })
    })
}
