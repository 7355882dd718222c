//! Writes the reports that wait to Postgres.
//!
//! Promises:
//! - A report waits until Postgres has it, or says that it is none: the source does not
//!   exist, or the requests were not the source's own.
//! - While Postgres is away, or lists no source because it may be being restored, nothing is
//!   given up. What waits is in the spool's folder, if there is a spool.
//! - A gap that is open grows by what is reported later, with the sum of the requests, and
//!   makes one warning and one count.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix::prelude::*;
use metrics::counter;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{Cause, Extent, Gaps, Key, Report};
use crate::{
    process::{backoff::Backoff, exit::Fatal, metric},
    sources::{
        loss::{NewGap, Unwritten, WriteGap},
        queries::Queries,
        source::Snapshot,
    },
};

/// Time for which reports gather before they are written.
const GATHER: Duration = Duration::from_secs(1);
/// While Postgres is away, what waits is written to the disk this often.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// Pauses after a failure.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
const GREATEST_PAUSE: Duration = Duration::from_secs(30);
/// Time for the last attempt, when the worker ends.
const LAST: Duration = Duration::from_secs(2);
/// Limit on the gaps whose sums are remembered.
const MOST: usize = 10_000;

/// What writes a gap.
pub(crate) trait Desk {
    fn write(&self, gap: NewGap) -> impl Future<Output = Result<Option<i64>, Unwritten>> + Send;
}

impl Desk for Recipient<WriteGap> {
    async fn write(&self, gap: NewGap) -> Result<Option<i64>, Unwritten> {
        let written = self.send(WriteGap(gap)).await;
        written.unwrap_or_else(|error| Err(Unwritten::Away(error.to_string())))
    }
}

impl Desk for Queries {
    async fn write(&self, gap: NewGap) -> Result<Option<i64>, Unwritten> {
        self.write_gap(&gap).await
    }
}

#[derive(Debug)]
pub(crate) struct Reporter<D> {
    gaps: Gaps,
    desk: D,
    /// The gaps that were written, each with all that was reported of it.
    written: HashMap<Key, (i64, Extent)>,
}

/// The reporter as a part of the worker.
#[derive(Debug)]
pub(crate) struct Running {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(
        gaps: Gaps,
        desk: Recipient<WriteGap>,
        snapshot: watch::Receiver<Snapshot>,
        fatal: &Fatal,
    ) -> Self {
        let (end, ended) = oneshot::channel();
        let mut vital = fatal.vital("the reporter of gaps");
        let reporter = Reporter::new(gaps, desk);
        let task = tokio::spawn(async move {
            reporter.run(snapshot, ended).await;
            vital.release();
        });
        Self { end, task }
    }

    /// Writes what waits, to Postgres or else to the disk, and ends.
    pub(crate) async fn end(self) {
        let _ = self.end.send(());
        let _ = self.task.await;
    }
}

impl<D: Desk> Reporter<D> {
    pub(crate) fn new(gaps: Gaps, desk: D) -> Self {
        Self {
            gaps,
            desk,
            written: HashMap::new(),
        }
    }

    async fn run(mut self, snapshot: watch::Receiver<Snapshot>, ended: oneshot::Receiver<()>) {
        tokio::select! {
            biased;
            _ = ended => {}
            () = self.rounds(snapshot) => {}
        }
        // What a last attempt does not write is still in the list.
        let _ = timeout(LAST, self.round()).await;
        self.gaps.save();
    }

    async fn rounds(&mut self, mut snapshot: watch::Receiver<Snapshot>) {
        let mut pauses = Backoff::between(LEAST_PAUSE, GREATEST_PAUSE);
        loop {
            if self.gaps.is_empty() {
                self.gaps.0.wake.notified().await;
            }
            sleep(GATHER).await;
            let telling = snapshot.wait_for(Snapshot::is_telling);
            let telling = timeout(SAVE_EVERY, telling).await;
            match telling.map(|telling| telling.is_ok()) {
                Ok(true) => {}
                // The control connection has ended, because the process is ending.
                Ok(false) => return,
                Err(_) => {
                    self.save().await;
                    continue;
                }
            }
            match self.round().await {
                Ok(()) => pauses.reset(),
                Err(reason) => {
                    info!(%reason, "gaps cannot be written to Postgres; trying again");
                    self.save().await;
                    sleep(pauses.pause()).await;
                }
            }
            self.save().await;
        }
    }

