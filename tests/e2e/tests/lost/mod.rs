//! Requests that are lost make a gap, and others make none.

mod spooled;

use anyhow::{Context as _, Result, ensure};
use postgres::Client;
use std::process::Command;
use std::time::{Duration, SystemTime};
use tidings_e2e::{DEADLINE, eventually, server};
use tidings_harness::cluster::{Cluster, Durability};
use tidings_harness::http;
use tidings_harness::metrics;
use tidings_harness::stage::{self, DATABASE, Stage};
use tidings_harness::worker::{self, ANY_PORT, Worker};

/// A source of Pushwoosh, which gives up after four attempts, and one of Arpoone, which does
/// not.
const SOURCES: &str = "select tidings.add_source('push', 'pushwoosh', 'Bearer right'),
                              tidings.add_source('sms', 'arpoone', 'token')";
const RIGHT: &str = "Bearer right";

/// Runs a test on a worker with these flags, whose sources are known.
fn on_worker(flags: &[&str], test: impl FnOnce(&mut Stage) -> Result<()>) -> Result<()> {
    let cluster = stage::cluster(&server()?, Durability::Fast)?;
    cluster.connect(DATABASE)?.batch_execute(SOURCES)?;
    let worker = worker(&cluster, flags)?;
    let mut stage = Stage { worker, cluster };
    stage.worker.wait_ready()?;
    test(&mut stage).inspect_err(|_| eprintln!("{}", stage.logs()))
}

fn command(cluster: &Cluster, flags: &[&str]) -> Result<Command> {
    let mut command = worker::command(&cluster.url(DATABASE), ANY_PORT, ANY_PORT)?;
    command.args(flags);
    Ok(command)
}

fn worker(cluster: &Cluster, flags: &[&str]) -> Result<Worker> {
    let log = cluster.folder().join("worker.log");
    Worker::spawn(&mut command(cluster, flags)?, &log)
}

/// An event of Pushwoosh of so many bytes, or more.
fn event(number: &str, bytes: usize) -> String {
    let event = format!(
        r#"{{"event_name": "Push Sent", "message_code": "{number}", "hwid": "d", "timestamp": 1772442000}}"#
    );
    format!("{event:<bytes$}")
}

/// The status of an answer to this body.
fn send(stage: &Stage, authorization: &str, body: &str) -> Result<u16> {
    let headers = [("authorization", authorization)];
    let answer = http::post(stage.worker.http, "/hooks/push", &headers, body.as_bytes())?;
    Ok(answer.status)
}

#[derive(Debug)]
struct Gap {
    source: String,
    cause: String,
    from: Option<SystemTime>,
    to: SystemTime,
    detail: String,
}

fn gaps(client: &mut Client) -> Result<Vec<Gap>> {
    let rows = client.query(
        "select source, cause, from_at, to_at, detail from tidings.gap order by source, id",
        &[],
    )?;
    let gap = |row: &postgres::Row| Gap {
        source: row.get(0),
        cause: row.get(1),
        from: row.get(2),
        to: row.get(3),
        detail: row.get(4),
    };
    Ok(rows.iter().map(gap).collect())
}

/// Waits until there is one, and returns all.
fn found(stage: &Stage) -> Result<Vec<Gap>> {
    let mut client = stage.connect()?;
    eventually("a gap is reported", || {
        let gaps = gaps(&mut client)?;
        Ok((!gaps.is_empty()).then_some(gaps))
    })
}

/// Ends the worker, which reports what is left, and returns all gaps.
fn all(stage: &mut Stage) -> Result<Vec<Gap>> {
    let status = stage.worker.drain(DEADLINE)?;
    ensure!(status.success(), "{status}");
    gaps(&mut stage.connect()?)
}

fn is_down(stage: &Stage) -> Result<()> {
    eventually("the worker knows that Postgres is away", || {
        let name = "tidings_worker_database_up";
        Ok((metrics::gauge(stage.worker.admin, name)? == 0.0).then_some(()))
    })
}

#[test]
fn a_webhook_that_was_refused_four_times_is_a_gap_and_one_that_was_accepted_is_none() -> Result<()>
{
    // Without a spool a request waits so long for Postgres.
    on_worker(&["--patience", "300ms"], |stage| {
        stage.cluster.kill()?;
        is_down(stage)?;
        let before = SystemTime::now();
        for body in ["lost", "lost too"].map(|number| event(number, 200)) {
            for attempt in 1..=4 {
                let status = send(stage, RIGHT, &body)?;
                ensure!(status == 503, "{attempt}: {status}");
            }
        }
        let (later, forged) = (event("later", 200), event("forged", 200));
        for _ in 0..2 {
            ensure!(send(stage, RIGHT, &later)? == 503);
        }
        for _ in 0..4 {
            ensure!(send(stage, "Bearer wrong", &forged)? == 503);
        }
        let after = SystemTime::now();
        stage.cluster.restart()?;
        // Bodies that are refused once are no loss.
        let mut number = 0;
        eventually("Postgres accepts requests again", || {
            number += 1;
            let body = event(&number.to_string(), 0);
            Ok((send(stage, RIGHT, &body)? == 200).then_some(()))
        })?;
        let accepted = send(stage, RIGHT, &later)?;
        let [gap] = found(stage)?
            .try_into()
            .map_err(|gaps| anyhow::anyhow!("{gaps:?}"))?;
        ensure!(
            gap.source == "push" && gap.cause == "provider_gave_up",
            "{gap:?}"
        );
        let words = "answered 503 each time: 2 requests, 400 bytes; pushwoosh has given up after 4 attempts";
        ensure!(gap.detail.starts_with(words), "{gap:?}");
        // A millisecond is what a time is told by.
        let least = before
            .checked_sub(Duration::from_millis(1))
            .context("1970")?;
        let is_when = gap.from.is_some_and(|from| from >= least) && gap.to <= after;
        ensure!(is_when, "{before:?} {gap:?} {after:?}");
        let counted = metrics::value(
            stage.worker.admin,
            r#"tidings_worker_gaps_total{source="push",cause="provider_gave_up"}"#,
        )?;
        ensure!(counted == Some(1.0), "{counted:?}");
        eventually("the gap is among the open ones", || {
            let open = r#"tidings_worker_open_gaps{source="push"}"#;
            let open = metrics::value(stage.worker.admin, open)?;
            Ok((open == Some(1.0)).then_some(()))
        })?;
        let count = all(stage)?.len();
        ensure!(count == 1, "{count}");
        ensure!(accepted == 200, "{accepted}");
        Ok(())
    })
}

#[test]
fn what_is_too_large_is_lost_if_it_is_the_sources_own() -> Result<()> {
    on_worker(&["--max-body", "4KiB"], |stage| {
        let body = event("large", 5_000);
        for (authorization, times) in [("Bearer wrong", 3), (RIGHT, 2)] {
            for _ in 0..times {
                eventually("the source is known", || {
                    let status = send(stage, authorization, &body)?;
                    ensure!([413, 503].contains(&status), "{status}");
                    Ok((status == 413).then_some(()))
                })?;
            }
        }
        let [gap] = all(stage)?
            .try_into()
            .map_err(|gaps| anyhow::anyhow!("{gaps:?}"))?;
        ensure!(
            gap.source == "push" && gap.cause == "provider_gave_up",
            "{gap:?}"
        );
        let words = "answered 413 (too_large): 2 requests; pushwoosh sends none of them again";
        ensure!(gap.detail == words, "{gap:?}");
        Ok(())
    })
}
