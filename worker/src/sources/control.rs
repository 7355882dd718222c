//! The control connection: which sources there are, and what else is asked of Postgres
//! besides ingest.

use std::{collections::HashMap, sync::Arc, time::Duration};

use actix::prelude::*;
use metrics::gauge;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tracing::{info, warn};
use uuid::Uuid;

use super::{
    gaps::OpenGaps,
    lag::{self, Lags},
    lease::Holding,
    loss::{Unwritten, WriteGap},
    queries::{Queries, Unheld},
    readers::ForReaders,
    refused::KeepRefusal,
    source::{Database, Snapshot, Source},
};
use crate::{
    pipeline::taking::Taking,
    postgres::{ConnectError, Connector, Event},
    process::{
        backoff::Backoff,
        exit::{Code, Exit, Fatal, Vital},
        metric,
    },
    stream::{
        desk::{ReportGap, Resume, WhereToResume},
        report::Report,
    },
};

/// Capacity of the mailbox.
const MAILBOX: usize = 256;
/// Pauses between attempts to connect.
const LEAST_PAUSE: Duration = Duration::from_millis(250);
const GREATEST_PAUSE: Duration = Duration::from_secs(5);
/// The answer to a question that needs a connection while there is none.
const AWAY: &str = "Postgres is not connected";

/// Owns the control connection, the snapshot of the sources, and the gauge of their open gaps.
///
/// Promises:
/// - The snapshot follows `tidings.source`, at once by `LISTEN tidings_source`, and by a
///   slow poll in case a notification is lost. It changes with each list that is read,
///   also where the list is the same: a new secret changes no row of a source.
/// - An older list never replaces a newer one.
/// - While Postgres is down the registry keeps trying, and the snapshot gives the reason.
#[derive(Debug)]
pub(crate) struct Control {
    connector: Arc<Connector>,
    poll: Duration,
    fatal: Fatal,
    queries: Option<Queries>,
    /// The number of the newest connection. News of an earlier connection is ignored.
    attempt: u64,
    backoff: Backoff,
    snapshot: watch::Sender<Snapshot>,
    /// The part that is told when the connection is lost, because the others may be lost too.
    taking: Taking,
    open_gaps: OpenGaps,
    lags: Lags,
    _vital: Vital,
}

impl Control {
    pub(crate) fn spawn(
        connector: Arc<Connector>,
        poll: Duration,
        (snapshot, taking): (watch::Sender<Snapshot>, Taking),
        fatal: Fatal,
    ) -> Addr<Self> {
        Self::create(|ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            Self {
                connector,
                poll,
                _vital: fatal.vital("the control connection"),
                fatal,
                queries: None,
                attempt: 0,
                backoff: Backoff::between(LEAST_PAUSE, GREATEST_PAUSE),
                snapshot,
                taking,
                open_gaps: OpenGaps::default(),
                lags: Lags::default(),
            }
        })
    }

    fn connect(&mut self, ctx: &mut Context<Self>) {
        self.attempt += 1;
        let attempt = self.attempt;
        let connector = self.connector.clone();
        let control = ctx.address();
        let connecting = async move {
            let session = connector.connect(move |event| {
                let heard = Heard { attempt, event };
                match event {
                    // A full mailbox already contains a message that causes the same
                    // query.
                    Event::Notified => drop(control.try_send(heard)),
                    // This event comes once, so it waits for a place in the mailbox.
                    Event::Closed => drop(tokio::spawn(control.send(heard))),
                }
            });
            let queries = Queries::new(session.await?);
            queries.listen().await.map_err(ConnectError::Unreachable)?;
            Ok(queries)
        };
        let connecting = connecting
            .into_actor(self)
            .map(|connected, actor, ctx| match connected {
                Ok(queries) => {
                    info!("connected to Postgres");
                    let connector = actor.connector.clone();
                    tokio::spawn(async move { connector.warn_of_pooler().await });
                    actor.queries = Some(queries);
                    ctx.notify(Refresh);
                    ctx.notify(SeeLag);
                }
                Err(ConnectError::Incompatible(reason)) => {
                    actor.fatal.exit(Exit::new(Code::Incompatible, reason));
                }
                Err(ConnectError::Unreachable(reason)) => actor.lose(reason, ctx),
            });
        ctx.spawn(connecting);
    }

    /// Drops the connection, and opens another after a pause.
    fn lose(&mut self, reason: String, ctx: &mut Context<Self>) {
        let known = self.snapshot.borrow().database == Database::Down(reason.clone());
        if !known {
            warn!(%reason, "the control connection cannot be used; trying again until it can");
        }
        gauge!(metric::CONTROL_UP).set(0.0);
        self.taking.doubt(true);
        self.queries = None;
        self.snapshot
            .send_modify(|snapshot| snapshot.database = Database::Down(reason));
        ctx.run_later(self.backoff.pause(), Self::connect);
    }

    fn learn(&mut self, sources: Vec<Source>) {
        self.backoff.reset();
        gauge!(metric::CONTROL_UP).set(1.0);
        self.taking.doubt(false);
        let sources = sources.into_iter().map(|s| (s.name.clone(), Arc::new(s)));
        self.snapshot.send_replace(Snapshot {
            database: Database::Up,
            sources: Some(Arc::new(sources.collect())),
        });
    }

    /// Whether what a connection says is still of use.
    fn is_current(&self, attempt: u64) -> bool {
        self.attempt == attempt && self.queries.is_some()
    }
}

