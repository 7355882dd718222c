//! The cycles, and for how long no events were stored in each.

use super::counts::STORED;
use super::fault::Kind;
use super::rig::Rig;
use super::schedule::{Cycle, Step};
use super::watch::{Seen, Watch};
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tidings_harness::sources::{CHANNELS, SOURCES};
use tidings_harness::stage::DATABASE;
use tidings_harness::table::number;

/// Time limit after the end of a fault until events are stored again.
const DEADLINE: Duration = Duration::from_secs(90);
const TICK: Duration = Duration::from_millis(20);
/// A source whose webhooks arrive many times a second, each with one event.
const STEADY: &str = "pushpushgo";

/// How long no event of some source was stored.
#[derive(Clone, Debug)]
pub(super) struct Stall {
    pub(super) cycle: usize,
    pub(super) fault: String,
    /// The source that recovered last.
    pub(super) last: &'static str,
    /// Time after the end of the fault, and since its beginning.
    pub(super) after: Duration,
    pub(super) since: Duration,
}

/// The result of the cycles.
#[derive(Debug)]
pub(super) struct Drilled {
    pub(super) watch: Watch,
    pub(super) took: Duration,
    pub(super) cycles: usize,
    pub(super) faults: BTreeMap<&'static str, u64>,
    pub(super) longest: Option<Stall>,
    /// Number of cycles in which something must have been spooled.
    pub(super) outages: u64,
}

#[derive(Debug)]
pub(super) struct Drill {
    watch: Watch,
    faults: BTreeMap<&'static str, u64>,
    longest: Option<Stall>,
    outages: u64,
}

impl Drill {
    pub(super) fn new(rig: &Rig) -> Self {
        Self {
            watch: Watch::start(rig.cluster.url(DATABASE)),
            faults: BTreeMap::new(),
            longest: None,
            outages: 0,
        }
    }

    pub(super) fn run(mut self, rig: &mut Rig, schedule: &[Cycle]) -> Result<Drilled> {
        let began = Instant::now();
        rig.emulator.begin()?;
        self.wait_flowing(rig, 0)?;
        for (nth, cycle) in schedule.iter().enumerate() {
            let text = cycle.to_string();
            print!("{:>5}/{}  {text:<80}", nth + 1, schedule.len());
            io::stdout().flush()?;
            let stall = self
                .cycle(rig, nth + 1, cycle)
                .inspect_err(|_| println!())?;
            println!(
                "  {:>5.1} s until {:<14}  {:>9} stored",
                stall.after.as_secs_f64(),
                stall.last,
                number(self.watch.seen().total)
            );
            rig.count()?;
            self.outages += u64::from(cycle.must_spool());
            for kind in cycle.kinds() {
                *self.faults.entry(Kind::word(kind)).or_default() += 1;
            }
            let longest = self.longest.as_ref();
            if longest.is_none_or(|longest| stall.after > longest.after) {
                self.longest = Some(stall);
            }
        }
        Ok(Drilled {
            watch: self.watch,
            took: began.elapsed(),
            cycles: schedule.len(),
            faults: self.faults,
            longest: self.longest,
            outages: self.outages,
        })
    }

    fn cycle(&mut self, rig: &mut Rig, nth: usize, cycle: &Cycle) -> Result<Stall> {
        let is_full = cycle.kinds().any(|kind| kind == Kind::FullDisk);
        if is_full {
            rig.renew_spool()?;
        }
        let (began, begin) = (Instant::now(), now());
        let (spooled, acknowledged) = (rig.spooled.get(STORED), acknowledged(rig)?);
        for (at, step) in cycle.steps() {
            thread::sleep(at.saturating_sub(began.elapsed()));
            if is_full && matches!(step, Step::End(_)) {
                rig.wait_full()?;
            }
            if let Step::End(kind) = step
                && kind.is_harmless()
            {
                self.check_stored(kind, begin.midpoint(now()))?;
                rig.count()?;
                let more = rig.spooled.get(STORED).saturating_sub(spooled);
                let all = self::acknowledged(rig)?.saturating_sub(acknowledged);
                // On a busy machine a few may wait for longer than they have patience.
                if more > all / 2 {
                    bail!("{}: {more} of {all} requests were spooled", kind.word());
                }
            }
            rig.take(step)?;
        }
        let ended = Instant::now();
        let last = self.wait_flowing(rig, now())?;
        Ok(Stall {
            cycle: nth,
            fault: cycle.to_string(),
            last,
            after: ended.elapsed(),
            since: began.elapsed(),
        })
    }

    /// Fails unless webhooks were still stored in the second half of this fault.
    fn check_stored(&self, kind: Kind, half: u64) -> Result<()> {
        let lasts = self.watch.seen().lasts;
        let last = lasts.get(STEADY).copied().unwrap_or_default();
        if last <= half {
            bail!(
                "{}: the last event of {STEADY} was stored {} ms before its half",
                kind.word(),
                half.saturating_sub(last)
            );
        }
        Ok(())
    }

    /// Waits until the worker is ready and events of every source were stored after this
    /// time, and returns the source that recovered last.
    fn wait_flowing(&self, rig: &mut Rig, after: u64) -> Result<&'static str> {
        let started = Instant::now();
        let mut last = "nobody";
        loop {
            rig.check_running()?;
            if rig.emulator.is_done() {
                bail!("the emulator has come to its end before the drill has");
            }
            let still = still(rig, &self.watch.seen(), after);
            match still.last() {
                Some(&source) => last = source,
                None if rig.is_ready() => return Ok(last),
                None => last = "the worker",
            }
            if started.elapsed() >= DEADLINE {
                let still = if still.is_empty() {
                    "the worker is not ready".to_owned()
                } else {
                    format!("nothing is stored of {}", still.join(", "))
                };
                bail!("{still} for {DEADLINE:?} after the fault's end");
            }
            thread::sleep(TICK);
        }
    }
}

/// Number of requests of the steady source that were acknowledged.
fn acknowledged(rig: &mut Rig) -> Result<u64> {
    rig.check_running()?;
    let sent = rig.emulator.sent().get(STEADY).copied();
    Ok(sent.unwrap_or_default().acknowledged)
}

/// The sources of which something should have been stored after this moment, and was not.
fn still(rig: &Rig, seen: &Seen, after: u64) -> Vec<&'static str> {
    let sources = SOURCES.iter().chain([&CHANNELS]);
    let names = sources.map(|source| source.name);
    names
        .filter(|&name| {
            let stored = seen.lasts.get(name).is_some_and(|&last| last > after);
            let sent = rig.emulator.sent().get(name).copied().unwrap_or_default();
            // A provider that seldom sends, but many events at once, may be idle.
            // (Ppoppo's events count as acknowledged when they are sent.)
            let idle = !name.starts_with("ppoppo")
                && sent.emitted > 0
                && sent.emitted == sent.acknowledged;
            !stored && !idle
        })
        .collect()
}

/// Milliseconds of the Unix epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.unwrap_or_default().as_millis();
    u64::try_from(since).unwrap_or(u64::MAX)
}
