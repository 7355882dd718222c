//! The emulated providers, as a process.

use crate::DEADLINE;
use crate::paths;
use crate::process::{Process, Speaks};
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Time limit for the emulator's end; it writes its ledger first, which has millions of
/// lines after a long run.
const END_TIMEOUT: Duration = Duration::from_secs(120);

/// The settings of a play.
#[derive(Clone, Debug)]
pub struct Play<'a> {
    pub events: u64,
    pub seed: u64,
    /// Share of the deliveries that are repeated, 0.0 to 1.0.
    pub duplicates: f64,
    /// Events a second, 0 = as fast as they are answered.
    pub rate: u64,
    /// Sources, comma-separated; None = all.
    pub only: Option<&'a str>,
    /// Further flags, such as `--faults`.
    pub flags: &'a [&'a str],
    pub http: SocketAddr,
    pub grpc: SocketAddr,
}

/// One source's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Sent {
    /// Distinct events put on the wire at least once.
    pub emitted: u64,
    /// Number of deliveries, with repeats.
    pub sent: u64,
    pub acknowledged: u64,
    pub retried: u64,
    /// Events whose request was refused as not genuine, with repeats.
    pub refused: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Said {
    Listening(BTreeMap<String, SocketAddr>),
    Progress(BTreeMap<String, Sent>),
    Faults(BTreeMap<String, u64>),
    Done(bool),
}

/// A running emulator, which waits for [`Emulator::begin`].
#[derive(Debug)]
pub struct Emulator {
    process: Process,
    /// Where the Ppoppo stream is served.
    pub ppoppo: SocketAddr,
    /// Where access tokens for it are given, if they are needed.
    pub oauth: Option<SocketAddr>,
    ledger: PathBuf,
    sent: BTreeMap<String, Sent>,
    faults: BTreeMap<String, u64>,
    done: bool,
}

impl Emulator {
    /// Its ledger and its log are written into the folder.
    pub fn start(play: &Play<'_>, folder: &Path) -> Result<Self> {
        let ledger = folder.join("ledger.jsonl");
        let mut command = Command::new(paths::program("tidings-emulator")?);
        command
            .arg("run")
            .args(["--events", &play.events.to_string()])
            .args(["--seed", &play.seed.to_string()])
            .args(["--duplicates", &play.duplicates.to_string()])
            .args(["--rate", &play.rate.to_string()])
            .args(["--http", &format!("http://{}", play.http)])
            .args(["--grpc", &format!("http://{}", play.grpc)])
            .args(["--ppoppo-listen", "127.0.0.1:0"])
            .arg("--ledger")
            .arg(&ledger);
        if let Some(only) = play.only {
            command.args(["--only", only]);
        }
        command.args(play.flags);
        let log = folder.join("emulator.log");
        let mut process = Process::start("tidings-emulator", &mut command, &log, Speaks::Stdout)?;
        let first = process.line(DEADLINE)?;
        let Ok(Said::Listening(addresses)) = serde_json::from_str(&first) else {
            bail!("the emulator's first line is not where it listens: {first}");
        };
        let ppoppo = *addresses
            .get("ppoppo")
            .with_context(|| format!("no address of ppoppo in {first}"))?;
        Ok(Self {
            process,
            ppoppo,
            oauth: addresses.get("oauth").copied(),
            ledger,
            sent: BTreeMap::new(),
            faults: BTreeMap::new(),
            done: false,
        })
    }

    /// Starts sending.
    pub fn begin(&mut self) -> Result<()> {
        self.process.tell("start")
    }

    /// Ends the play early: no new events happen, and those that happened are delivered.
    pub fn stop(&mut self) -> Result<()> {
        self.process.tell("stop")
    }

    /// Makes the next cursor that each of Ppoppo's streams is shown expire, however old it is.
    pub fn expire(&mut self) -> Result<()> {
        self.process.tell("expire")
    }

    /// Reads its output so far. It is an error if the emulator has ended by itself.
    pub fn listen(&mut self) -> Result<()> {
        while let Some(line) = self.process.waiting_line() {
            match serde_json::from_str(&line) {
                Ok(Said::Progress(sent)) => self.sent = sent,
                Ok(Said::Faults(faults)) => self.faults = faults,
                Ok(Said::Done(done)) => self.done = done,
                Ok(Said::Listening(_)) | Err(_) => bail!("the emulator said `{line}`"),
            }
        }
        if let Some(status) = self.process.has_ended()? {
            bail!("the emulator ended by itself ({status})\n{}", self.tail());
        }
        Ok(())
    }

    /// The counters by source, as last read.
    pub fn sent(&self) -> &BTreeMap<String, Sent> {
        &self.sent
    }

    /// How often each fault happened; known once it is done.
    pub fn faults(&self) -> &BTreeMap<String, u64> {
        &self.faults
    }

    pub fn emitted(&self) -> u64 {
        self.sent.values().map(|source| source.emitted).sum()
    }

    /// Whether every push is acknowledged and every streamed event was sent once.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The current ledger, which is complete when the play is done.
    pub fn ledger(&self) -> &Path {
        &self.ledger
    }

    /// Ends the emulator; the ledger then contains the final counts.
    pub fn finish(&mut self) -> Result<()> {
        self.process.hang_up();
        let status = self.process.ended(END_TIMEOUT)?;
        if !status.success() {
            bail!("the emulator ended badly ({status})\n{}", self.tail());
        }
        Ok(())
    }

    pub fn tail(&self) -> String {
        self.process.tail()
    }
}
