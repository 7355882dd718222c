//! The spool, which keeps webhooks while Postgres is down.
//!
//! A request is spooled as it would be passed to `tidings.ingest_batch`, including its
//! receipt id, and is answered 200 after the fsync. It is verified when the spool is
//! drained, like any other request, and deleted from the spool after its commit.
//!
//! - The crate [`tidings_spool`] is the file on the disk, and [`bound`] limits its size.
//! - [`keeper`] owns the file, in a thread of its own, and commits in groups.
//! - [`when`] says when a request is spooled, [`drain`] brings it to Postgres.
//! - [`losses`] reports what can no longer be brought to Postgres.
//! - [`commands::spool`](crate::commands::spool) is `tidings-worker spool`.
//!
//! gRPC pushes are not spooled, because their senders retry each uuid until it is
//! answered.

mod bound;
pub(crate) mod drain;
mod keeper;
pub(crate) mod losses;
#[cfg(test)]
pub(crate) mod tests;
mod when;

use std::{
    collections::BTreeSet,
    iter,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use metrics::{counter, gauge};
use tidings_spool::{Batch, SpoolFile};
pub(crate) use tidings_spool::{Entry, Mode, ReadLimits, SpoolError};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep,
};

pub(crate) use self::when::{spooled_after, spooled_at_once};
use self::{
    keeper::{Ask, Keeper},
    losses::Losses,
};
use crate::{
    admission::budget::Share,
    gaps::Gaps,
    pipeline::request::Request,
    process::{exit::Vital, metric},
    sources::source::Snapshot,
};

/// The names of sources whose webhooks are accepted.
pub(crate) type Names = Arc<BTreeSet<Arc<str>>>;

/// Time after a failed put for which the spool reports that it is unusable. After that
/// time the next put tries again.
const FAILING: Duration = Duration::from_secs(30);

/// Time between two looks whether the file is still in its place.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The contents of the spool, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Depth {
    /// Number of intact requests.
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
    /// Arrival of the oldest request, in milliseconds since 1970.
    pub(crate) oldest: Option<u64>,
    pub(crate) damaged: Damaged,
    /// When a put last failed, unless a later put succeeded.
    pub(crate) failed: Option<Instant>,
    /// The key that the next request gets.
    pub(crate) next: u64,
}

impl Depth {
    /// The age of the oldest request.
    pub(crate) fn oldest_seconds(&self) -> f64 {
        self.oldest.map_or(0, |oldest| now().saturating_sub(oldest)) as f64 / 1e3
    }
}

/// Damaged entries, which are kept because they were acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Damaged {
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
    /// Arrival of the oldest damaged entry, as far as it can be read.
    pub(crate) oldest: Option<u64>,
}

impl Damaged {
    fn add(&mut self, bytes: u64, received: Option<u64>) {
        self.requests += 1;
        self.bytes += bytes;
        self.oldest = self.oldest.into_iter().chain(received).min();
    }
}

/// Why a request is certainly not in the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unspooled {
    /// The bound is reached, or the source has used its half of the spool.
    Full,
    Failed(SpoolError),
}

/// A handle to the spool.
#[derive(Clone, Debug)]
pub(crate) struct Spool {
    asks: mpsc::UnboundedSender<Ask>,
    depth: watch::Receiver<Depth>,
    names: watch::Receiver<Names>,
    /// The reason why puts are refused at present.
    failure: watch::Receiver<Option<SpoolError>>,
    limit: u64,
    /// Whether commits stall: a commit was not done in time, and nothing has shown since
    /// that Postgres accepts requests. The drain shows that by any outcome, even a
    /// declined one. The next webhook shows it if it was sent to Postgres because the
    /// spool refused one or could not be read.
    stalled: Arc<AtomicBool>,
}

