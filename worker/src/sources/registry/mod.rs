//! The registry: which sources there are, as Postgres lists them, and which of the streams
//! are this worker's.

mod hold;

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use actix::prelude::*;
use metrics::gauge;
use tidings_core::wire::Schema;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tracing::{info, warn};

use self::hold::Hold;
use super::{
    control::Control,
    lease::Leases,
    source::{Database, Snapshot, Source},
};
use crate::{
    dial::options::Dial,
    pipeline::batcher::Pipeline,
    postgres::{ConnectError, Connector, Event},
    process::{
        backoff::Backoff,
        exit::{Code, Exit, Fatal, Vital},
        metric,
    },
    stream::{
        self, Stop, Stream, StreamLimits, Wake,
        desk::{Resume, WhereToResume},
        follow::Plan,
        report::Report,
    },
};

/// Questions and news that may wait.
const MAILBOX: usize = 256;
/// Between attempts to connect.
const LEAST_PAUSE: Duration = Duration::from_millis(250);
const GREATEST_PAUSE: Duration = Duration::from_secs(5);
/// Owns the control connection, the snapshot of the sources, the leases, and the streams.
///
/// Promises:
/// - The snapshot follows `tidings.source`: at once by `LISTEN tidings_source`, and
///   by a slow poll in case a notification is lost.
/// - One stream runs for every enabled source that is dialed and whose lease this worker
///   holds, also where it can only say why it cannot be. A changed row or another lease
///   ends its stream, and the next one starts only after that has ended, so that no two
///   streams of one source ever write side by side.
/// - Leases are renewed as long as there is a connection, and given back after a drain.
/// - Without Postgres it keeps trying, and says why in the snapshot.
#[derive(Debug)]
pub(crate) struct Registry {
    setup: Setup,
    control: Option<Control>,
    /// Which connection is meant: the end of an earlier one is old news.
    attempt: u64,
    backoff: Backoff,
    snapshot: watch::Sender<Snapshot>,
    leases: Leases,
    /// When the leases are asked for again.
    next_hold: SpawnHandle,
    streams: HashMap<Arc<str>, Running>,
    draining: bool,
    _vital: Vital,
}

/// What a registry is made of.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) connector: Arc<Connector>,
    pub(crate) pipeline: Pipeline,
    /// Of the dialed provider, for sources without one of their own.
    pub(crate) schema: Arc<Schema>,
    pub(crate) limits: StreamLimits,
    pub(crate) poll: Duration,
    pub(crate) lease: Duration,
    pub(crate) fatal: Fatal,
}

#[derive(Debug)]
struct Running {
    source: Source,
    epoch: i64,
    stream: Addr<Stream>,
    stopping: bool,
}

