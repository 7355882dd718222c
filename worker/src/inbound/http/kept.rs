//! The requests that a source loses because the worker refuses them: kept in
//! `tidings.rejected`, outside of the request's way.
//!
//! Anybody who knows the name of a source can have requests refused, so that each source has a
//! rate, and what waits has a bound. Beyond them, and while Postgres is away, a refused request
//! is counted and in the log, and not kept.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix::Recipient;
use metrics::counter;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{Instant, timeout},
};
use tracing::{debug, warn};

use crate::{
    process::metric,
    sources::{
        loss::Unwritten,
        refused::KeepRefusal,
        source::{Database, Snapshot},
    },
};

/// Limit on what is kept of a body, in bytes.
pub(super) const MOST_BYTES: usize = 64 << 10;
/// The fates of refused requests, in the words of the metric.
const KEPT: &str = "kept";
const DROPPED: &str = "dropped";
pub(crate) const RESULTS: [&str; 2] = [KEPT, DROPPED];
/// Limit on the requests that wait.
const WAITING: u32 = 64;
/// Requests of a source that are kept at once, and each second from then on.
const BURST: f64 = 100.0;
const PER_SECOND: f64 = 10.0;
/// Limit on the sources whose rates are known.
const SOURCES: usize = 10_000;
/// Time that the last requests have at the end.
const LAST: Duration = Duration::from_secs(1);

/// Takes refused requests; a handle.
#[derive(Clone, Debug)]
pub(crate) struct Kept(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: mpsc::UnboundedSender<Waiting>,
    places: Arc<Semaphore>,
    rates: Mutex<HashMap<Arc<str>, Rate>>,
}

/// A request that waits, and its place among those that may.
#[derive(Debug)]
pub(crate) struct Waiting {
    refusal: KeepRefusal,
    _place: OwnedSemaphorePermit,
}

/// The number of requests of a source that may be kept now.
#[derive(Clone, Copy, Debug)]
struct Rate {
    left: f64,
    since: Instant,
}

impl Rate {
    /// Takes one of them.
    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.left = (self.left + passed * PER_SECOND).min(BURST);
        self.since = now;
        let has_one = self.left >= 1.0;
        if has_one {
            self.left -= 1.0;
        }
        has_one
    }
}

impl Kept {
    /// The handle, and what [`follow`] writes.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Waiting>) {
        let (queue, waiting) = mpsc::unbounded_channel();
        let shared = Shared {
            queue,
            places: Arc::new(Semaphore::new(WAITING as usize)),
            rates: Mutex::default(),
        };
        (Self(Arc::new(shared)), waiting)
    }

    /// Whether a request of this source can be kept now; then it counts towards the rate.
    pub(super) fn admits(&self, source: &Arc<str>) -> Option<Place> {
        let place = self.0.places.clone().try_acquire_owned().ok();
        let place = place.filter(|_| self.take(source));
        if place.is_none() {
            count(source, DROPPED);
            debug!(
                source = source.as_ref(),
                "a refused request is not kept, because there are too many"
            );
        }
        place.map(Place)
    }

    fn take(&self, source: &Arc<str>) -> bool {
        let now = Instant::now();
        let mut rates = self.0.rates.lock().unwrap_or_else(PoisonError::into_inner);
        if rates.len() >= SOURCES && !rates.contains_key(source) {
            rates.clear();
        }
        let rate = rates.entry(source.clone()).or_insert(Rate {
            left: BURST,
            since: now,
        });
        rate.take(now)
    }

    pub(super) fn keep(&self, Place(place): Place, refusal: KeepRefusal) {
        // Without a reader the process is ending.
        let _ = self.0.queue.send(Waiting {
            refusal,
            _place: place,
        });
    }

    /// Waits until what waits is written, but not long.
    pub(crate) async fn settle(&self) {
        let _ = timeout(LAST, self.0.places.acquire_many(WAITING)).await;
    }
}

/// The right to have one request kept.
#[derive(Debug)]
pub(super) struct Place(OwnedSemaphorePermit);

