//! The knowledge whether Postgres takes requests, as the attempts to store them show.
//!
//! A connection that is open promises nothing: a server may be read-only, a table locked, a
//! right missing. So the answer comes from the outcomes of commits, and while these give none,
//! from a probe that does what ingest needs and leaves nothing
//! ([`Ingest::probe`](super::lane::Ingest::probe)). Readiness, the gauge, the spool and its
//! drain ask here.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use std::time::{Duration, SystemTime};

use metrics::gauge;
use tokio::{sync::watch, time::Instant};
use tracing::{info, warn};

use crate::process::metric;

/// Time for which attempts fail before Postgres counts as taking nothing. A deadlock or a
/// connection that was closed is over by the next attempt.
const GRACE: Duration = Duration::from_secs(1);
/// Time after which a commit that is still in flight, with none after it, counts as a stall.
pub(super) const STALL: Duration = Duration::from_secs(5);

/// A handle to what is known, shared by everybody who stores requests or asks.
#[derive(Clone, Debug)]
pub(crate) struct Taking(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    trouble: watch::Sender<Option<Trouble>>,
    attempts: Mutex<Attempts>,
    /// Number of commits.
    commits: AtomicU64,
    /// True while something else says that Postgres may be gone, so that it is probed although
    /// no attempt has failed.
    is_doubted: AtomicBool,
}

/// The attempts since the last one that succeeded.
#[derive(Debug, Default)]
struct Attempts {
    succeeded: Option<Instant>,
    failing_since: Option<Instant>,
}

/// The reason why no requests are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) reason: Arc<str>,
    pub(crate) since: SystemTime,
    /// True until the first attempt or probe has ended.
    pub(crate) is_unproven: bool,
    /// True if Postgres refuses every request, and does so at once.
    refuses: bool,
}

impl Trouble {
    /// Trouble from now on.
    fn new(reason: Arc<str>) -> Self {
        Self {
            reason,
            since: SystemTime::now(),
            is_unproven: false,
            refuses: false,
        }
    }
}

impl Taking {
    /// A handle that knows nothing yet, so that Postgres is probed before it counts as taking
    /// requests.
    pub(crate) fn unproven() -> Self {
        let trouble = Trouble::new("Postgres was not tried yet".into());
        Self::begin(Some(Trouble {
            is_unproven: true,
            ..trouble
        }))
    }

    /// A handle that believes Postgres until an attempt fails.
    pub(crate) fn trusting() -> Self {
        Self::begin(None)
    }

    /// A handle that knows of this trouble.
    #[cfg(test)]
    pub(crate) fn stopped_for(reason: &str) -> Self {
        Self::begin(Some(Trouble::new(reason.into())))
    }

    #[cfg(test)]
    pub(crate) fn stop_for(&self, reason: &str) {
        self.lost(&reason.into());
    }

    /// The end of all trouble.
    #[cfg(test)]
    pub(crate) fn resume(&self) {
        self.passed();
    }

    fn begin(trouble: Option<Trouble>) -> Self {
        Self(Arc::new(Shared {
            trouble: watch::Sender::new(trouble),
            attempts: Mutex::default(),
            commits: AtomicU64::new(0),
            is_doubted: AtomicBool::new(false),
        }))
    }

