//! The peer as a child process.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tidings_e2e::DEADLINE;
use tidings_harness::process::{Process, Speaks};
use tidings_harness::python::Python;
use tidings_harness::stage::Stage;

/// So long may all of them take: the peer is slow, and its threads take turns.
const PLAYED: Duration = Duration::from_secs(300);

pub(super) struct Peer {
    process: Process,
    /// Where it serves Ppoppo's streams.
    pub(super) ppoppo: SocketAddr,
    pub(super) ledger: PathBuf,
    /// The list of send requests, with their recipients.
    pub(super) requests: PathBuf,
}

impl Peer {
    /// Plays so many distinct events of each provider, once it is told to begin.
    pub(super) fn start(stage: &Stage, events: usize, arguments: &[&str]) -> Result<Self> {
        let folder = stage.cluster.folder();
        let ledger = folder.join("peer.jsonl");
        let requests = folder.join("requests.jsonl");
        let mut command = Python::prepare()?.peer();
        command
            .arg("play")
            .args(["--events", &events.to_string()])
            .arg("--ledger")
            .arg(&ledger)
            .arg("--requests")
            .arg(&requests)
            .args(arguments);
        let log = folder.join("peer.log");
        let mut process = Process::start("the peer", &mut command, &log, Speaks::Stdout)?;
        let listening: Value = serde_json::from_str(&process.line(DEADLINE)?)?;
        let ppoppo = listening
            .pointer("/listening/ppoppo")
            .and_then(Value::as_str)
            .with_context(|| format!("the peer's first line is not where it listens: {listening}"))?
            .parse()?;
        Ok(Self {
            process,
            ppoppo,
            ledger,
            requests,
        })
    }

    pub(super) fn begin(&mut self) -> Result<()> {
        self.tell("start")
    }

    pub(super) fn tell(&mut self, line: &str) -> Result<()> {
        self.process.tell(line)
    }

    /// Waits until it holds: `at` an event, a `message` or an answer about the `status` of a
    /// send request, by its number.
    pub(super) fn held(&mut self, what: &str, number: u64) -> Result<()> {
        let said: Value = serde_json::from_str(&self.process.line(DEADLINE)?)?;
        let held = said.pointer(&format!("/held/{what}"));
        ensure!(
            held == Some(&Value::from(number)),
            "not {what} {number}: {said}"
        );
        Ok(())
    }

    /// What it counted, when all was sent and all pushes are acknowledged.
    pub(super) fn done(&mut self) -> Result<Value> {
        let said = serde_json::from_str::<Value>(&self.process.line(PLAYED)?)?;
        ensure!(said.get("done").is_some(), "the peer said {said}");
        Ok(said)
    }

    pub(super) fn finish(mut self) -> Result<()> {
        self.process.hang_up();
        let status = self.process.ended(DEADLINE)?;
        ensure!(
            status.success(),
            "the peer ended badly ({status})\n{}",
            self.process.tail()
        );
        Ok(())
    }
}

/// What a server says of itself to the peer.
pub(super) fn look(stage: &Stage, at: SocketAddr) -> Result<Value> {
    let mut command = Python::prepare()?.peer();
    command.args(["look", "--at", &at.to_string()]);
    let log = stage.cluster.folder().join("look.log");
    let mut process = Process::start("the peer", &mut command, &log, Speaks::Stdout)?;
    Ok(serde_json::from_str(&process.line(DEADLINE)?)?)
}

/// A burst of the smallest events, which the peer pushes on one stream.
#[derive(Debug)]
pub(crate) struct Burst(Process);

impl Burst {
    pub(crate) fn start(stage: &Stage, authorization: &str, events: usize) -> Result<Self> {
        let mut command = Python::prepare()?.peer();
        command
            .args(["burst", "--at", &stage.worker.grpc.to_string()])
            .args(["--authorization", authorization])
            .args(["--events", &events.to_string()]);
        let log = stage.cluster.folder().join("burst.log");
        let process = Process::start("the peer", &mut command, &log, Speaks::Stdout)?;
        Ok(Self(process))
    }

    /// The counts of the peer, once the stream has ended.
    pub(crate) fn ended(mut self) -> Result<Value> {
        Ok(serde_json::from_str(&self.0.line(PLAYED)?)?)
    }
}
