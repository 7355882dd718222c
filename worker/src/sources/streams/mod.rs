//! The streams of dialed sources: which of them this worker follows.

mod hold;

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use actix::prelude::*;
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tracing::info;

use self::hold::Hold;
use super::{
    control::{Control, GiveLeasesBack},
    lease::Leases,
    source::{Database, Snapshot, Source},
};
use crate::{
    dial::options::Dial,
    process::exit::Vital,
    reconcile::automatic::Way,
    stream::{self, Stream, follow::Plan},
};

/// Owns the leases and the streams.
///
/// Promises:
/// - One stream runs for every enabled source that is dialed and whose lease this worker
///   holds, even if the stream can only report why it cannot be dialed. A changed row or
///   another lease ends the stream, and the next one starts only after the first has
///   ended, so that two streams of one source never write concurrently.
/// - Leases are renewed as long as there is a connection, and given back after a drain,
///   when every stream has ended.
#[derive(Debug)]
pub(crate) struct Streams {
    control: Addr<Control>,
    snapshot: watch::Receiver<Snapshot>,
    setup: stream::Setup,
    leases: Leases,
    /// Timer of the next query for the leases.
    next_hold: SpawnHandle,
    running: HashMap<Arc<str>, Running>,
    draining: bool,
    _vital: Vital,
}

#[derive(Debug)]
struct Running {
    source: Arc<Source>,
    epoch: i64,
    stream: Stream,
    stopping: bool,
}

impl Streams {
    pub(crate) fn new(
        control: Addr<Control>,
        snapshot: watch::Receiver<Snapshot>,
        lease: Duration,
        setup: stream::Setup,
    ) -> Self {
        Self {
            control,
            snapshot,
            leases: Leases::new(lease),
            next_hold: SpawnHandle::default(),
            running: HashMap::new(),
            draining: false,
            _vital: setup.fatal.vital("the streams"),
            setup,
        }
    }

    /// Starts and stops streams, so that exactly the right ones run.
    fn reconcile(&mut self, ctx: &mut Context<Self>) {
        let Some(sources) = self.snapshot.borrow().sources.clone() else {
            return;
        };
        for (name, running) in &mut self.running {
            let same = sources
                .get(name)
                .is_some_and(|now| now.is_followed() && *now == running.source)
                && self.leases.epoch(name) == Some(running.epoch);
            if running.stopping || (same && !self.draining) {
                continue;
            }
            running.stopping = true;
            let name = name.clone();
            let ended = actix::fut::wrap_future::<_, Self>(running.stream.stop());
            ctx.spawn(ended.map(move |(), actor, ctx| {
                info!(source = %name, "the stream has ended");
                actor.running.remove(&name);
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
            // Under a former name it has to end first.
            let was_renamed = |running: &Running| {
                running.source.id == source.id && running.source.name != source.name
            };
            if self.running.values().any(was_renamed) {
                continue;
            }
            let Entry::Vacant(place) = self.running.entry(source.name.clone()) else {
                continue;
            };
            info!(source = %source.name, epoch, "starting the stream");
            let plan = plan(source);
            let way = plan.as_ref().ok().and_then(|plan| way(source, plan));
            place.insert(Running {
                source: source.clone(),
                epoch,
                stream: Stream::start(source.name.clone(), epoch, plan, way, &self.setup),
                stopping: false,
            });
        }
    }
}

/// How to dial a source, or why it cannot be dialed.
fn plan(source: &Source) -> Result<Plan, String> {
    Ok(Plan {
        dial: Dial::new(&source.provider, &source.options)?,
        schema: source.spoken()?,
    })
}

/// How to ask for events that are missing, if the provider can be asked and the source does
/// not forbid it.
fn way(source: &Source, plan: &Plan) -> Option<Way> {
    Some(Way {
        dial: plan.dial.clone(),
        question: source.question().ok().filter(|_| source.reconciles())?,
    })
}

impl Actor for Streams {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.add_stream(WatchStream::from_changes(self.snapshot.clone()));
    }
}

/// The sources were read, or Postgres is away.
impl StreamHandler<Snapshot> for Streams {
    fn handle(&mut self, snapshot: Snapshot, ctx: &mut Self::Context) {
        if snapshot.database != Database::Up {
            return;
        }
        ctx.notify(Hold);
        self.reconcile(ctx);
        // A new secret changes no row of a source, but ends its failure. Not only when
        // there is a notification, because it may have been lost with a connection.
        for running in self.running.values() {
            running.stream.wake();
        }
    }
}

/// Ends every stream and starts none; the answer is sent when all have ended and their
/// leases are released.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct EndStreams;

impl Handler<EndStreams> for Streams {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: EndStreams, ctx: &mut Self::Context) -> Self::Result {
        self.draining = true;
        self.reconcile(ctx);
        let streams: Vec<_> = self.running.values().map(|r| r.stream.stop()).collect();
        let (control, holder) = (self.control.clone(), self.leases.holder);
        Box::pin(async move {
            join_all(streams).await;
            let given = control.send(GiveLeasesBack(holder)).await;
            if let Ok(Err(reason)) = given {
                info!(
                    reason,
                    "the leases could not be released; other workers take over when they expire"
                );
            }
        })
    }
}
