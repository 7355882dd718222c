//! Strangers beside the providers: idle calls of gRPC's reflection, as many as the port has
//! connections, malformed requests as fast as the machine sends them, and a log that nobody
//! reads. Every event of the providers must be stored once, within a bound of memory, and
//! the worker must drain at SIGTERM.
//!
//! - [`calls`] and [`noise`] are the strangers.

pub mod calls;
pub mod noise;

use self::calls::Calls;
use self::noise::{MALFORMED, Noise};
use crate::DEADLINE;
use crate::emulator::{Emulator, Play};
use crate::procfs::Usage;
use crate::reconcile::Reconciliation;
use crate::stage::Stage;
use crate::table::number;
use anyhow::{Result, bail, ensure};
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

/// The flags of the worker: an hour of idle calls, shortened.
pub const FLAGS: &[&str] = &["--keep-alive", "2s", "--head-timeout", "2s"];
/// Number of idle calls: as many as the gRPC port has connections by default.
const CALLS: usize = 256;
/// Malformed requests a second, where the machine does so many.
const NOISE: u64 = 10_000;
/// Limit on the growth of the worker meanwhile, in bytes, besides what an open call may take.
const GROWTH: u64 = 64 << 20;
const PER_CALL: u64 = 128 << 10;
const TICK: Duration = Duration::from_millis(20);

/// The providers beside them.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub events: u64,
    /// Events a second.
    pub rate: u64,
    pub seed: u64,
}

/// The outcome of a run. Sizes are in bytes.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub took: Duration,
    pub calls: u64,
    pub connected: u64,
    pub noise: u64,
    pub answered: u64,
    pub before: u64,
    pub peak: u64,
    pub reconciliation: Reconciliation,
}

/// Plays the providers among strangers, and drains the worker.
pub fn among(stage: &mut Stage, options: &Options) -> Result<Outcome> {
    let outcome = play(stage, options);
    // A worker that waits for its log answers nobody who asks what went wrong.
    stage.worker.read_log();
    outcome
}

fn play(stage: &mut Stage, options: &Options) -> Result<Outcome> {
    let mut emulator = stage.add_emulator(&Play {
        events: options.events,
        seed: options.seed,
        duplicates: 0.05,
        rate: options.rate,
        only: None,
        flags: &[],
        http: stage.worker.http,
        grpc: stage.worker.grpc,
    })?;
    let before = Usage::of(stage.worker.id())?.resident;
    let calls = Calls::hold(stage.worker.grpc, CALLS);
    let least = u64::try_from(CALLS)?;
    wait("all have called", || Ok(calls.connected() >= least))?;
    let open = calls.open();
    stage.worker.leave_log_unread();
    let noise = Noise::make(stage.worker.http, MALFORMED, NOISE);
    // By now a pipe is full, if there is a line for each.
    wait("they make noise", || Ok(noise.sent() >= 1_000))?;

    let started = Instant::now();
    emulator.begin()?;
    let patience = DEADLINE + Duration::from_secs(options.events / options.rate.max(1));
    while !emulator.is_done() {
        emulator.listen()?;
        stage.worker.check_running()?;
        ensure!(
            started.elapsed() < patience,
            "among strangers {} of {} events are acknowledged after {patience:?}",
            acknowledged(&emulator),
            options.events
        );
        thread::sleep(TICK);
    }
    let took = started.elapsed();
    let mut client = stage.connect()?;
    // A stream's events are acknowledged when they are sent.
    wait("every event is stored", || {
        let reconciliation = Reconciliation::of(&mut client, emulator.ledger())?;
        Ok(reconciliation.total().missing == 0)
    })?;
    let peak = Usage::of(stage.worker.id())?.peak;
    let status = stage.worker.drain(DEADLINE)?;
    ensure!(status.success(), "the worker did not drain: {status}");
    let (noise, answered, connected) = (noise.sent(), noise.answered(), calls.connected());
    emulator.listen()?;
    emulator.finish()?;
    Ok(Outcome {
        took,
        calls: open,
        connected,
        noise,
        answered,
        before,
        peak,
        reconciliation: Reconciliation::of(&mut client, emulator.ledger())?,
    })
}

fn acknowledged(emulator: &Emulator) -> u64 {
    let sent = emulator.sent().values();
    sent.map(|source| source.acknowledged).sum()
}

fn wait(what: &str, mut until: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    while !until()? {
        if Instant::now() >= deadline {
            bail!("not within {DEADLINE:?}: {what}");
        }
        thread::sleep(TICK);
    }
    Ok(())
}

impl Outcome {
    /// An error unless every event is stored once, within the bound of memory.
    pub fn check(&self) -> Result<()> {
        let bound = GROWTH + CALLS as u64 * PER_CALL;
        let growth = self.peak.saturating_sub(self.before);
        ensure!(
            growth <= bound,
            "the worker grew by {growth} bytes, more than {bound}"
        );
        self.reconciliation.check()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.reconciliation.total();
        let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
        writeln!(
            f,
            "calls     {} open at first; {} connections",
            number(self.calls),
            number(self.connected)
        )?;
        writeln!(
            f,
            "noise     {} malformed requests, {} of them answered",
            number(self.noise),
            number(self.answered)
        )?;
        writeln!(
            f,
            "memory    {:.1} MiB before, {:.1} MiB at most",
            mib(self.before),
            mib(self.peak)
        )?;
        write!(
            f,
            "events    {} in {:.1} s; stored {}, missing {}, doubled {}",
            number(total.emitted),
            self.took.as_secs_f64(),
            number(total.stored),
            number(total.missing),
            number(total.doubled)
        )
    }
}
