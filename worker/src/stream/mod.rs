//! A stream: one dialed source, which is followed as long as it is enabled.

pub(crate) mod desk;
pub(crate) mod follow;
pub(crate) mod gap;
pub(crate) mod gather;
pub(crate) mod pump;
pub(crate) mod report;
pub(crate) mod resume;
pub(crate) mod retry;

use std::sync::Arc;

use actix::Recipient;
use futures_util::future::OptionFuture;
use tokio::sync::{Notify, watch};

use self::{
    desk::{ReportGap, WhereToResume},
    follow::{Follower, Plan, stopped},
    gather::StreamLimits,
    report::{Report, Reporter, report},
};
use crate::{
    pipeline::batcher::Pipeline,
    process::{exit::Fatal, reload::Reload},
    reconcile::{
        Books, OfSource,
        automatic::{self, Way},
    },
};

/// The parts that all streams share.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Answers where a stream is resumed.
    pub(crate) desk: Recipient<WhereToResume>,
    /// Writes gaps.
    pub(crate) gaps: Recipient<ReportGap>,
    /// Reports the state of a stream to Postgres.
    pub(crate) reports: Recipient<Report>,
    pub(crate) pipeline: Pipeline,
    pub(crate) limits: StreamLimits,
    /// Where gaps are read and closed.
    pub(crate) books: Option<Arc<Books>>,
    pub(crate) reload: Reload,
    pub(crate) fatal: Fatal,
}

/// A stream that runs, as a task of its own. What the task does is in [`follow`].
///
/// Promises:
/// - Every connection resumes after `tidings.stream_cursor`. The stream keeps no other
///   position, so that a restart loses nothing.
/// - Where the provider leaves out events, there is a gap in Postgres before any event that
///   comes after it.
/// - After any end of the connection the stream reconnects, and reports its state
///   meanwhile.
/// - When it is stopped, it ends after the commit in flight.
#[derive(Debug)]
pub(crate) struct Stream {
    wake: Arc<Notify>,
    /// The task has the only receivers, and keeps one until it ends, so that they are all
    /// gone when it has ended.
    stop: Arc<watch::Sender<bool>>,
}

impl Stream {
    /// Follows a source under the lease of this epoch. With a reason instead of a plan, the
    /// stream only reports the reason. With a way to ask, it asks for what is missing after
    /// its cursor has expired.
    pub(crate) fn start(
        source: Arc<str>,
        epoch: i64,
        plan: Result<Plan, String>,
        way: Option<Way>,
        setup: &Setup,
    ) -> Self {
        let (wake, stop) = (Arc::new(Notify::new()), watch::Sender::new(false));
        let mut vital = setup.fatal.vital(format!("the stream of {source}"));
        let reporter = Reporter::new(source.clone());
        let reports = report(source.clone(), reporter.subscribe(), setup.reports.clone());
        let gap_found = Arc::new(Notify::new());
        let asking = way.zip(setup.books.clone()).map(|(way, books)| {
            let records = OfSource::new(books, source.clone());
            let (source, pipeline) = (source.clone(), setup.pipeline.clone());
            let (gap_found, stop) = (gap_found.clone(), stop.subscribe());
            async move {
                // What it is doing is left as it is: asking again changes nothing.
                tokio::select! {
                    () = automatic::follow(source, &way, records, &pipeline, &gap_found) => {}
                    () = stopped(&stop) => {}
                }
            }
        });
        let follower = Follower {
            source,
            epoch,
            plan,
            desk: setup.desk.clone(),
            gaps: setup.gaps.clone(),
            pipeline: setup.pipeline.clone(),
            limits: setup.limits,
            reporter,
            wake: wake.clone(),
            reload: setup.reload.clone(),
            gap_found,
        };
        let running = stop.subscribe();
        let following = follower.follow(stop.subscribe());
        // The task stays in this thread, because the events that a stream has read wait
        // in cells which are not `Sync`.
        actix::spawn(async move {
            tokio::join!(following, reports, OptionFuture::from(asking));
            vital.release();
            // `following` ends before the last report is answered.
            drop(running);
        });
        Self {
            wake,
            stop: Arc::new(stop),
        }
    }

    /// Ends the stream after the commit in flight; the future resolves when it has ended.
    pub(crate) fn stop(&self) -> impl Future<Output = ()> + use<> {
        self.stop.send_replace(true);
        let stop = self.stop.clone();
        async move { stop.closed().await }
    }

    /// If the stream is pausing, it sees whether what it failed for has been mended.
    pub(crate) fn wake(&self) {
        // The notification is kept until the stream pauses.
        self.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use actix::{Actor, Context, Handler, ResponseFuture};
    use tokio::task::yield_now;

    use super::{
        desk::Resume,
        report::{State, Status},
        *,
    };
    use crate::{
        pipeline::request::{Verdict, fake},
        testing::{PATIENCE, pipeline},
    };

    /// Keeps what is reported, and answers only after some time.
    #[derive(Default)]
    struct Desk(Arc<Mutex<Vec<Status>>>);

    impl Actor for Desk {
        type Context = Context<Self>;
    }

    impl Handler<WhereToResume> for Desk {
        type Result = Result<Resume, String>;

        fn handle(&mut self, _: WhereToResume, _: &mut Self::Context) -> Self::Result {
            Err("Postgres is away".to_owned())
        }
    }

    impl Handler<ReportGap> for Desk {
        type Result = Result<Option<i64>, String>;

        fn handle(&mut self, _: ReportGap, _: &mut Self::Context) -> Self::Result {
            Err("Postgres is away".to_owned())
        }
    }

    impl Handler<Report> for Desk {
        type Result = ResponseFuture<Result<(), String>>;

        fn handle(&mut self, report: Report, _: &mut Self::Context) -> Self::Result {
            let reported = self.0.clone();
            Box::pin(async move {
                for _ in 0..100 {
                    yield_now().await;
                }
                reported.lock().unwrap().push(report.status);
                Ok(())
            })
        }
    }

    #[actix::test]
    async fn a_stream_that_is_stopped_ends_after_its_last_report_and_the_process_goes_on() {
        let (fatal, mut exits) = Fatal::channel();
        let reported = Arc::default();
        let desk = Desk(Arc::clone(&reported)).start();
        let setup = Setup {
            desk: desk.clone().recipient(),
            gaps: desk.clone().recipient(),
            reports: desk.recipient(),
            pipeline: pipeline(|_| Ok(fake::receipt(Verdict::Accepted)), PATIENCE).0,
            limits: StreamLimits::new(1 << 20),
            books: None,
            reload: Reload::default(),
            fatal,
        };
        let no_plan = Err("no endpoint".to_owned());
        let stream = Stream::start("chat".into(), 1, no_plan, None, &setup);
        // All who stop it hear of its end.
        tokio::join!(stream.stop(), stream.stop());
        let last = reported.lock().unwrap().last().cloned();
        assert_eq!(last.map(|status| status.state), Some(State::Ended));
        assert!(exits.try_recv().is_err(), "the process goes on");
    }
}