/// Writes what waits, one after the other, until nobody can add to it.
pub(crate) async fn follow(
    mut waiting: mpsc::UnboundedReceiver<Waiting>,
    desk: Recipient<KeepRefusal>,
    snapshot: watch::Receiver<Snapshot>,
) {
    let mut last_failure = None;
    while let Some(Waiting { refusal, _place }) = waiting.recv().await {
        let source = refusal.source.clone();
        let is_up = snapshot.borrow().database == Database::Up;
        let written = match is_up {
            true => desk.send(refusal).await,
            false => Ok(Err(Unwritten::Away("Postgres is away".to_owned()))),
        };
        let written = written.unwrap_or_else(|error| Err(Unwritten::Away(error.to_string())));
        let Err(reason) = written else {
            count(&source, KEPT);
            last_failure = None;
            continue;
        };
        count(&source, DROPPED);
        let source = source.as_ref();
        if matches!(reason, Unwritten::Refused(_)) && last_failure.as_ref() != Some(&reason) {
            warn!(%reason, source, "refused requests cannot be kept in tidings.rejected");
            last_failure = Some(reason);
        } else {
            debug!(%reason, source, "a refused request is not kept");
        }
    }
}

fn count(source: &Arc<str>, result: &'static str) {
    counter!(metric::REFUSED_KEPT, "source" => source.to_string(), "result" => result).increment(1);
}

#[cfg(test)]
pub(super) mod tests {
    use std::{sync::Mutex, time::SystemTime};

    use actix::prelude::*;
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::admission::directory::fake::snapshot;

    /// Answers as told, and keeps what it was given.
    pub(in crate::inbound::http) struct Desk {
        pub(in crate::inbound::http) answer: Result<(), Unwritten>,
        pub(in crate::inbound::http) kept: Arc<Mutex<Vec<KeepRefusal>>>,
    }

    impl Actor for Desk {
        type Context = Context<Self>;
    }

    impl Handler<KeepRefusal> for Desk {
        type Result = Result<(), Unwritten>;

        fn handle(&mut self, refusal: KeepRefusal, _: &mut Self::Context) -> Self::Result {
            self.kept.lock().unwrap().push(refusal);
            self.answer.clone()
        }
    }

    fn refusal(source: &str) -> KeepRefusal {
        KeepRefusal {
            source: source.into(),
            received: SystemTime::UNIX_EPOCH,
            reason: "x".to_owned(),
            headers: "{}".to_owned(),
            body: bytes::Bytes::new(),
            bytes: 0,
        }
    }

    /// Offers so many, and returns how many were taken.
    fn offer(kept: &Kept, source: &str, count: usize) -> usize {
        let source = Arc::from(source);
        let offered = (0..count).filter_map(|_| {
            let place = kept.admits(&source)?;
            kept.keep(place, refusal(&source));
            Some(())
        });
        offered.count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_one_source_has_a_rate_and_others_are_kept_beside_it() {
        let (kept, mut waiting) = Kept::new();
        let mut offer = |source, count| {
            let mut taken = 0;
            // One at a time, so that the places are no limit.
            for _ in 0..count {
                taken += offer(&kept, source, 1);
                let _ = waiting.try_recv();
            }
            taken
        };
        assert_eq!(offer("flood", 10_000), BURST as usize);
        assert_eq!(offer("other", 5), 5);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(offer("flood", 10_000), 3 * PER_SECOND as usize);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(offer("flood", 10_000), BURST as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_has_a_bound() {
        let (kept, mut waiting) = Kept::new();
        assert_eq!(offer(&kept, "a", 80), WAITING as usize);
        assert_eq!(offer(&kept, "b", 1), 0);
        drop(waiting.try_recv());
        assert_eq!(offer(&kept, "b", 2), 1);
    }

    #[actix_web::test]
    async fn what_cannot_be_written_is_counted_and_the_next_is_tried() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let _recording = metrics::set_default_local_recorder(&recorder);
        let refused = Unwritten::Refused("permission denied".to_owned());
        let down = Snapshot::default();
        for (now, answer, reached, counted) in [
            (snapshot(&[]), Ok(()), 2, "kept"),
            (snapshot(&[]), Err(refused), 2, "dropped"),
            (down, Ok(()), 0, "dropped"),
        ] {
            let (desk, seen) = (
                Desk {
                    answer,
                    kept: Arc::default(),
                },
                Arc::default(),
            );
            let desk = Desk {
                kept: Arc::clone(&seen),
                ..desk
            };
            let (kept, waiting) = Kept::new();
            let (_sender, snapshot) = watch::channel(now);
            assert_eq!(offer(&kept, counted, 2), 2);
            let follow = follow(waiting, desk.start().recipient(), snapshot);
            tokio::select! {
                () = follow => {}
                () = kept.settle() => {}
            }
            assert_eq!(seen.lock().unwrap().len(), reached);
        }
        let text = recorder.handle().render();
        for line in [
            r#"{source="kept",result="kept"} 2"#,
            r#"{source="dropped",result="dropped"} 4"#,
        ] {
            let line = format!("{}{line}", metric::REFUSED_KEPT);
            assert!(text.contains(&line), "{line}: {text}");
        }
    }
}
