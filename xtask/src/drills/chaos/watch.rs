//! The reader of the log during the whole drill: it follows from its cursor on a
//! connection of its own, and reconnects whenever that is gone.

use anyhow::{Context as _, Result, anyhow};
use postgres::{Client, NoTls};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tidings_harness::follow::Follower;

const EVERY: Duration = Duration::from_millis(25);

/// What it has read, as far as others need to know.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) total: u64,
    /// When each source's last event was stored, in milliseconds of the Unix epoch.
    pub(super) lasts: BTreeMap<String, u64>,
    pub(super) counts: BTreeMap<String, u64>,
}

#[derive(Debug)]
pub(super) struct Watch {
    seen: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
    reader: Option<JoinHandle<Follower>>,
}

impl Watch {
    pub(super) fn start(url: String) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let over = Arc::new(AtomicBool::new(false));
        let reader = thread::spawn({
            let (seen, over) = (Arc::clone(&seen), Arc::clone(&over));
            move || follow(&url, &seen, &over)
        });
        Self {
            seen,
            over,
            reader: Some(reader),
        }
    }

    pub(super) fn seen(&self) -> Seen {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }

    /// Ends the reader after it has read all stored events.
    pub(super) fn finish(mut self, client: &mut Client) -> Result<Follower> {
        self.over.store(true, Ordering::Relaxed);
        let reader = self.reader.take().context("it has ended already")?;
        let mut follower = reader
            .join()
            .map_err(|_| anyhow!("the log's reader panicked"))?;
        follower.advance(client)?;
        Ok(follower)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn follow(url: &str, seen: &Mutex<Seen>, over: &AtomicBool) -> Follower {
    let mut follower = Follower::default();
    let mut client = None;
    while !over.load(Ordering::Relaxed) {
        // Postgres may be away: what it is then is the drill's to judge.
        let mut connected = match client.take() {
            Some(client) => client,
            None => match Client::connect(url, NoTls) {
                Ok(client) => client,
                Err(_) => {
                    thread::sleep(EVERY);
                    continue;
                }
            },
        };
        if follower.advance(&mut connected).is_ok() {
            client = Some(connected);
            let counts = follower.counts().clone();
            let last = |source: &String| Some((source.clone(), follower.last_of(source)?));
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen {
                total: follower.total(),
                lasts: counts.keys().filter_map(last).collect(),
                counts,
            };
        }
        thread::sleep(EVERY);
    }
    follower
}
