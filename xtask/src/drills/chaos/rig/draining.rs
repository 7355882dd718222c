//! SIGKILL while the spool drains. Other traffic is held back, so that only the drain's
//! own batch is being submitted then.

use super::super::fault::{Kind, Link};
use super::{DRAIN, Rig, TICK};
use anyhow::{Result, bail};
use std::thread;
use std::time::{Duration, Instant};
use tidings_harness::metrics;

/// Longer than a commit takes.
const COMMITTED: Duration = Duration::from_millis(200);

/// Pushes wait for the worker's patience of 20 s, and requests after them for their own.
const SETTLED: Duration = Duration::from_secs(180);

/// The paths of events to the worker.
const ENTRIES: [Link; 3] = [Link::Webhooks, Link::Pushes, Link::Stream];

/// Locks the partitions and not their table, so that the worker's probes pass and it drains.
const LOCK_PARTITIONS: &str = "
    do $$
    declare
      partition regclass;
    begin
      for partition in select inhrelid::regclass from pg_inherits where inhparent = 'tidings.event'::regclass
      loop
        execute format('lock table %s in exclusive mode', partition);
      end loop;
    end $$";

impl Rig {
    /// Begins an outage. The worker's events of the stream are committed before it, and
    /// not after.
    pub(super) fn begin_draining(&mut self) -> Result<()> {
        self.begin(Kind::Hold(Link::Stream))?;
        thread::sleep(COMMITTED);
        self.begin(Kind::Refuse(Link::Database))
    }

    /// A drain takes only a moment, so its commit is held back until after the kill.
    pub(super) fn kill_draining(&mut self) -> Result<()> {
        for link in ENTRIES {
            self.begin(Kind::Hold(link))?;
        }
        self.wait_spooled()?;
        // The active session is waiting in a transaction.
        let mut looking = self.connect()?;
        let mut client = self.connect()?;
        let mut held = client.transaction()?;
        held.batch_execute(LOCK_PARTITIONS)?;
        self.end(Kind::Refuse(Link::Database))?;
        let started = Instant::now();
        loop {
            let waiting = looking.query_one(
                "select count(*) from pg_locks join pg_stat_activity using (pid)
                 where not granted and query like '%ingest_batch%'
                   and relation in (select inhrelid from pg_inherits where inhparent = 'tidings.event'::regclass)",
                &[],
            )?;
            if waiting.try_get::<_, i64>(0)? > 0 {
                break;
            }
            self.worker.check_running()?;
            if started.elapsed() >= DRAIN {
                bail!("nothing comes to Postgres {DRAIN:?} after its outage");
            }
            thread::sleep(TICK);
        }
        self.kill_worker()?;
        // Postgres would otherwise finish a statement that it has received.
        held.execute(
            "select pg_terminate_backend(pid) from pg_locks
             where not granted and relation = 'tidings.event'::regclass",
            &[],
        )?;
        held.rollback()?;
        self.start_worker()?;
        for link in ENTRIES {
            self.end(Kind::Hold(link))?;
        }
        Ok(())
    }

    /// Waits until all events that are not in Postgres are in the spool.
    fn wait_spooled(&mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            self.worker.check_running()?;
            let pending = metrics::gauge(self.worker.admin, "tidings_worker_pending_requests")?;
            let spooled = metrics::gauge(self.worker.admin, "tidings_worker_spool_requests")?;
            if pending == 0.0 && spooled > 0.0 {
                return Ok(());
            }
            if started.elapsed() >= SETTLED {
                bail!(
                    "{spooled} requests are spooled and {pending} wait {SETTLED:?} after the last"
                );
            }
            thread::sleep(TICK);
        }
    }
}
