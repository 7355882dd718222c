//! The worker's memory under load, with and without Postgres.

use super::assert_stored;
use super::lag::{ITEMS, arrays};
use crate::contest::{Bound, Contest, Row, value};
use crate::figures::Figures;
use crate::lab::Bed;
use crate::load::http::{self, Pace};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};
use tidings_harness::procfs::Usage;

const WORKER: &str = "the worker";

pub(super) const ROWS: &[Row] = &[Row {
    name: "memory",
    title: "Memory of the worker at 10,000 events a second",
    about: "The most that was ever resident, in a worker with a spool that receives an array of 20 SMS states every 2 ms; then Postgres is killed, the load goes on into the spool, Postgres comes back, and everything has to be stored.",
    unit: "event",
    contenders: &[WORKER],
    marks: &[
        value(
            "peak at 10,000 events a second",
            "mib",
            WORKER,
            Bound::AtMost(64.0),
        ),
        value(
            "peak with Postgres away",
            "mib_away",
            WORKER,
            Bound::AtMost(96.0),
        ),
    ],
    set: |lab| {
        Ok(Box::new(Memory {
            bed: lab.bed(&[])?,
            requests: lab.pick(100, 4000),
            turns: 0,
        }))
    },
}];

const EVERY: Duration = Duration::from_millis(2);
/// So long the spool may take to be drained.
const PATIENCE: Duration = Duration::from_secs(60);

struct Memory {
    bed: Bed,
    requests: usize,
    turns: u64,
}

impl Contest for Memory {
    fn play(&mut self, _: &str) -> Result<Figures> {
        self.turns += 1;
        let database = self.bed.database()?;
        let spool = self
            .bed
            .cluster
            .folder()
            .join(format!("spool-{}", self.turns));
        let spool = spool.to_string_lossy().into_owned();
        let worker = self.bed.worker(&database, &["--spool-dir", &spool])?;
        let peak =
            || Ok::<_, anyhow::Error>(Usage::of(worker.id())?.peak as f64 / f64::from(1 << 20));
        let (with, _) = arrays(self.requests, 2 * self.turns);
        let (without, _) = arrays(self.requests, 2 * self.turns + 1);
        let expected = 2 * self.requests * usize::try_from(ITEMS)?;

        http::open(worker.http, with, 64, Pace::one(EVERY))?;
        let figures = Figures::default().with("mib", peak()?);
        self.bed.cluster.kill()?;
        http::open(worker.http, without, 64, Pace::one(EVERY))?;
        let figures = figures.with("mib_away", peak()?);
        self.bed.cluster.restart()?;

        let mut client = self.bed.connect(&database)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let stored: i64 = client
                .query_one("select count(*) from tidings.event", &[])?
                .try_get(0)?;
            if usize::try_from(stored)? >= expected {
                break;
            }
            ensure!(
                Instant::now() < deadline,
                "{stored} of {expected} events are stored\n{}",
                worker.tail()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        assert_stored(&mut client, "tidings.event", expected)?;
        drop((worker, client));
        self.bed.drop_database(&database)?;
        Ok(figures)
    }
}
