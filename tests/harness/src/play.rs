//! One run of the emulator against a stage, from the start line to the
//! reconciliation.

use crate::emulator::{Emulator, Sent};
use crate::follow::Follower;
use crate::ledger::{self, Demand};
use crate::metrics::Duplicates;
use crate::reconcile::Reconciliation;
use crate::stage::Stage;
use anyhow::{Context as _, Result, bail};
use postgres::Client;
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often the processes and the database are checked.
const TICK: Duration = Duration::from_millis(50);
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Time without a change after which the run is given up: longer than any pause of the
/// worker.
const STALLED_AFTER: Duration = Duration::from_secs(180);

/// One source, as the run goes on.
#[derive(Clone, Debug, Default)]
pub struct Line {
    pub source: String,
    pub sent: Sent,
    pub stored: u64,
    pub duplicate: u64,
    pub rejected: u64,
}

/// All sources, as the run goes on.
#[derive(Clone, Debug)]
pub struct Progress {
    pub elapsed: Duration,
    pub lines: Vec<Line>,
}

/// How it ended.
#[derive(Clone, Debug)]
pub struct Played {
    pub reconciliation: Reconciliation,
    /// What the log's reader counted on its way.
    pub followed: u64,
    /// From the start line to the last event's transaction.
    pub took: Duration,
}

/// Runs the play to its end, and kills and restarts the worker after the given numbers of
/// events. At the end everything is acknowledged, and the reader of the log has seen all
/// events or nothing changes any more. The result is not judged here.
pub fn run(
    stage: &mut Stage,
    emulator: &mut Emulator,
    kill_worker_at: &[u64],
    report: &mut dyn FnMut(&Progress),
) -> Result<Played> {
    let mut client = stage.connect()?;
    let mut watch = Watch::new();
    let mut kills = kill_worker_at.iter().peekable();
    emulator.begin()?;
    loop {
        std::thread::sleep(TICK);
        emulator.listen()?;
        if let Some(&&events) = kills.peek()
            && emulator.emitted() >= events
            && !emulator.is_done()
        {
            kills.next();
            stage.restart_worker_hard()?;
        }
        stage.worker.check_running()?;
        if watch.reported.elapsed() >= REPORT_EVERY {
            report(&watch.look(stage, emulator, &mut client)?);
        }
        if emulator.is_done() && watch.has_all(emulator, &mut client)? {
            break;
        }
        if watch.changed.elapsed() >= STALLED_AFTER {
            // The reconciliation reports missing events, unless the play did not finish.
            if emulator.is_done() {
                break;
            }
            bail!(
                "nothing was sent or stored for {STALLED_AFTER:?}\n{}",
                emulator.tail()
            );
        }
    }
    if kills.peek().is_some() {
        bail!("the run ended before the worker was to be killed: play more events, or slower");
    }
    report(&watch.look(stage, emulator, &mut client)?);
    emulator.finish()?;
    let reconciliation = Reconciliation::of(&mut client, emulator.ledger())?;
    watch.follower.advance(&mut client)?;
    Ok(Played {
        followed: watch.follower.events(),
        took: watch.took(&mut client)?,
        reconciliation,
    })
}

/// State between two checks.
struct Watch {
    started: SystemTime,
    clock: Instant,
    reported: Instant,
    changed: Instant,
    total: u64,
    follower: Follower,
    duplicates: Duplicates,
    expected: Option<BTreeMap<String, u64>>,
}

impl Watch {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            started: SystemTime::now(),
            clock: now,
            reported: now,
            changed: now,
            total: 0,
            follower: Follower::default(),
            duplicates: Duplicates::default(),
            expected: None,
        }
    }

    fn look(
        &mut self,
        stage: &Stage,
        emulator: &Emulator,
        client: &mut Client,
    ) -> Result<Progress> {
        self.reported = Instant::now();
        self.follow(emulator, client)?;
        self.duplicates.read(stage.worker.admin)?;
        let rejected = rejected(client)?;
        let stored = self.follower.counts();
        let lines = emulator
            .sent()
            .iter()
            .map(|(source, sent)| Line {
                source: source.clone(),
                sent: *sent,
                stored: stored.get(source).copied().unwrap_or_default(),
                duplicate: self.duplicates.of(source),
                rejected: rejected.get(source).copied().unwrap_or_default(),
            })
            .collect();
        Ok(Progress {
            elapsed: self.clock.elapsed(),
            lines,
        })
    }

    fn follow(&mut self, emulator: &Emulator, client: &mut Client) -> Result<()> {
        self.follower.advance(client)?;
        let sent: u64 = emulator.sent().values().map(|source| source.sent).sum();
        let total = sent + self.follower.total();
        if total != self.total {
            self.total = total;
            self.changed = Instant::now();
        }
        Ok(())
    }

    /// Whether every source has as many rows as its ledger asks for.
    fn has_all(&mut self, emulator: &Emulator, client: &mut Client) -> Result<bool> {
        self.follow(emulator, client)?;
        let expected = match &self.expected {
            Some(expected) => expected,
            None => {
                self.expected
                    .insert(ledger::least(client, emulator.ledger(), Demand::Emitted)?)
            }
        };
        let stored = self.follower.counts();
        Ok(expected
            .iter()
            .all(|(source, least)| stored.get(source).is_some_and(|rows| rows >= least)))
    }

    fn took(&self, client: &mut Client) -> Result<Duration> {
        let last = self
            .follower
            .last_stored_at(client)?
            .context("nothing was stored")?;
        let last = UNIX_EPOCH + Duration::from_secs_f64(last);
        Ok(last.duration_since(self.started).unwrap_or_default())
    }
}

/// Bounded, so counting it is cheap.
fn rejected(client: &mut Client) -> Result<BTreeMap<String, u64>> {
    let rows = client.query(
        "select s.name, count(*)
         from tidings.rejected r join tidings.source s on s.id = r.source_id group by 1",
        &[],
    )?;
    rows.iter()
        .map(|row| {
            let count: i64 = row.try_get(1)?;
            Ok((row.try_get(0)?, u64::try_from(count)?))
        })
        .collect()
}