impl Actor for Control {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.connect(ctx);
        ctx.run_interval(self.poll, |_, ctx| ctx.notify(Refresh));
        ctx.run_interval(lag::EVERY, |_, ctx| ctx.notify(SeeLag));
    }
}

/// An event of a connection.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Heard {
    attempt: u64,
    event: Event,
}

impl Handler<Heard> for Control {
    type Result = ();

    fn handle(&mut self, heard: Heard, ctx: &mut Self::Context) {
        // While a connection is being opened, the attempt itself reports the result.
        if !self.is_current(heard.attempt) {
            return;
        }
        match heard.event {
            Event::Notified => ctx.notify(Refresh),
            Event::Closed => self.lose("the connection was closed".to_owned(), ctx),
        }
    }
}

/// Reads the sources again; the answer is sent when the snapshot is up to date.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Refresh;

impl Handler<Refresh> for Control {
    // The response is atomic, so that an older list never replaces a newer one.
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, _: Refresh, _: &mut Self::Context) -> Self::Result {
        let (queries, attempt) = (self.queries.clone(), self.attempt);
        let known = self.snapshot.borrow().sources.clone();
        let read = async move {
            match queries {
                Some(queries) => Some(queries.sources(known.as_deref()).await),
                None => None,
            }
        };
        let read = read.into_actor(self).map(move |read, actor, ctx| {
            match read.filter(|_| actor.is_current(attempt)) {
                Some(Ok(sources)) => {
                    actor.learn(sources);
                    ctx.notify(CountGaps);
                }
                Some(Err(reason)) => actor.lose(reason, ctx),
                None => {}
            }
        });
        AtomicResponse::new(Box::pin(read))
    }
}

impl Handler<WhereToResume> for Control {
    type Result = ResponseFuture<Result<Resume, String>>;

    fn handle(&mut self, ask: WhereToResume, _: &mut Self::Context) -> Self::Result {
        let queries = self.queries.clone();
        Box::pin(async move { queries.ok_or(AWAY)?.resume(&ask.0).await })
    }
}

impl Handler<ReportGap> for Control {
    type Result = ResponseActFuture<Self, Result<Option<i64>, String>>;

    fn handle(&mut self, report: ReportGap, _: &mut Self::Context) -> Self::Result {
        let queries = self.queries.clone();
        let reported = async move { queries.ok_or(AWAY)?.report_gap(&report).await };
        let reported = reported.into_actor(self).map(|reported, _, ctx| {
            if matches!(reported, Ok(Some(_))) {
                ctx.notify(CountGaps);
            }
            reported
        });
        Box::pin(reported)
    }
}

/// Counts the open gaps again.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
struct CountGaps;

impl Handler<CountGaps> for Control {
    // Not atomic: the leases do not wait for a number, which comes again with the next list.
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: CountGaps, _: &mut Self::Context) -> Self::Result {
        let queries = self.queries.clone();
        let counted = async move { Some(queries?.open_gaps().await) };
        let counted = counted.into_actor(self).map(|counted, actor, _| {
            if let Some(counted) = counted {
                actor.open_gaps.learn(counted);
            }
        });
        Box::pin(counted)
    }
}

/// Reads again how far the log's horizon and its consumers are behind.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
struct SeeLag;

impl Handler<SeeLag> for Control {
    // Not atomic, as with the gaps.
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: SeeLag, _: &mut Self::Context) -> Self::Result {
        let queries = self.queries.clone();
        let read = async move { queries.ok_or(AWAY)?.lag().await };
        let read = read.into_actor(self).map(|read, actor, _| {
            actor.lags.learn(read);
        });
        Box::pin(read)
    }
}

impl Handler<Report> for Control {
    type Result = ResponseFuture<Result<(), String>>;

