//! The folder of the spool is moved away during an outage, by somebody who tidies up. What
//! the worker has acknowledged, and what it acknowledges from then on, must be in the folder
//! that it finds when it is started again.

use super::super::fault::{Kind, Link};
use super::{DRAIN, NOTICED, Rig, TICK};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::thread;
use std::time::Instant;
use tidings_harness::metrics;

impl Rig {
    /// Begins an outage, and moves the folder when something is in it.
    pub(super) fn move_spool(&mut self) -> Result<()> {
        self.begin(Kind::Refuse(Link::Database))?;
        let started = Instant::now();
        while self.spooled_requests()? == 0.0 {
            self.worker.check_running()?;
            if started.elapsed() >= NOTICED {
                bail!("nothing is spooled {NOTICED:?} after the begin of an outage");
            }
            thread::sleep(TICK);
        }
        fs::rename(&self.spool, self.spool.with_extension("moved"))
            .context("cannot move the spool's folder")
    }

    /// Kills the worker when its spool has a file again, and starts it on that file.
    pub(super) fn lose_moved_spool(&mut self) -> Result<()> {
        let started = Instant::now();
        while !self.has_new_spool() {
            self.worker.check_running()?;
            if started.elapsed() >= NOTICED {
                bail!("the spool's folder was moved away, and after {NOTICED:?} there is no other");
            }
            thread::sleep(TICK);
        }
        self.kill_worker()?;
        fs::remove_dir_all(self.spool.with_extension("moved"))
            .context("cannot remove the folder that was moved away")?;
        self.start_worker()?;
        self.end(Kind::Refuse(Link::Database))?;
        // What is in the folder is stored before it may be needed by another fault.
        let started = Instant::now();
        while !self.is_drained() && started.elapsed() < DRAIN {
            self.worker.check_running()?;
            thread::sleep(TICK);
        }
        Ok(())
    }

    /// Whether the worker keeps its requests in a file where its folder was, and says so.
    fn has_new_spool(&self) -> bool {
        self.spool.join("requests.redb").is_file() && self.is_ready()
    }

    fn spooled_requests(&self) -> Result<f64> {
        metrics::gauge(self.worker.admin, "tidings_worker_spool_requests")
    }
}
