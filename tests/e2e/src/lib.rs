//! What the end-to-end tests share. Each test has a Postgres, a worker and
//! emulated providers of its own, so that all run side by side.
//!
//! No test sleeps for something to happen: it polls with a deadline
//! ([`eventually`]).

use anyhow::{Result, bail, ensure};
use postgres::Client;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tidings_harness::cluster::{Cluster, Durability};
use tidings_harness::emulator::{Emulator, Play};
use tidings_harness::http::{self, Answer};
use tidings_harness::server::Server;
use tidings_harness::stage::{self, Stage};

pub use tidings_harness::DEADLINE;

/// The Postgres under test: `PG_CONFIG`, else the first in `PATH`.
pub fn server() -> Result<Server> {
    Server::from_env()
}

/// Runs a test on a database that has the extension; no worker.
pub fn on_cluster(test: impl FnOnce(&Cluster) -> Result<()>) -> Result<()> {
    let cluster = stage::cluster(&server()?, Durability::Fast)?;
    test(&cluster).inspect_err(|_| eprintln!("--- the server's log\n{}", cluster.log()))
}

/// The same as [`on_cluster`], on a server that was restarted with this setting.
pub fn on_cluster_with(setting: &str, test: impl FnOnce(&Cluster) -> Result<()>) -> Result<()> {
    let mut cluster = stage::cluster(&server()?, Durability::Fast)?;
    cluster.connect(stage::DATABASE)?.batch_execute(setting)?;
    cluster.kill()?;
    cluster.restart()?;
    test(&cluster).inspect_err(|_| eprintln!("--- the server's log\n{}", cluster.log()))
}

/// Runs a test on a database with a worker.
pub fn on_stage(test: impl FnOnce(&mut Stage) -> Result<()>) -> Result<()> {
    on_stage_with(&[], test)
}

/// As [`on_stage`], with these flags of the worker.
pub fn on_stage_with(flags: &[&str], test: impl FnOnce(&mut Stage) -> Result<()>) -> Result<()> {
    let mut stage = Stage::set_with(&server()?, Durability::Fast, flags)?;
    test(&mut stage).inspect_err(|_| eprintln!("{}", stage.logs()))
}

/// A short play of all providers, with repeats.
pub fn play(stage: &Stage, events: u64, seed: u64) -> Play<'static> {
    Play {
        events,
        seed,
        duplicates: 0.1,
        rate: 0,
        only: None,
        flags: &[],
        http: stage.worker.http,
        grpc: stage.worker.grpc,
    }
}

/// Posts a webhook again while it is answered 503: a worker that has to look for the
/// source's name, and cannot in time, has it come again.
pub fn post_known(
    worker: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer> {
    eventually(&format!("{path} is known, or is not"), || {
        let answer = http::post(worker, path, headers, body)?;
        Ok((answer.status != 503).then_some(answer))
    })
}

/// Waits until the worker knows a webhook's source, which was added just now.
pub fn wait_known(worker: SocketAddr, source: &str) -> Result<()> {
    let path = format!("/hooks/{source}");
    let answer = eventually(&format!("{path} is known, or is not"), || {
        let answer = http::get(worker, &path)?;
        Ok((answer.status != 503).then_some(answer))
    })?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(())
}

/// Waits until a worker's first upkeep has made the partitions: for those who want locks
/// that it wants too, or that nobody should wait for.
pub fn wait_upkeep(client: &mut Client) -> Result<()> {
    eventually("the first upkeep is done", || {
        Ok((stage::partitions(client)? > 1).then_some(()))
    })
}

/// Waits until the emulator has sent so many more events.
pub fn wait_sent(emulator: &mut Emulator, events: u64) -> Result<()> {
    emulator.listen()?;
    let before = emulator.emitted();
    eventually("events are emitted", || {
        emulator.listen()?;
        ensure!(!emulator.is_done(), "the play has come to its end");
        Ok((emulator.emitted() >= before + events).then_some(()))
    })
}

/// Waits until a program's log has so many of these lines, or more, and returns them. A line
/// reaches the log a moment after the program has printed it, because the harness reads along.
pub fn wait_logged(
    log: &Path,
    least: usize,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Vec<String>> {
    eventually("the lines are in the log", || {
        let text = std::fs::read_to_string(log)?;
        let lines: Vec<_> = text
            .lines()
            .filter(|line| is_wanted(line))
            .map(str::to_owned)
            .collect();
        Ok((lines.len() >= least).then_some(lines))
    })
}

/// Asks until there is an answer; an error that says what was waited for.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("not within {DEADLINE:?}: {what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
