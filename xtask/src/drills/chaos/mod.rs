//! `make chaos`: runs the whole system through one fault after another, and then proves
//! that no event was lost, doubled or stuck.
//!
//! A cycle is a fault, or two that overlap, and the wait until events of every source are
//! stored again. The `schedule` depends on the seed alone. An event that was acknowledged
//! must be stored, as often as it happened; a provider may have given up an event that
//! was not.
//!
//! - `fault`, `schedule`: what happens
//! - `rig` with `disk` and `pause`: to what
//! - `watch`: the reader of the log that goes through all of it
//! - `drill`: the cycles; `verdict`: the end; `counts`: what the worker counted; `gaps`: what
//!   Ppoppo no longer replayed

mod counts;
mod disk;
mod drill;
mod fault;
mod gaps;
mod pause;
mod rig;
mod schedule;
mod verdict;
mod watch;

use self::disk::SmallDisk;
use self::drill::Drill;
use self::rig::{Load, Rig};
use self::schedule::Cycle;
use anyhow::{Result, ensure};
use tidings_harness::leash;
use tidings_harness::server::Server;

/// Events a second: few enough to leave a small machine time for the faults.
const RATE: u64 = 1000;
/// Seconds for each cycle, more than any cycle takes; the emulator is stopped at the end.
const SECONDS_EACH: u64 = 120;
/// The emulator's own limit.
const MOST_EVENTS: u64 = 100_000_000;

/// Number of cycles that include every kind of fault.
pub(crate) const EVERY_KIND: usize = schedule::WHOLE;

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub cycles: usize,
    pub seed: u64,
    /// Only the cycles with this kind of fault.
    pub only: Option<String>,
}

/// Prints the schedule of a seed, and does nothing else.
pub(crate) fn show(options: &Options) {
    for (nth, cycle) in schedule(options, true).iter().enumerate() {
        println!("{:>5}  {cycle}", nth + 1);
    }
}

fn schedule(options: &Options, full_disk: bool) -> Vec<Cycle> {
    let (cycles, seed) = (options.cycles, options.seed);
    match &options.only {
        Some(word) => schedule::draw_only(word, cycles, seed, full_disk),
        None => schedule::draw(cycles, seed, full_disk),
    }
}

/// Whether a spool can have a disk that is full: a [`Missing`](tidings_harness::step::Missing) where
/// nothing can be mounted.
pub(crate) fn try_small_disk() -> Result<()> {
    SmallDisk::mount().map(drop)
}

/// Runs the drill, and fails if an event was lost, doubled or stuck.
pub(crate) fn run(server: &Server, options: &Options) -> Result<()> {
    let cycles = u64::try_from(options.cycles)?;
    let disk = SmallDisk::mount()
        .inspect_err(|error| println!("left out: a full disk, which needs a mount ({error:#})"))
        .ok();
    let schedule = schedule(options, disk.is_some());
    ensure!(
        !schedule.is_empty() || cycles == 0,
        "no fault is called that; --dry-run prints them"
    );
    let load = Load {
        events: (cycles * SECONDS_EACH * RATE).clamp(1, MOST_EVENTS),
        seed: options.seed,
        rate: RATE,
    };
    println!(
        "starting a private Postgres {}, a worker with a spool, and the providers at {RATE} events/s; \
         {cycles} cycles, seed {}",
        server.major, options.seed
    );
    let mut rig = Rig::set(server, disk, load)?;
    Drill::new(&rig)
        .run(&mut rig, &schedule)
        .and_then(|drilled| verdict::reach(&mut rig, drilled, options.seed))
        .inspect_err(|_| {
            leash::mute_after_signal();
            eprintln!("{}", rig.logs());
        })
}
