//! A sample of everything that must not grow.

use super::consumer::Consumer;
use anyhow::Result;
use postgres::Client;
use std::time::Duration;
use tidings_harness::emulator::Emulator;
use tidings_harness::metrics;
use tidings_harness::procfs::Usage;
use tidings_harness::stage::{self, DATABASE, Stage};

/// Sources of which every event is one row, so that what is not stored can be counted.
/// Of the others an event may be several rows: there it counts what is not answered.
const ONE_ROW: [&str; 3] = ["ppoppo", "pushwoosh-grpc", "arpoone"];

const LOOK: &str = "
select coalesce((select behind from tidings.lag where what = 'consumer'), 0)::bigint,
       (select sum(size) from pg_ls_waldir())::bigint,
       pg_database_size($1)::bigint,
       (select count(*) from tidings.rejected)::bigint";
const BACKENDS: &str = "
select pid from pg_stat_activity where application_name = 'tidings-worker' order by backend_start";

/// Sizes are bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// Since the start line.
    pub(super) at: Duration,
    pub(super) stored: u64,
    /// Events a second since the sample before.
    pub(super) rate: f64,
    /// Events emitted and not yet stored.
    pub(super) lag: u64,
    /// Events that the consumer has not acknowledged, as tidings.lag has it.
    pub(super) behind: u64,
    pub(super) worker: Usage,
    pub(super) backends: u64,
    /// The private memory of the backend that is the longest there.
    pub(super) backend: u64,
    /// Requests.
    pub(super) spool: u64,
    pub(super) wal: u64,
    pub(super) database: u64,
    pub(super) partitions: u64,
    pub(super) rejected: u64,
}

pub(super) const CSV_HEADER: &str = "seconds,stored,events_per_second,lag,consumer_behind,\
worker_rss,worker_private,worker_descriptors,worker_threads,backends,backend_private,\
spool_requests,wal,database,partitions,rejected";

impl Sample {
    pub(super) fn take(
        stage: &Stage,
        emulator: &Emulator,
        consumer: &Consumer,
        client: &mut Client,
        at: Duration,
        before: &Self,
    ) -> Result<Self> {
        let row = client.query_one(LOOK, &[&DATABASE])?;
        let number = |column| -> Result<u64> { Ok(row.try_get::<_, i64>(column)?.try_into()?) };
        let backends = client.query(BACKENDS, &[])?;
        let stored = consumer.total();
        let seconds = at.saturating_sub(before.at).as_secs_f64();
        Ok(Self {
            at,
            stored,
            rate: stored.saturating_sub(before.stored) as f64 / seconds.max(0.001),
            lag: lag(emulator, consumer),
            behind: number(0)?,
            worker: Usage::of(stage.worker.id())?,
            backends: backends.len() as u64,
            backend: match backends.first() {
                // It may have ended since.
                Some(row) => Usage::of(u32::try_from(row.try_get::<_, i32>(0)?)?)
                    .map_or(before.backend, |usage| usage.private),
                None => 0,
            },
            spool: metrics::gauge(stage.worker.admin, "tidings_worker_spool_requests")? as u64,
            wal: number(1)?,
            database: number(2)?,
            partitions: stage::partitions(client)?,
            rejected: number(3)?,
        })
    }

    pub(super) fn csv(&self) -> String {
        let Usage {
            resident,
            private,
            descriptors,
            threads,
            ..
        } = self.worker;
        let seconds = self.at.as_secs_f64();
        let numbers = [
            self.lag,
            self.behind,
            resident,
            private,
            descriptors,
            threads,
            self.backends,
            self.backend,
            self.spool,
            self.wal,
            self.database,
            self.partitions,
            self.rejected,
        ];
        let numbers = numbers.map(|number| number.to_string()).join(",");
        format!("{seconds:.1},{},{:.1},{numbers}", self.stored, self.rate)
    }
}

fn lag(emulator: &Emulator, consumer: &Consumer) -> u64 {
    let of = |(source, sent): (&String, &tidings_harness::emulator::Sent)| {
        let passed = if ONE_ROW.contains(&source.as_str()) {
            consumer.count(source)
        } else {
            sent.acknowledged
        };
        sent.emitted.saturating_sub(passed)
    };
    emulator.sent().iter().map(of).sum()
}
