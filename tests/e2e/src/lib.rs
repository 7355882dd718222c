//! What the end-to-end tests share. Each test has a Postgres, a worker and
//! emulated providers of its own, so that all run side by side.
//!
//! No test sleeps for something to happen: it polls with a deadline
//! ([`eventually`]).

use anyhow::{Result, bail};
use std::time::{Duration, Instant};
use xtask::cluster::{Cluster, Durability};
use xtask::emulator::Play;
use xtask::server::Server;
use xtask::stage::{self, Stage};

/// So long may anything take that is waited for.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The Postgres under test: `PG_CONFIG`, else the first in `PATH`.
pub fn server() -> Result<Server> {
    Server::from_env()
}

/// Runs a test on a database that has the extension; no worker.
pub fn on_cluster(test: impl FnOnce(&Cluster) -> Result<()>) -> Result<()> {
    let cluster = stage::cluster(&server()?, Durability::Fast)?;
    test(&cluster).inspect_err(|_| eprintln!("--- the server's log\n{}", cluster.log()))
}

/// Runs a test on a database with a worker.
pub fn on_stage(test: impl FnOnce(&mut Stage) -> Result<()>) -> Result<()> {
    let mut stage = Stage::set(&server()?, Durability::Fast)?;
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
