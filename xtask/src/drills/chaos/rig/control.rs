//! The control connection of the worker is cut, as often as it is opened, while the
//! connections of its lanes are left alone.

use anyhow::{Context as _, Result, anyhow};
use postgres::{Client, NoTls};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const EVERY: Duration = Duration::from_millis(20);

/// Every connection of the worker but those that store events: a lane's last statement stores,
/// or probes whether it could, and a connection that has not run a statement of its own yet may
/// become a lane's.
const CUT: &str = "select pg_terminate_backend(pid) from pg_stat_activity
    where application_name like 'tidings-worker%' and datname = current_database()
      and query not like '%ingest%' and query ~ 'tidings'";

/// Cuts until it is stopped.
#[derive(Debug)]
pub(super) struct Cutter {
    over: Arc<AtomicBool>,
    cutting: Option<JoinHandle<Result<u64>>>,
}

impl Cutter {
    pub(super) fn start(url: &str) -> Result<Self> {
        let client = Client::connect(url, NoTls)?;
        let over = Arc::<AtomicBool>::default();
        let cutting = thread::spawn({
            let over = Arc::clone(&over);
            move || cut(client, &over)
        });
        Ok(Self {
            over,
            cutting: Some(cutting),
        })
    }

    /// Returns how many connections were cut.
    pub(super) fn stop(mut self) -> Result<u64> {
        self.over.store(true, Ordering::Relaxed);
        let cutting = self.cutting.take().context("it was stopped before")?;
        cutting.join().map_err(|_| anyhow!("the cutter panicked"))?
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn cut(mut client: Client, over: &AtomicBool) -> Result<u64> {
    let mut all = 0;
    while !over.load(Ordering::Relaxed) {
        all += client.execute(CUT, &[])?;
        thread::sleep(EVERY);
    }
    Ok(all)
}