    async fn save(&self) {
        let gaps = self.gaps.clone();
        // An error means that it panicked, and what waits is still in memory.
        let _ = tokio::task::spawn_blocking(move || gaps.save()).await;
    }

    /// Tries to write each report that waits; the error is that of the last one that could
    /// not be written.
    pub(crate) async fn round(&mut self) -> Result<(), Unwritten> {
        let mut failure = Ok(());
        for report in self.gaps.list() {
            match self.write(&report).await {
                Ok(()) => self.gaps.settle(&report),
                Err(away @ Unwritten::Away(_)) => return Err(away),
                Err(refused) => failure = Err(refused),
            }
        }
        failure
    }

    async fn write(&mut self, report: &Report) -> Result<(), Unwritten> {
        let Report { key, extent, .. } = report;
        let before = self.written.get(key).copied();
        let mut sum = *extent;
        if let Some((_, earlier)) = before {
            sum.join(earlier);
        }
        // The spool finds the same loss again at each start.
        let once = key.cause == Cause::SpoolDiscarded && before.is_none();
        let written = self.desk.write(new(report, &sum, once)).await;
        let (source, cause) = (key.source.as_str(), key.cause.as_str());
        let gap = match written {
            Ok(Some(gap)) => gap,
            Ok(None) | Err(Unwritten::NoSource) => {
                debug!(
                    source,
                    cause, "no gap is written, because it is known, or is not the source's"
                );
                return Ok(());
            }
            Err(reason) => return Err(reason),
        };
        if before.is_some_and(|(known, _)| known == gap) {
            self.written.insert(key.clone(), (gap, sum));
            return Ok(());
        }
        // The one before was closed, so that this one has begun now.
        if before.is_some() {
            self.desk.write(new(report, extent, false)).await?;
        }
        if self.written.len() >= MOST {
            self.written.clear();
        }
        self.written.insert(key.clone(), (gap, *extent));
        counter!(metric::GAPS, "source" => source.to_owned(), "cause" => cause).increment(1);
        let detail = report.text(extent);
        warn!(
            source,
            cause, gap, detail, "events may be missing; see tidings.gap"
        );
        Ok(())
    }
}

fn new(report: &Report, sum: &Extent, once: bool) -> NewGap {
    let Report { key, extent, .. } = report;
    let proof = key.proof.as_ref();
    NewGap {
        source: key.source.clone(),
        cause: key.cause.as_str(),
        from: extent.from.and_then(time),
        to: time(extent.to).unwrap_or_else(SystemTime::now),
        detail: report.text(sum),
        provider: proof.map(|proof| proof.provider.clone()),
        headers: proof.map(|proof| proof.headers.clone()),
        once,
    }
}

