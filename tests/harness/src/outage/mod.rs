//! Postgres is killed and stays down while webhooks arrive at a fixed rate. Every webhook
//! must be answered 200, and each event must be stored once afterwards. The speed of the
//! drain and its resource use are printed.
//!
//! - `webhook` is what is sent, `sender` sends it.

mod sender;
mod webhook;

use self::sender::Answered;
use self::webhook::Webhook;
use crate::http;
use crate::metrics;
use crate::procfs::Usage;
use crate::stage::Stage;
use crate::table::number;
use anyhow::{Result, bail, ensure};
use postgres::Client;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Time limit until the sources are known, and until the spool is drained.
const TIMEOUT: Duration = Duration::from_secs(300);

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Time for which webhooks are sent before the outage,
    pub before: Duration,
    /// the time for which Postgres is down,
    pub away: Duration,
    /// and the time for which webhooks are sent after it.
    pub after: Duration,
    /// Webhooks a second.
    pub rate: u64,
}

/// The result. Sizes are in bytes.
#[derive(Clone, Debug)]
pub struct Outage {
    pub requests: u64,
    pub events: u64,
    /// How many answers had which status; 0 is none.
    pub answers: BTreeMap<u16, u64>,
    /// The body of the first answer that was not 200.
    pub reason: Option<String>,
    /// Times of answers: half of them, 99 of 100, all of them.
    pub median: Duration,
    pub percentile_99: Duration,
    pub longest: Duration,
    pub spooled_requests: u64,
    pub spooled_events: u64,
    /// The greatest depth of the spool.
    pub deepest_requests: u64,
    pub deepest_bytes: u64,
    /// The greatest and the last size of its file.
    pub file_greatest: u64,
    pub file_last: u64,
    /// From when Postgres was ready to an empty spool.
    pub drain: Duration,
    /// The worker's peak.
    pub memory: u64,
    pub stored: u64,
    pub missing: u64,
    pub doubled: u64,
}

/// Runs it on a stage with a spool.
pub fn on(stage: &mut Stage, options: &Options) -> Result<Outage> {
    let mut client = stage.connect()?;
    let seconds = options.before + options.away + options.after;
    let count = (seconds.as_secs_f64() * options.rate as f64) as u64;
    let webhooks = webhook::make(&mut client, count)?;
    // The connection ends with its server; another one is opened afterwards.
    drop(client);
    let (http, admin) = (stage.worker.http, stage.worker.admin);
    known(http)?;
    let file = stage.cluster.folder().join("spool").join("requests.redb");
    let over = AtomicBool::new(false);
    let started = Instant::now();
    let (answers, drain, deepest) = thread::scope(|scope| {
        let watching = scope.spawn(|| watch(admin, &file, &over));
        let sending = scope.spawn(|| sender::send(http, &webhooks, options.rate, started));
        let drain = outage(stage, options, started);
        let joined = sending.join();
        over.store(true, Ordering::SeqCst);
        let answers = joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let deepest = watching.join();
        let deepest = deepest.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (answers, drain, deepest)
    });
    let (drain, deepest) = (drain?, deepest?);
    drained(admin)?;
    let counted = count_stored(&mut stage.connect()?, &webhooks, &answers)?;
    let spooled = || webhooks.iter().zip(&answers).filter(|(_, a)| a.spooled);
    let mut times: Vec<Duration> = answers.iter().map(|answer| answer.took).collect();
    times.sort();
    let at = |share: f64| {
        let index = (times.len().saturating_sub(1)) as f64 * share;
        times.get(index as usize).copied().unwrap_or_default()
    };
    let mut by_status = BTreeMap::new();
    for answer in &answers {
        *by_status.entry(answer.status).or_default() += 1;
    }
    Ok(Outage {
        requests: answers.len() as u64,
        events: webhooks
            .iter()
            .map(|webhook| webhook.ids.len() as u64)
            .sum(),
        answers: by_status,
        reason: answers.iter().find_map(|answer| answer.reason.clone()),
        median: at(0.5),
        percentile_99: at(0.99),
        longest: at(1.0),
        spooled_requests: spooled().count() as u64,
        spooled_events: spooled().map(|(webhook, _)| webhook.ids.len() as u64).sum(),
        deepest_requests: deepest.requests,
        deepest_bytes: deepest.bytes,
        file_greatest: deepest.file,
        file_last: fs::metadata(&file)?.len(),
        drain,
        memory: Usage::of(stage.worker.id())?.peak,
        stored: counted.stored,
        missing: counted.missing,
        doubled: counted.doubled,
    })
}

/// Kills Postgres and starts it again, by the senders' clock; returns how long the drain
/// took.
fn outage(stage: &mut Stage, options: &Options, started: Instant) -> Result<Duration> {
    thread::sleep(options.before.saturating_sub(started.elapsed()));
    stage.cluster.kill()?;
    thread::sleep(options.away);
    stage.worker.check_running()?;
    ensure!(
        depth(stage.worker.admin)? > 0,
        "nothing lies in the spool while Postgres is away"
    );
    stage.cluster.restart()?;
    let ready = Instant::now();
    drained(stage.worker.admin)?;
    Ok(ready.elapsed())
}