impl Registry {
    pub(crate) fn spawn(setup: Setup, snapshot: watch::Sender<Snapshot>) -> Addr<Self> {
        Self::create(|ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            Self {
                _vital: setup.fatal.vital("the registry"),
                leases: Leases::new(setup.lease),
                next_hold: SpawnHandle::default(),
                setup,
                control: None,
                attempt: 0,
                backoff: Backoff::between(LEAST_PAUSE, GREATEST_PAUSE),
                snapshot,
                streams: HashMap::new(),
                draining: false,
            }
        })
    }

    fn connect(&mut self, ctx: &mut Context<Self>) {
        self.attempt += 1;
        let attempt = self.attempt;
        let connector = self.setup.connector.clone();
        let registry = ctx.address();
        let connecting = async move {
            let client = connector.connect(move |event| {
                let heard = Heard { attempt, event };
                match event {
                    // A full mailbox already holds news that lead to the same look.
                    Event::Notified => drop(registry.try_send(heard)),
                    // It is said once, and so waits for its place.
                    Event::Closed => drop(tokio::spawn(registry.send(heard))),
                }
            });
            let control = Control::new(client.await?);
            control.listen().await.map_err(ConnectError::Unreachable)?;
            Ok(control)
        };
        let connecting = connecting
            .into_actor(self)
            .map(|connected, actor, ctx| match connected {
                Ok(control) => {
                    info!("connected to Postgres");
                    actor.control = Some(control);
                    ctx.notify(Refresh);
                }
                Err(ConnectError::Incompatible(reason)) => {
                    actor
                        .setup
                        .fatal
                        .exit(Exit::new(Code::Incompatible, reason));
                }
                Err(ConnectError::Unreachable(reason)) => actor.lose(reason, ctx),
            });
        ctx.spawn(connecting);
    }

    /// Forgets the connection and opens another after a pause.
    fn lose(&mut self, reason: String, ctx: &mut Context<Self>) {
        let known = self.snapshot.borrow().database == Database::Down(reason.clone());
        if !known {
            warn!(%reason, "Postgres cannot be used; trying again until it can");
        }
        gauge!(metric::DATABASE_UP).set(0.0);
        self.control = None;
        self.snapshot
            .send_modify(|snapshot| snapshot.database = Database::Down(reason));
        ctx.run_later(self.backoff.pause(), Self::connect);
    }

    fn learn(&mut self, sources: Vec<Source>, ctx: &mut Context<Self>) {
        self.backoff.reset();
        gauge!(metric::DATABASE_UP).set(1.0);
        let sources = sources.into_iter().map(|s| (s.name.clone(), s));
        self.snapshot.send_replace(Snapshot {
            database: Database::Up,
            sources: Some(Arc::new(sources.collect())),
        });
        ctx.notify(Hold);
        self.reconcile(ctx);
        // A new secret changes no row of a source, but ends its failure. Not only when
        // there is a notification, for one may have been lost with a connection.
        for running in self.streams.values() {
            // Full: it has been told already.
            let _ = running.stream.try_send(Wake);
        }
    }

    /// Makes the streams that run those that should.
    fn reconcile(&mut self, ctx: &mut Context<Self>) {
        let Some(sources) = self.snapshot.borrow().sources.clone() else {
            return;
        };
        for (name, running) in &mut self.streams {
            let same = sources
                .get(name)
                .is_some_and(|now| now.is_followed() && *now == running.source)
                && self.leases.epoch(name) == Some(running.epoch);
            if running.stopping || (same && !self.draining) {
                continue;
            }
            running.stopping = true;
            let name = name.clone();
            // An error means that it has ended already.
            let ended = actix::fut::wrap_future::<_, Self>(running.stream.send(Stop));
            ctx.spawn(ended.map(move |_, actor, ctx| {
                info!(source = %name, "the stream has ended");
                actor.streams.remove(&name);
                actor.reconcile(ctx);
            }));
        }
        if self.draining {
            return;
        }
        for source in sources.values().filter(|source| source.is_followed()) {
            let Some(epoch) = self.leases.epoch(&source.name) else {
                continue;
            };
            let Entry::Vacant(place) = self.streams.entry(source.name.clone()) else {
                continue;
            };
            info!(source = %source.name, epoch, "starting the stream");
            let name = source.name.clone();
            let plan = plan(source, &self.setup.schema);
            let (desk, reports) = (ctx.address().recipient(), ctx.address().recipient());
            let setup = stream::Setup {
                pipeline: self.setup.pipeline.clone(),
                limits: self.setup.limits,
                fatal: self.setup.fatal.clone(),
            };
            let stream = Stream::new(name, epoch, plan, desk, reports, setup);
            place.insert(Running {
                source: source.clone(),
                epoch,
                stream: stream.start(),
                stopping: false,
            });
        }
    }
}

/// How to dial a source, or why it cannot be dialed.
fn plan(source: &Source, ours: &Arc<Schema>) -> Result<Plan, String> {
    let dial = Dial::new(&source.options)?;
    let schema = match &source.schema {
        Some(own) => Arc::new(own.usable.as_ref().clone()?),
        None => ours.clone(),
    };
    Ok(Plan { dial, schema })
}