/// A time that Postgres can store: what a damaged entry claims may be any.
fn time(milliseconds: u64) -> Option<SystemTime> {
    const GREATEST: u64 = 253_402_300_800_000;
    let known = milliseconds <= GREATEST;
    known
        .then(|| UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds)))
        .flatten()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::time::Instant;

    use super::*;
    use crate::{
        admission::directory::fake::{snapshot, source},
        gaps::tests::report,
        testing::Log,
    };

    type Answer = Result<Option<i64>, Unwritten>;

    /// Answers as told, the last answer for ever; keeps what it was given.
    #[derive(Clone, Default)]
    struct Told {
        answers: Arc<Mutex<Vec<Answer>>>,
        seen: Arc<Mutex<Vec<NewGap>>>,
    }

    impl Desk for Told {
        async fn write(&self, gap: NewGap) -> Answer {
            self.seen.lock().unwrap().push(gap);
            let mut answers = self.answers.lock().unwrap();
            match answers.len() {
                1 => answers[0].clone(),
                _ => answers.remove(0),
            }
        }
    }

    fn told(answers: impl Into<Vec<Answer>>) -> (Told, Gaps, Reporter<Told>) {
        let told = Told {
            answers: Arc::new(Mutex::new(answers.into())),
            ..Told::default()
        };
        let gaps = Gaps::default();
        let reporter = Reporter::new(gaps.clone(), told.clone());
        (told, gaps, reporter)
    }

    fn away() -> Answer {
        Err(Unwritten::Away("as told".to_owned()))
    }

    impl Told {
        fn details(&self) -> Vec<String> {
            let seen = self.seen.lock().unwrap();
            seen.iter().map(|gap| gap.detail.clone()).collect()
        }
    }

    #[tokio::test]
    async fn an_open_gap_grows_and_warns_once_and_one_that_was_closed_begins_anew() {
        let (told, gaps, mut reporter) = told([Ok(Some(7)), Ok(Some(7)), Ok(Some(8))]);
        let log = Log::default();
        let _listening = log.listen();
        for _ in 0..3 {
            gaps.report(report("a", "x", Some("t")));
            reporter.round().await.unwrap();
        }
        let one = "x: 1 request, 10 bytes; newest";
        let sums = [
            "x: 2 requests, 20 bytes; newest",
            "x: 3 requests, 30 bytes; newest",
        ];
        assert_eq!(told.details(), [one, sums[0], sums[1], one]);
        assert!(gaps.is_empty());
        let warnings = log.text().matches("events may be missing").count();
        assert_eq!(warnings, 2, "{}", log.text());
    }

    #[tokio::test]
    async fn what_is_refused_stays_and_holds_nothing_up_and_what_is_no_gap_is_forgotten() {
        let (told, gaps, mut reporter) = told([
            Err(Unwritten::Refused("a right is missing".to_owned())),
            Ok(None),
            Err(Unwritten::NoSource),
            Ok(Some(1)),
        ]);
        for source in ["a", "b", "c", "d"] {
            gaps.report(report(source, "x", Some("t")));
        }
        reporter.round().await.unwrap_err();
        let left: Vec<_> = gaps
            .waiting()
            .iter()
            .map(|r| r.key.source.clone())
            .collect();
        assert_eq!(left, ["a"]);
        assert_eq!(told.seen.lock().unwrap().len(), 4);
    }

    #[tokio::test]
    async fn what_is_reported_during_the_write_is_not_lost() {
        let (_, gaps, _) = told([]);
        gaps.report(report("a", "x", None));
        let [written] = gaps.list().try_into().unwrap();
        gaps.report(report("a", "x", None));
        gaps.settle(&written);
        let [rest] = gaps.waiting().try_into().unwrap();
        assert_eq!((rest.extent.requests, rest.extent.bytes), (1, Some(10)));
        gaps.settle(&rest);
        assert!(gaps.is_empty());
    }

    /// In virtual time: Postgres is away, comes back, and is away at the end.
    #[tokio::test(start_paused = true)]
    async fn a_report_waits_for_postgres_and_the_last_ones_for_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let gaps = Gaps::open(Some(folder.path()));
        let (told, ..) = told([away(), away(), Ok(Some(1))]);
        let reporter = Reporter::new(gaps.clone(), told.clone());
        let (database, receiver) = watch::channel(Snapshot::default());
        let (end, ended) = oneshot::channel();
        let running = tokio::spawn(reporter.run(receiver, ended));
        let waiting = || Gaps::open(Some(folder.path())).waiting().len();

        gaps.report(report("a", "x", None));
        let seen = || told.seen.lock().unwrap().len();
        let since = Instant::now();
        while waiting() == 0 {
            sleep(Duration::from_secs(1)).await;
        }
        assert!(since.elapsed() <= GATHER + SAVE_EVERY * 2);
        assert_eq!(seen(), 0, "it was not tried");
        database.send_replace(snapshot(&[]));
        sleep(Duration::from_secs(60)).await;
        assert_eq!(seen(), 0, "it may be being restored");
        database.send_replace(snapshot(&[source("a", "arpoone")]));
        while seen() < 3 || waiting() > 0 {
            sleep(Duration::from_secs(1)).await;
        }

        *told.answers.lock().unwrap() = vec![away()];
        gaps.report(report("b", "x", None));
        end.send(()).unwrap();
        running.await.unwrap();
        assert_eq!(waiting(), 1);
    }

    #[test]
    fn a_time_that_postgres_cannot_store_is_none() {
        assert_eq!(time(u64::MAX), None);
        assert_eq!(time(1), Some(UNIX_EPOCH + Duration::from_millis(1)));
    }
}
