//! A stream with everything around it but Postgres.

use std::net::SocketAddr;

use actix::{Actor, Context, Handler};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::*;
use crate::{
    pipeline::request::{Outcome, Request, Verdict, fake},
    stream::report::{Report, report},
    testing::{self, PATIENCE, pipeline},
};

pub(super) const SECRET: &str = "s3cret-of-this-test";

type Requests = Arc<Mutex<Vec<Request>>>;

/// Postgres, as far as a stream knows it.
#[derive(Clone)]
struct Desk {
    /// What is known: the start, and what was set since.
    resume: Arc<Mutex<Result<Resume, String>>>,
    stored: Requests,
    gaps: Arc<Mutex<Vec<Reported>>>,
    /// What it answers to a gap.
    answer: Arc<Mutex<Result<Option<i64>, String>>>,
    asked: Arc<Mutex<usize>>,
    reports: Arc<Mutex<Vec<crate::stream::report::Status>>>,
}

/// A gap, and how many events were stored before it.
#[derive(Clone, Debug)]
pub(super) struct Reported {
    pub(super) after: usize,
    pub(super) report: ReportGap,
}

impl Actor for Desk {
    type Context = Context<Self>;
}

impl Handler<WhereToResume> for Desk {
    type Result = Result<Resume, String>;

    fn handle(&mut self, _: WhereToResume, _: &mut Self::Context) -> Self::Result {
        *self.asked.lock().unwrap() += 1;
        let mut resume = self.resume.lock().unwrap().clone()?;
        // As the extension has it: the last one stored, in the order of arrival, or what a
        // gap has moved it to since.
        let mut ids = ids(&self.stored);
        let gaps = self.gaps.lock().unwrap();
        let moved = gaps.iter().rfind(|gap| gap.after == ids.len());
        let moved = moved.and_then(|gap| gap.report.gap.resume_after.clone());
        if let Some(cursor) = moved.or_else(|| ids.pop()) {
            resume.cursor = Some(cursor);
        }
        Ok(resume)
    }
}

impl Handler<ReportGap> for Desk {
    type Result = Result<Option<i64>, String>;

    fn handle(&mut self, report: ReportGap, _: &mut Self::Context) -> Self::Result {
        let answer = self.answer.lock().unwrap().clone();
        let after = ids(&self.stored).len();
        let mut gaps = self.gaps.lock().unwrap();
        gaps.push(Reported { after, report });
        answer
    }
}

impl Handler<Report> for Desk {
    type Result = Result<(), String>;

    fn handle(&mut self, report: Report, _: &mut Self::Context) -> Self::Result {
        self.reports.lock().unwrap().push(report.status);
        Ok(())
    }
}

fn ids(stored: &Requests) -> Vec<String> {
    let stored = stored.lock().unwrap();
    let bodies = stored.iter().map(|request| request.body.clone());
    let events = bodies.flat_map(|body| serde_json::from_slice::<Vec<Value>>(&body).unwrap());
    events
        .map(|event| event["event_id"].as_str().unwrap().to_owned())
        .collect()
}

/// Id of the gap.
pub(super) const GAP: i64 = 3;

/// Epoch of the lease.
pub(super) const EPOCH: i64 = 7;