    pub(crate) fn is_taking(&self) -> bool {
        self.0.trouble.borrow().is_none()
    }

    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.0.trouble.borrow().clone()
    }

    /// Whether the last batch was refused because of the database rather than of its requests.
    pub(super) fn refuses(&self) -> bool {
        let trouble = self.0.trouble.borrow();
        trouble.as_ref().is_some_and(|trouble| trouble.refuses)
    }

    /// The news, for those who wait for it.
    pub(crate) fn news(&self) -> watch::Receiver<Option<Trouble>> {
        self.0.trouble.subscribe()
    }

    /// Resolves when no requests are taken.
    pub(crate) async fn stopped(&self) {
        let mut news = self.news();
        // The sender is `self`, so that this never fails.
        let _ = news.wait_for(Option::is_some).await;
    }

    /// Resolves when requests are taken.
    pub(crate) async fn begun(&self) {
        let mut news = self.news();
        let _ = news.wait_for(Option::is_none).await;
    }

    /// A commit has succeeded.
    pub(super) fn committed(&self) {
        self.0.commits.fetch_add(1, Ordering::Relaxed);
        self.passed();
    }

    /// Number of commits.
    pub(super) fn commits(&self) -> u64 {
        self.0.commits.load(Ordering::Relaxed)
    }

    /// A probe, or a commit, has succeeded.
    pub(super) fn passed(&self) {
        *self.attempts() = Attempts {
            succeeded: Some(Instant::now()),
            failing_since: None,
        };
        let is_news = self.0.trouble.send_if_modified(|trouble| {
            let was = trouble.take();
            was.is_some()
        });
        if is_news {
            gauge!(metric::DATABASE_UP).set(1.0);
            info!("Postgres takes requests");
        }
    }

    /// An attempt has failed that may succeed if it is repeated.
    pub(super) fn failed(&self, reason: &Arc<str>) {
        let now = Instant::now();
        let since = *self.attempts().failing_since.get_or_insert(now);
        if now.duration_since(since) >= GRACE {
            self.stop(reason, false);
        }
    }

    /// Nothing can be stored, whatever is tried: there is no connection.
    pub(super) fn lost(&self, reason: &Arc<str>) {
        self.stop(reason, false);
    }

    /// Postgres refuses every request.
    pub(super) fn refused(&self, reason: &Arc<str>) {
        self.stop(reason, true);
    }

    /// An attempt that began then has had no answer for a while.
    pub(super) fn stalled(&self, began: Instant, reason: &Arc<str>) {
        if self.attempts().succeeded.is_none_or(|at| at < began) {
            self.stop(reason, false);
        }
    }

    /// Something else says that Postgres may be gone, or that it is there.
    pub(crate) fn doubt(&self, is_doubted: bool) {
        self.0.is_doubted.store(is_doubted, Ordering::Relaxed);
    }

    /// Whether a probe would say something new.
    pub(super) fn wants_probe(&self) -> bool {
        !self.is_taking() || self.0.is_doubted.load(Ordering::Relaxed)
    }

    fn stop(&self, reason: &Arc<str>, refuses: bool) {
        let mut begins = false;
        self.0.trouble.send_if_modified(|trouble| {
            let since = trouble.as_ref().map(|known| known.since);
            begins = since.is_none();
            let now = Trouble {
                reason: Arc::clone(reason),
                since: since.unwrap_or_else(SystemTime::now),
                is_unproven: false,
                refuses,
            };
            let is_news = trouble.as_ref() != Some(&now);
            *trouble = Some(now);
            is_news
        });
        if begins {
            gauge!(metric::DATABASE_UP).set(0.0);
            warn!(%reason, "Postgres takes no requests; trying again until it does");
        }
    }

    fn attempts(&self) -> std::sync::MutexGuard<'_, Attempts> {
        self.0
            .attempts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn why(taking: &Taking) -> Option<String> {
        taking.trouble().map(|trouble| trouble.reason.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_passes_at_once_changes_nothing() {
        let taking = Taking::trusting();
        taking.failed(&"a deadlock".into());
        tokio::time::advance(GRACE / 2).await;
        taking.failed(&"a deadlock".into());
        assert!(taking.is_taking());
        taking.committed();
        tokio::time::advance(GRACE).await;
        taking.failed(&"another".into());
        assert!(taking.is_taking(), "counted from the last success");
        tokio::time::advance(GRACE).await;
        taking.failed(&"another".into());
        assert_eq!(why(&taking).as_deref(), Some("another"));
        assert!(!taking.refuses());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_counts_unless_something_was_stored_since() {
        let taking = Taking::trusting();
        let began = Instant::now();
        tokio::time::advance(STALL).await;
        taking.committed();
        taking.stalled(began, &"slow".into());
        assert!(taking.is_taking(), "by another lane");
        let began = Instant::now() + STALL;
        taking.stalled(began, &"slow".into());
        assert_eq!(why(&taking).as_deref(), Some("slow"));
    }

    #[test]
    fn it_says_since_when_and_for_the_newest_reason() {
        let taking = Taking::unproven();
        assert!(!taking.is_taking() && taking.wants_probe());
        taking.passed();
        assert!(taking.is_taking() && !taking.wants_probe());
        assert_eq!(taking.commits(), 0, "a probe is no commit");
        taking.refused(&"one".into());
        let first = taking.trouble().unwrap();
        assert!(taking.refuses());
        taking.lost(&"two".into());
        let second = taking.trouble().unwrap();
        assert_eq!((second.reason.as_ref(), second.since), ("two", first.since));
        assert!(!taking.refuses());
    }

    #[tokio::test]
    async fn those_who_wait_are_told_and_doubt_alone_is_no_news() {
        let taking = Taking::trusting();
        let mut stopped = std::pin::pin!(taking.stopped());
        taking.doubt(true);
        assert!(taking.is_taking() && taking.wants_probe());
        assert!(stopped.as_mut().now_or_never().is_none());
        taking.lost(&"gone".into());
        assert!(stopped.now_or_never().is_some());
        assert!(taking.begun().now_or_never().is_none());
        taking.committed();
        assert!(taking.begun().now_or_never().is_some());
        assert!(taking.wants_probe(), "it is still in doubt");
        taking.doubt(false);
        assert!(!taking.wants_probe());
    }
}