impl Spool {
    /// Opens the spool in a folder and starts its keeper. `limit` is in bytes.
    pub(crate) fn open(
        folder: &Path,
        mode: Mode,
        limit: u64,
        gaps: Gaps,
        vital: Option<Vital>,
    ) -> Result<Self, SpoolError> {
        let file = SpoolFile::open(folder, mode)?;
        let losses = Losses::noted(file.folder(), gaps);
        let keeper = Keeper::new(file, limit, losses, vital)?;
        let (spool, asked) = Self::way_to(&keeper, limit);
        std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || keeper.run(asked))
            .map_err(|error| SpoolError::unusable(folder, error))?;
        Ok(spool)
    }

    /// A handle, and the channel that the keeper serves.
    fn way_to(keeper: &Keeper, limit: u64) -> (Self, mpsc::UnboundedReceiver<Ask>) {
        let (asks, asked) = mpsc::unbounded_channel();
        let spool = Self {
            asks,
            depth: keeper.depth(),
            names: keeper.names(),
            failure: keeper.failure(),
            limit,
            stalled: Arc::default(),
        };
        (spool, asked)
    }

    /// Puts a request into the spool, and returns after the fsync: the request is either
    /// spooled or certainly not. Its share of the budget is returned then, even if the
    /// caller stops waiting earlier.
    pub(crate) async fn put(&self, request: Request, share: Share) -> Result<(), Unspooled> {
        let Request {
            source,
            body,
            headers,
        } = request;
        let entry = Entry {
            received: now(),
            source,
            headers: headers.to_string(),
            body,
        };
        let result = self.ask(|reply| Ask::Put(entry, share, reply)).await;
        let result = result.unwrap_or_else(|| Err(Unspooled::Failed(ended())));
        let word = match &result {
            Ok(()) => STORED,
            Err(Unspooled::Full) => FULL,
            Err(Unspooled::Failed(_)) => FAILED,
        };
        counter!(metric::SPOOLED, "result" => word).increment(1);
        result
    }

    /// The oldest entries after a key, in order.
    async fn read(&self, after: Option<u64>, limits: ReadLimits) -> Result<Batch, SpoolError> {
        let read = self.ask(|reply| Ask::Read(after, limits, reply)).await;
        read.unwrap_or_else(|| Err(ended()))
    }

    async fn delete(&self, keys: Vec<u64>) -> Result<(), SpoolError> {
        let deleted = self.ask(|reply| Ask::Delete(keys, reply)).await;
        deleted.unwrap_or_else(|| Err(ended()))
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(ask(reply)).ok()?;
        answer.await.ok()
    }

    pub(crate) fn depth(&self) -> Depth {
        *self.depth.borrow()
    }

    /// Whether the spool can still accept a request of average size.
    pub(crate) fn is_taking(&self) -> bool {
        let depth = self.depth();
        let failing = depth.failed.is_some_and(|at| at.elapsed() < FAILING);
        !failing && depth.bytes + depth.damaged.bytes < self.limit
    }

    /// The reason why a put was refused last, unless a later one succeeded.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.borrow().as_ref().map(ToString::to_string)
    }

    /// Limit on the bytes of the requests in the spool; of what is in it already, if that is
    /// more. A source may have half of it.
    fn size(&self) -> u64 {
        self.limit.max(self.depth().bytes.saturating_mul(2)).max(1)
    }

    /// The source of that name, if its webhooks were accepted when Postgres was last up.
    pub(crate) fn knows(&self, name: &str) -> Option<Arc<str>> {
        self.names.borrow().get(name).cloned()
    }

    pub(crate) fn knows_any(&self) -> bool {
        !self.names.borrow().is_empty()
    }

    /// Whether commits stall and the drain has a request with which to notice that they
    /// work again.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed) && self.depth().requests > 0
    }

    pub(crate) fn set_stalled(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::Relaxed);
    }

    pub(crate) fn count(&self) {
        let depth = self.depth();
        gauge!(metric::SPOOL_REQUESTS).set(depth.requests as f64);
        gauge!(metric::SPOOL_BYTES).set(depth.bytes as f64);
        gauge!(metric::SPOOL_OLDEST).set(depth.oldest_seconds());
        gauge!(metric::SPOOL_DAMAGED).set(depth.damaged.requests as f64);
    }

    /// Has the keeper look whether the file is still in its place, also while nothing is
    /// spooled.
    pub(crate) async fn look_after(self) {
        loop {
            sleep(LOOK_EVERY).await;
            // If the keeper has ended, the process is ending.
            if self.asks.send(Ask::Look).is_err() {
                return;
            }
        }
    }

    /// Stores the names of the sources, for a worker that starts while Postgres is down.
    pub(crate) async fn remember(self, mut snapshot: watch::Receiver<Snapshot>) {
        loop {
            let now = snapshot.borrow_and_update().clone();
            if let Some(sources) = now.sources.as_ref().filter(|_| !now.lists_none()) {
                let sources = sources.values();
                let names = sources.filter(|source| source.enabled && !source.is_dialed());
                let names =
                    names.flat_map(|source| iter::once(&source.name).chain(&source.former_names));
                let names = names.map(ToString::to_string).collect();
                // If the keeper has ended, the process is ending.
                let _ = self.asks.send(Ask::Names(names));
            }
            if snapshot.changed().await.is_err() {
                return;
            }
        }
    }
}

const STORED: &str = "stored";
const FULL: &str = "full";
const FAILED: &str = "failed";
/// Results of offering a request to the spool, in the words of the metric.
pub(crate) const RESULTS: [&str; 3] = [STORED, FULL, FAILED];

fn ended() -> SpoolError {
    SpoolError::Ended
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
