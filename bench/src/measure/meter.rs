//! Time, CPU and WAL between two moments.

use super::cpu;
use crate::figures::Figures;
use anyhow::Result;
use postgres::Client;
use std::time::{Duration, Instant};

/// The quantities that are measured besides the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched {
    pub(crate) postmaster: u32,
    /// The worker, or a contender in its place.
    pub(crate) process: Option<u32>,
}

/// A measurement that has begun.
#[derive(Debug)]
pub(crate) struct Meter {
    watched: Watched,
    cluster: Duration,
    process: Duration,
    /// This program, which is the load.
    load: Duration,
    wal: f64,
    began: Instant,
}

impl Meter {
    pub(crate) fn start(watched: Watched, client: &mut Client) -> Result<Self> {
        Ok(Self {
            watched,
            wal: wal(client)?,
            cluster: cpu::of_cluster(watched.postmaster)?,
            process: watched
                .process
                .map_or(Ok(Duration::ZERO), cpu::of_process)?,
            load: cpu::of_process(std::process::id())?,
            began: Instant::now(),
        })
    }

    /// The rate, CPU and WAL of so many events since the start.
    pub(crate) fn stop(self, events: u64, client: &mut Client) -> Result<Figures> {
        let took = self.began.elapsed();
        self.stop_after(took, events, client)
    }

    /// The same as [`Meter::stop`], for work that ended earlier than now.
    pub(crate) fn stop_after(
        self,
        took: Duration,
        events: u64,
        client: &mut Client,
    ) -> Result<Figures> {
        let seconds = took.as_secs_f64().max(1e-9);
        let events = (events as f64).max(1.0);
        let cluster = cpu::of_cluster(self.watched.postmaster)?.saturating_sub(self.cluster);
        let mut figures = Figures::default();
        figures.set("rate", events / seconds);
        figures.set("pg_us", cluster.as_secs_f64() * 1e6 / events);
        figures.set("pg_cores", cluster.as_secs_f64() / seconds);
        figures.set("wal", (wal(client)? - self.wal) / events);
        if let Some(pid) = self.watched.process {
            let process = cpu::of_process(pid)?.saturating_sub(self.process);
            figures.set("proc_us", process.as_secs_f64() * 1e6 / events);
            figures.set("proc_cores", process.as_secs_f64() / seconds);
            let load = cpu::of_process(std::process::id())?.saturating_sub(self.load);
            figures.set("load_us", load.as_secs_f64() * 1e6 / events);
        }
        Ok(figures)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

/// Bytes of WAL that the cluster has written so far.
fn wal(client: &mut Client) -> Result<f64> {
    let row = client.query_one(
        "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8",
        &[],
    )?;
    Ok(row.try_get(0)?)
}
