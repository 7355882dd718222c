//! The end of a drill: everything is delivered and drained, every gap that can be is closed,
//! the ledger is compared with the database id by id, the state with the provider's own list
//! of recipients, and the log with what its reader saw.

use super::counts::{Counts, FAILED, STORED};
use super::drill::{Drilled, Stall};
use super::fault::Kind;
use super::gaps::Gaps;
use super::rig::Rig;
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};
use tidings_harness::emulator::Sent;
use tidings_harness::ledger::{self, Demand};
use tidings_harness::outcomes;
use tidings_harness::reconcile::Reconciliation;
use tidings_harness::stage::DATABASE;
use tidings_harness::table::number;

/// Time limit after the last fault: a lost answer is waited for at most 30 s, its retry
/// must succeed, and the spool may pause for two minutes.
const DEADLINE: Duration = Duration::from_secs(180);
/// Time limit after that until every gap is closed: ten send requests are asked for in a
/// second, and a failure is followed by a pause of minutes.
const CLOSED: Duration = Duration::from_secs(900);

/// Of so many events one may be given up, because Pushwoosh waits 12 s, which a slow
/// machine may need after a fault. While the worker works no event is given up.
const GIVEN_UP: u64 = 100;
const TICK: Duration = Duration::from_millis(50);

/// Prints the result, and fails unless every event is stored once.
pub(super) fn reach(rig: &mut Rig, drilled: Drilled, seed: u64) -> Result<()> {
    rig.emulator.stop()?;
    settle(rig, &drilled)?;
    wait_closed(rig)?;
    let unheard = outcomes::ask_for_unknown(
        &mut rig.connect()?,
        &rig.requests,
        &rig.cluster.url(DATABASE),
    )?;
    rig.drain()?;
    rig.emulator.listen()?;
    let sent = rig.emulator.sent().clone();
    rig.finish()?;
    let mut client = rig.connect()?;
    let reconciliation =
        Reconciliation::by(&mut client, rig.emulator.ledger(), Demand::Acknowledged)?;
    let follower = drilled.watch.finish(&mut client)?;
    let gaps = Gaps::of(&mut client)?;
    let compared = outcomes::check(&mut client, &rig.requests);

    let total = reconciliation.total();
    let emitted: u64 = sent.values().map(|source| source.emitted).sum();
    let acknowledged: u64 = sent.values().map(|source| source.acknowledged).sum();
    let refused: u64 = sent.values().map(|source| source.refused).sum();
    let given_up = emitted.saturating_sub(acknowledged);
    let faults: Vec<String> = drilled
        .faults
        .iter()
        .map(|(word, times)| format!("{times} {word}"))
        .collect();
    let rows = [
        ("seed", seed.to_string()),
        (
            "cycles",
            format!("{} in {:.1} s", drilled.cycles, drilled.took.as_secs_f64()),
        ),
        ("faults", faults.join(", ")),
        ("emitted", number(emitted)),
        ("acknowledged", number(acknowledged)),
        ("given up", whose(given_up, &sent)),
        ("refused", number(refused)),
        ("spooled", spooled(&rig.spooled)),
        ("stored", number(total.stored)),
        ("missing", number(total.missing)),
        ("doubled", number(total.doubled)),
        ("unknown", number(total.unknown)),
        ("followed", number(follower.total())),
        ("gaps", gaps.to_string()),
        (
            "lost whole",
            format!(
                "{} send requests, asked for by their ids",
                number(u64::try_from(unheard)?)
            ),
        ),
        (
            "states",
            match &compared {
                Ok(recipients) => format!(
                    "{} recipients as the provider has them",
                    number(*recipients)
                ),
                Err(_) => "not as the provider has them".to_owned(),
            },
        ),
        (
            "longest stall",
            drilled.longest.as_ref().map_or_else(String::new, told),
        ),
    ];
    println!();
    for (name, value) in rows {
        println!("  {name:<13}  {value}");
    }
    for source in &reconciliation.outcomes {
        if source.stored == 0 {
            bail!("nothing is stored of {}", source.source);
        }
    }
    let full = drilled.faults.contains_key(Kind::FullDisk.word());
    if full && rig.spooled.get(FAILED) == 0 {
        bail!("nobody has noticed that the spool's disk was full");
    }
    if drilled.outages > 0 && rig.spooled.get(STORED) == 0 {
        bail!("nothing was spooled in {} outages", drilled.outages);
    }
    if refused > 0 {
        bail!("{refused} times an event was refused as if it were not genuine");
    }
    if given_up > emitted / GIVEN_UP {
        bail!("{given_up} of {emitted} events were given up by their providers");
    }
    gaps.check(drilled.faults.contains_key(Kind::ExpireCursors.word()))?;
    reconciliation.check()?;
    compared?;
    follower.check(&mut client)
}

/// Waits until everything is delivered, followed, and drained from the spool. The
/// reconciliation reports what is missing then.
fn settle(rig: &mut Rig, drilled: &Drilled) -> Result<()> {
    let started = Instant::now();
    let mut least = None;
    while started.elapsed() < DEADLINE {
        rig.check_running()?;
        if rig.emulator.is_done() {
            let least = match &least {
                Some(least) => least,
                None => least.insert(ledger::least(
                    &mut rig.connect()?,
                    rig.emulator.ledger(),
                    Demand::Acknowledged,
                )?),
            };
            let counts = drilled.watch.seen().counts;
            let all = least
                .iter()
                .all(|(source, least)| counts.get(source).copied().unwrap_or_default() >= *least);
            if all && rig.is_drained() {
                return Ok(());
            }
        }
        thread::sleep(TICK);
    }
    if !rig.emulator.is_done() {
        bail!("the providers are not rid of their events {DEADLINE:?} after the last fault");
    }
    if !rig.is_drained() {
        bail!("the spool is not empty {DEADLINE:?} after the last fault, or has damaged requests");
    }
    Ok(())
}

/// Waits until no gap is open that the worker can close.
fn wait_closed(rig: &mut Rig) -> Result<()> {
    let started = Instant::now();
    let mut client = rig.connect()?;
    while !Gaps::of(&mut client)?.are_closed() {
        rig.check_running()?;
        if started.elapsed() >= CLOSED {
            bail!("a gap is still open {CLOSED:?} after the last event");
        }
        thread::sleep(TICK);
    }
    Ok(())
}

fn spooled(spooled: &Counts) -> String {
    format!(
        "{} requests; {} found no room on the disk",
        number(spooled.get(STORED)),
        number(spooled.get(FAILED))
    )
}

/// `126: 126 of pushwoosh`.
fn whose(given_up: u64, sent: &BTreeMap<String, Sent>) -> String {
    let by_source = sent.iter().filter_map(|(source, sent)| {
        let given_up = sent.emitted.saturating_sub(sent.acknowledged);
        (given_up > 0).then(|| format!("{} of {source}", number(given_up)))
    });
    let by_source: Vec<_> = by_source.collect();
    match by_source.is_empty() {
        true => number(given_up),
        false => format!("{}: {}", number(given_up), by_source.join(", ")),
    }
}

fn told(stall: &Stall) -> String {
    format!(
        "{}, {:.1} s after the end of cycle {} ({}), {:.1} s since its begin",
        stall.last,
        stall.after.as_secs_f64(),
        stall.cycle,
        stall.fault,
        stall.since.as_secs_f64()
    )
}