    fn handle(&mut self, report: Report, _: &mut Self::Context) -> Self::Result {
        let queries = self.queries.clone();
        Box::pin(async move { queries.ok_or(AWAY)?.report(&report).await })
    }
}

impl Handler<ForReaders> for Control {
    type Result = ResponseFuture<Result<(), Unheld>>;

    fn handle(&mut self, what: ForReaders, _: &mut Self::Context) -> Self::Result {
        let queries = self.queries.clone();
        Box::pin(async move {
            let queries = queries.ok_or_else(|| Unheld::Lost(AWAY.to_owned()))?;
            match what {
                ForReaders::Wake => queries.wake().await,
                ForReaders::Tick => queries.tick().await,
            }
        })
    }
}

impl Handler<WriteGap> for Control {
    type Result = ResponseActFuture<Self, Result<Option<i64>, Unwritten>>;

    fn handle(&mut self, write: WriteGap, _: &mut Self::Context) -> Self::Result {
        let queries = self.queries.clone();
        let written = async move {
            let queries = queries.ok_or_else(|| Unwritten::Away(AWAY.to_owned()))?;
            queries.write_gap(&write.0).await
        };
        let written = written.into_actor(self).map(|written, _, ctx| {
            if matches!(written, Ok(Some(_))) {
                ctx.notify(CountGaps);
            }
            written
        });
        Box::pin(written)
    }
}

impl Handler<KeepRefusal> for Control {
    type Result = ResponseFuture<Result<(), Unwritten>>;

    fn handle(&mut self, keep: KeepRefusal, _: &mut Self::Context) -> Self::Result {
        let queries = self.queries.clone();
        Box::pin(async move {
            let queries = queries.ok_or_else(|| Unwritten::Away(AWAY.to_owned()))?;
            queries.keep_refusal(&keep).await
        })
    }
}

/// Asks to which source a push belongs: the named one, if it accepts these headers, or
/// otherwise any source that does.
#[derive(Debug, Message)]
#[rtype(result = "Result<Option<String>, String>")]
pub(crate) struct FindSource {
    pub(crate) provider: &'static str,
    pub(crate) name: Option<String>,
    /// A JSON object.
    pub(crate) headers: String,
    /// The permit is held until there is an answer, whether or not the caller still
    /// waits.
    pub(crate) turn: OwnedSemaphorePermit,
}

impl Handler<FindSource> for Control {
    type Result = ResponseFuture<Result<Option<String>, String>>;

    fn handle(&mut self, ask: FindSource, _: &mut Self::Context) -> Self::Result {
        let queries = self.queries.clone();
        Box::pin(async move {
            let _turn = &ask.turn;
            let queries = queries.ok_or(AWAY)?;
            match &ask.name {
                Some(name) => queries.accepts(name, &ask.headers).await,
                None => queries.find(ask.provider, &ask.headers).await,
            }
        })
    }
}

/// Take or renew the leases of the streams of these sources, as far as no other worker
/// has them.
#[derive(Debug, Message)]
#[rtype(result = "Result<HashMap<Arc<str>, Holding>, Unheld>")]
pub(super) struct TakeLeases {
    pub(super) holder: Uuid,
    pub(super) sources: Vec<Arc<str>>,
    pub(super) time: Duration,
}

impl Handler<TakeLeases> for Control {
    // Atomic, because a connection that has fallen silent would otherwise be given up only
    // after a list was waited for on it as well.
    type Result = AtomicResponse<Self, Result<HashMap<Arc<str>, Holding>, Unheld>>;

    fn handle(&mut self, take: TakeLeases, _: &mut Self::Context) -> Self::Result {
        let queries = self.queries.clone();
        let held = async move {
            let queries = queries.ok_or_else(|| Unheld::Lost(AWAY.to_owned()))?;
            let names: Vec<&str> = take.sources.iter().map(AsRef::as_ref).collect();
            queries.hold(take.holder, &names, take.time).await
        };
        let held = held.into_actor(self).map(|held, actor, ctx| {
            if let Err(Unheld::Lost(reason)) = &held
                && actor.queries.is_some()
            {
                actor.lose(reason.clone(), ctx);
            }
            held
        });
        AtomicResponse::new(Box::pin(held))
    }
}

/// Let other workers take what this holder has.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), String>")]
pub(super) struct GiveLeasesBack(pub(super) Uuid);

impl Handler<GiveLeasesBack> for Control {
    type Result = ResponseFuture<Result<(), String>>;

    fn handle(&mut self, give: GiveLeasesBack, _: &mut Self::Context) -> Self::Result {
        let queries = self.queries.clone();
        Box::pin(async move { queries.ok_or(AWAY)?.release(give.0).await })
    }
}