pub(super) struct Fixture {
    desk: Desk,
    pub(super) wake: Arc<Notify>,
    pub(super) reload: Reload,
    stop: watch::Sender<bool>,
    status: watch::Receiver<crate::stream::report::Status>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Fixture {
    pub(super) async fn start(chat: &Chat, options: Value) -> Self {
        Self::at(chat.address, options).await
    }

    pub(super) async fn at(address: SocketAddr, options: Value) -> Self {
        Self::new(plan(address, options), resume(Some(SECRET), None))
    }

    pub(super) async fn without_secret(chat: &Chat, options: Value) -> Self {
        Self::new(plan(chat.address, options), resume(None, None))
    }

    pub(super) async fn resuming(chat: &Chat, options: Value, cursor: &str) -> Self {
        let resume = resume(Some(SECRET), Some(cursor));
        Self::new(plan(chat.address, options), resume)
    }

    pub(super) async fn without_postgres(chat: &Chat, options: Value) -> Self {
        let away = Err("Postgres is not connected".to_owned());
        Self::new(plan(chat.address, options), away)
    }

    pub(super) async fn of(plan: Result<Plan, String>) -> Self {
        Self::new(plan, resume(Some(SECRET), None))
    }

    /// A fixture with another answer of Postgres, whose cursor stays where it is.
    pub(super) async fn answering(
        chat: &Chat,
        options: Value,
        cursor: &str,
        answer: fn(&Request) -> Outcome,
    ) -> Self {
        let resume = resume(Some(SECRET), Some(cursor));
        let (pipeline, _) = pipeline(answer, PATIENCE);
        Self::with(
            plan(chat.address, options),
            resume,
            pipeline,
            Arc::default(),
        )
    }

    fn new(plan: Result<Plan, String>, resume: Result<Resume, String>) -> Self {
        let accept = |_: &Request| -> Outcome { Ok(fake::receipt(Verdict::Accepted)) };
        let (pipeline, stored) = pipeline(accept, PATIENCE);
        Self::with(plan, resume, pipeline, stored)
    }

    fn with(
        plan: Result<Plan, String>,
        resume: Result<Resume, String>,
        pipeline: Pipeline,
        stored: Requests,
    ) -> Self {
        let desk = Desk {
            resume: Arc::new(Mutex::new(resume)),
            stored,
            gaps: Arc::default(),
            answer: Arc::new(Mutex::new(Ok(Some(GAP)))),
            asked: Arc::default(),
            reports: Arc::default(),
        };
        let address = desk.clone().start();
        let source: Arc<str> = "chat".into();
        let reporter = Reporter::new(source.clone());
        let (wake, reload) = (Arc::new(Notify::new()), Reload::default());
        let status = reporter.subscribe();
        let reports = report(
            source.clone(),
            reporter.subscribe(),
            address.clone().recipient(),
        );
        let follower = Follower {
            epoch: EPOCH,
            source,
            plan,
            desk: address.clone().recipient(),
            gaps: address.recipient(),
            pipeline,
            limits: StreamLimits {
                events: 1_000,
                bytes: 1 << 20,
                message: 1 << 20,
            },
            reporter,
            wake: wake.clone(),
            reload: reload.clone(),
            gap_found: Arc::default(),
        };
        let stop = watch::Sender::new(false);
        let following = follower.follow(stop.subscribe());
        let task = actix::spawn(async move {
            tokio::join!(following, reports);
        });
        Self {
            desk,
            wake,
            reload,
            stop,
            status,
            task: Mutex::new(Some(task)),
        }
    }

    /// The ids of what was committed, in order, each once.
    pub(super) fn events(&self) -> Vec<String> {
        let mut seen = std::collections::HashSet::new();
        let mut ids = ids(&self.desk.stored);
        ids.retain(|id| seen.insert(id.clone()));
        ids
    }

    pub(super) fn status(&self) -> crate::stream::report::Status {
        self.status.borrow().clone()
    }

    pub(super) fn reports(&self) -> Vec<crate::stream::report::Status> {
        self.desk.reports.lock().unwrap().clone()
    }

    /// How often it asked where to go on.
    pub(super) fn asked(&self) -> usize {
        *self.desk.asked.lock().unwrap()
    }

    pub(super) fn gaps(&self) -> Vec<Reported> {
        self.desk.gaps.lock().unwrap().clone()
    }

    /// How the next gaps are answered.
    pub(super) fn answer_gaps(&self, answer: Result<Option<i64>, String>) {
        *self.desk.answer.lock().unwrap() = answer;
    }

    pub(super) fn set_secret(&self, secret: &str) {
        *self.desk.resume.lock().unwrap() = resume(Some(secret), None);
    }

    pub(super) fn set_cursor(&self, cursor: &str) {
        *self.desk.resume.lock().unwrap() = resume(Some(SECRET), Some(cursor));
    }

    /// Waits until it holds.
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !holds(self) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), waiting).await;
        assert!(
            waited.is_ok(),
            "no {what}: {:?}, {:?}",
            self.status(),
            self.events()
        );
    }

    pub(super) async fn stop(&self) {
        self.stop.send_replace(true);
        let task = self.task.lock().unwrap().take().unwrap();
        task.await.unwrap();
        assert_eq!(self.reports().last().unwrap().state, State::Ended);
    }
}

fn resume(secret: Option<&str>, cursor: Option<&str>) -> Result<Resume, String> {
    Ok(Resume {
        cursor: cursor.map(str::to_owned),
        secret: secret.map(str::to_owned),
    })
}

fn plan(address: SocketAddr, mut options: Value) -> Result<Plan, String> {
    options["endpoint"] = json!(format!("http://{address}/ext"));
    Ok(Plan {
        dial: Dial::new("ppoppo", &options)?,
        schema: testing::schema("ppoppo"),
    })
}
