//! What the spool cannot deliver, or cannot take.

use super::*;
use std::fs;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use tidings_harness::paths;

const FILE: &str = "requests.redb";

fn folder(cluster: &Cluster) -> PathBuf {
    cluster.folder().join("spool")
}

/// As [`on_worker`], with a spool.
fn on_spool(flags: &[&str], test: impl FnOnce(&mut Stage) -> Result<()>) -> Result<()> {
    let cluster = stage::cluster(&server()?, Durability::Fast)?;
    cluster.connect(DATABASE)?.batch_execute(SOURCES)?;
    let worker = start(&cluster, flags)?;
    let mut stage = Stage { worker, cluster };
    stage.worker.wait_ready()?;
    eventually("the sources are noted, and commits are quick", || {
        let body = event("first", 0);
        let headers = [("authorization", RIGHT)];
        let answer = http::post(stage.worker.http, "/hooks/push", &headers, body.as_bytes())?;
        Ok(answer.body.contains("inserted").then_some(()))
    })?;
    test(&mut stage).inspect_err(|_| eprintln!("{}", stage.logs()))
}

fn start(cluster: &Cluster, flags: &[&str]) -> Result<Worker> {
    let folder = folder(cluster);
    let spool = ["--spool-dir", folder.to_str().context("not UTF-8")?];
    worker(cluster, &[&spool, flags].concat())
}

/// Spools one request of each source, while Postgres is away.
fn spool_two(stage: &mut Stage) -> Result<()> {
    stage.cluster.kill()?;
    is_down(stage)?;
    ensure!(send(stage, RIGHT, &event("spooled", 0))? == 200);
    let answer = http::post(stage.worker.http, "/hooks/sms/token", &[], b"[]")?;
    ensure!(answer.body.contains("spooled"), "{answer:?}");
    Ok(())
}

fn set_aside(cluster: &Cluster) -> Result<Output> {
    let mut command = Command::new(paths::program("tidings-worker")?);
    command
        .args(["spool", "set-aside", "--spool-dir"])
        .arg(folder(cluster))
        .args(["--database-url", &cluster.url(DATABASE)]);
    Ok(command.stdin(Stdio::null()).output()?)
}

fn sources(gaps: &[Gap], words: &str) -> Result<()> {
    let sources: Vec<_> = gaps.iter().map(|gap| gap.source.as_str()).collect();
    ensure!(sources == ["push", "sms"], "{gaps:?}");
    for gap in gaps {
        let is_such = gap.cause == "spool_discarded" && gap.detail.starts_with(words);
        ensure!(is_such && gap.from.is_some(), "{gap:?}");
    }
    Ok(())
}

#[test]
fn a_full_spool_refuses_and_what_it_refuses_four_times_is_a_gap_also_after_a_crash() -> Result<()> {
    let flags = ["--max-body", "4KiB", "--spool-bytes", "64KiB"];
    on_spool(&flags, |stage| {
        stage.cluster.kill()?;
        is_down(stage)?;
        let refused = (0..)
            .map(|number| event(&number.to_string(), 1_000))
            .find_map(|body| match send(stage, RIGHT, &body) {
                Ok(200) => None,
                other => Some(other.map(|status| (status, body))),
            });
        let (status, body) = refused.context("it never refused")??;
        ensure!(status == 503, "{status}");
        for _ in 2..=4 {
            ensure!(send(stage, RIGHT, &body)? == 503);
        }
        let kept = folder(&stage.cluster).join("gaps.json");
        eventually("the gap is on the disk", || Ok(kept.exists().then_some(())))?;
        stage.worker.kill()?;
        stage.cluster.restart()?;
        stage.worker = start(&stage.cluster, &flags)?;
        let [gap] = found(stage)?
            .try_into()
            .map_err(|gaps| anyhow::anyhow!("{gaps:?}"))?;
        let words = "answered 503 each time: 1 request, 1000 bytes; ";
        ensure!(
            gap.detail.starts_with(words) && gap.detail.contains("spool_full"),
            "{gap:?}"
        );
        let count = all(stage)?.len();
        ensure!(count == 1, "{count}");
        Ok(())
    })
}

#[test]
fn a_spool_that_is_set_aside_is_a_gap_of_each_source_in_it() -> Result<()> {
    on_spool(&[], |stage| {
        spool_two(stage)?;
        let held = set_aside(&stage.cluster)?;
        ensure!(held.status.code() == Some(73), "{held:?}");
        stage.worker.kill()?;
        // Postgres is still away.
        let moved = set_aside(&stage.cluster)?;
        let said = String::from_utf8_lossy(&moved.stdout);
        ensure!(
            moved.status.success() && said.contains(": 2 requests"),
            "{moved:?}"
        );
        ensure!(said.contains("2 gaps not reported yet"), "{moved:?}");
        let file = folder(&stage.cluster).join(FILE);
        ensure!(!file.exists());
        stage.cluster.restart()?;
        stage.worker = start(&stage.cluster, &[])?;
        found(stage)?;
        let gaps = all(stage)?;
        sources(&gaps, "the spool was set aside: 1 request, ")?;
        // The file is where the gap says, and what was in it can still be delivered.
        let (_, place) = gaps[0]
            .detail
            .split_once("they are in ")
            .context("no place")?;
        fs::rename(place, &file)?;
        stage.worker = start(&stage.cluster, &[])?;
        let mut client = stage.connect()?;
        eventually("it is delivered", || {
            let stored = "select from tidings.event where message_id = 'spooled'";
            let is_stored = client.query(stored, &[])?.len() == 1;
            // The other request has no event.
            let left = metrics::gauge(stage.worker.admin, "tidings_worker_spool_requests")?;
            Ok((is_stored && left == 0.0).then_some(()))
        })?;
        // Nothing is in it any more.
        ensure!(all(stage)?.len() == 2);
        let moved = set_aside(&stage.cluster)?;
        let said = String::from_utf8_lossy(&moved.stdout);
        ensure!(said.trim_end().ends_with(": 0 requests"), "{moved:?}");
        ensure!(gaps_of(stage)? == 2);
        Ok(())
    })
}

fn gaps_of(stage: &Stage) -> Result<usize> {
    Ok(gaps(&mut stage.connect()?)?.len())
}

#[test]
fn a_spool_that_was_moved_away_by_hand_is_a_gap_too() -> Result<()> {
    on_spool(&[], |stage| {
        spool_two(stage)?;
        stage.worker.kill()?;
        let file = folder(&stage.cluster).join(FILE);
        fs::rename(&file, file.with_extension("away"))?;
        stage.cluster.restart()?;
        // As often as it is started, it is the same gap.
        for _ in 0..2 {
            stage.worker = start(&stage.cluster, &[])?;
            found(stage)?;
            sources(&all(stage)?, "the spool's file is missing: ")?;
        }
        Ok(())
    })
}