fn depth(admin: SocketAddr) -> Result<u64> {
    Ok(metrics::gauge(admin, "tidings_worker_spool_requests")? as u64)
}

fn drained(admin: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let depth = depth(admin)?;
        if depth == 0 {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{depth} requests are in the spool after {TIMEOUT:?}"
        );
        thread::sleep(LOOK_EVERY);
    }
}

/// Waits until the worker knows the sources: an unknown one is answered 404, and 503 where
/// that cannot be found out in time.
fn known(worker: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    for source in ["arpoone", "pushpushgo", "pushwoosh"] {
        let path = format!("/hooks/{source}");
        while [404, 503].contains(&http::post(worker, &path, &[], b"")?.status) {
            ensure!(Instant::now() < deadline, "the worker knows no {source}");
            thread::sleep(LOOK_EVERY);
        }
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Deepest {
    requests: u64,
    bytes: u64,
    file: u64,
}

fn watch(admin: SocketAddr, file: &PathBuf, over: &AtomicBool) -> Result<Deepest> {
    let mut deepest = Deepest::default();
    while !over.load(Ordering::SeqCst) {
        let bytes = metrics::gauge(admin, "tidings_worker_spool_bytes")?;
        deepest.requests = deepest.requests.max(depth(admin)?);
        deepest.bytes = deepest.bytes.max(bytes as u64);
        let length = fs::metadata(file).map_or(0, |file| file.len());
        deepest.file = deepest.file.max(length);
        thread::sleep(LOOK_EVERY);
    }
    Ok(deepest)
}

#[derive(Debug, Default)]
struct Counted {
    stored: u64,
    missing: u64,
    doubled: u64,
}

/// Compares by id: an event that was answered 200 must be stored once, and no event
/// twice.
fn count_stored(
    client: &mut Client,
    webhooks: &[Webhook],
    answers: &[Answered],
) -> Result<Counted> {
    let mut rows = BTreeMap::<String, u64>::new();
    for row in client.query("select message_id from tidings.event", &[])? {
        *rows.entry(row.try_get(0)?).or_default() += 1;
    }
    let mut counted = Counted {
        stored: rows.values().sum(),
        ..Counted::default()
    };
    for (webhook, answer) in webhooks.iter().zip(answers) {
        for id in &webhook.ids {
            let found = rows.get(id).copied().unwrap_or_default();
            counted.missing += u64::from(found == 0 && answer.status == 200);
            counted.doubled += found.saturating_sub(1);
        }
    }
    Ok(counted)
}

impl Outage {
    /// How many answers had which status.
    fn answers(&self) -> String {
        let counted = self.answers.iter();
        let counted = counted.map(|(status, count)| format!("{} of {status}", number(*count)));
        counted.collect::<Vec<_>>().join(", ")
    }

    /// An error unless every webhook was answered 200 and every event is there once.
    pub fn check(&self) -> Result<()> {
        if self.answers.keys().any(|status| *status != 200) {
            let reason = self.reason.as_deref().unwrap_or_default();
            let answers = self.answers();
            bail!("not all were answered 200: {answers}; the first other answer: {reason}");
        }
        ensure!(self.spooled_requests > 0, "nothing was spooled");
        ensure!(
            (self.missing, self.doubled) == (0, 0) && self.stored == self.events,
            "{} events sent, {} stored, {} missing, {} doubled",
            self.events,
            self.stored,
            self.missing,
            self.doubled
        );
        Ok(())
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1_048_576.0);
        let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        let drain = self.drain.as_secs_f64();
        let a_second = |count: u64| number((count as f64 / drain.max(0.001)) as u64);
        writeln!(
            f,
            "sent      {} requests, {} events",
            number(self.requests),
            number(self.events)
        )?;
        writeln!(f, "answers   {}", self.answers())?;
        writeln!(
            f,
            "in        p50 {}, p99 {}, max {}",
            ms(self.median),
            ms(self.percentile_99),
            ms(self.longest)
        )?;
        writeln!(
            f,
            "spooled   {} requests, {} events; the most at a time {} requests, {}",
            number(self.spooled_requests),
            number(self.spooled_events),
            number(self.deepest_requests),
            mib(self.deepest_bytes)
        )?;
        writeln!(
            f,
            "its file  {} at most, {} at the end",
            mib(self.file_greatest),
            mib(self.file_last)
        )?;
        writeln!(
            f,
            "drained   in {drain:.1} s after Postgres was ready: {} requests/s, {} events/s",
            a_second(self.spooled_requests),
            a_second(self.spooled_events)
        )?;
        writeln!(
            f,
            "memory    {} at most (VmHWM of the worker)",
            mib(self.memory)
        )?;
        write!(
            f,
            "stored    {}, missing {}, doubled {}",
            number(self.stored),
            number(self.missing),
            number(self.doubled)
        )
    }
}