impl Actor for Registry {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.connect(ctx);
        ctx.run_interval(self.setup.poll, |_, ctx| ctx.notify(Refresh));
    }
}

/// News from a connection.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Heard {
    attempt: u64,
    event: Event,
}

impl Handler<Heard> for Registry {
    type Result = ();

    fn handle(&mut self, heard: Heard, ctx: &mut Self::Context) {
        // While a connection is being opened, the attempt itself says how it went.
        if heard.attempt != self.attempt || self.control.is_none() {
            return;
        }
        match heard.event {
            Event::Notified => ctx.notify(Refresh),
            Event::Closed => self.lose("the connection was closed".to_owned(), ctx),
        }
    }
}

/// Read the sources again; the answer comes after the snapshot is up to date.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Refresh;

impl Handler<Refresh> for Registry {
    // Atomic: an older list never replaces a newer one.
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, _: Refresh, _: &mut Self::Context) -> Self::Result {
        let (control, attempt) = (self.control.clone(), self.attempt);
        let known = self.snapshot.borrow().sources.clone();
        let read = async move {
            match control {
                Some(control) => Some(control.sources(known.as_deref()).await),
                None => None,
            }
        };
        let read = read.into_actor(self).map(move |read, actor, ctx| {
            let current = actor.attempt == attempt && actor.control.is_some();
            match read {
                Some(Ok(sources)) if current => actor.learn(sources, ctx),
                Some(Err(reason)) if current => actor.lose(reason, ctx),
                _ => {}
            }
        });
        AtomicResponse::new(Box::pin(read))
    }
}

impl Handler<WhereToResume> for Registry {
    type Result = ResponseFuture<Result<Resume, String>>;

    fn handle(&mut self, ask: WhereToResume, _: &mut Self::Context) -> Self::Result {
        let control = self.control.clone();
        Box::pin(async move {
            let control = control.ok_or("Postgres is not connected")?;
            control.resume(&ask.0).await
        })
    }
}

impl Handler<Report> for Registry {
    type Result = ResponseFuture<Result<(), String>>;

    fn handle(&mut self, report: Report, _: &mut Self::Context) -> Self::Result {
        let control = self.control.clone();
        Box::pin(async move {
            let control = control.ok_or("Postgres is not connected")?;
            control.report(&report).await
        })
    }
}

/// Which source a push belongs to: the one that is named, if it accepts these headers, or
/// else any that does.
#[derive(Debug, Message)]
#[rtype(result = "Result<Option<String>, String>")]
pub(crate) struct FindSource {
    pub(crate) provider: &'static str,
    pub(crate) name: Option<String>,
    /// A JSON object.
    pub(crate) headers: String,
    /// Held until there is an answer, whether or not somebody still waits for it.
    pub(crate) turn: OwnedSemaphorePermit,
}

impl Handler<FindSource> for Registry {
    type Result = ResponseFuture<Result<Option<String>, String>>;

    fn handle(&mut self, ask: FindSource, _: &mut Self::Context) -> Self::Result {
        let control = self.control.clone();
        Box::pin(async move {
            let _turn = &ask.turn;
            let control = control.ok_or("Postgres is not connected")?;
            match &ask.name {
                Some(name) => control.accepts(name, &ask.headers).await,
                None => control.find(ask.provider, &ask.headers).await,
            }
        })
    }
}

/// End every stream, and start none; the answer comes when all have ended, and others
/// may take them.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct EndStreams;

impl Handler<EndStreams> for Registry {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: EndStreams, ctx: &mut Self::Context) -> Self::Result {
        self.draining = true;
        self.reconcile(ctx);
        let streams: Vec<_> = self.streams.values().map(|r| r.stream.send(Stop)).collect();
        let (control, holder) = (self.control.clone(), self.leases.holder);
        Box::pin(async move {
            futures_util::future::join_all(streams).await;
            if let Some(control) = control
                && let Err(reason) = control.release(holder).await
            {
                info!(
                    reason,
                    "the leases were not given back: others take over when they expire"
                );
            }
        })
    }
}
