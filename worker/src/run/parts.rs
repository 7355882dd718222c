//! The parts of the worker, wired sink first.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;
use futures_util::FutureExt;
use tokio::{sync::watch, time::timeout};
use tracing::info;

use crate::{
    admission::{
        budget::{Budget, Limits},
        directory::Directory,
    },
    gaps::{Gaps, reporter::Running},
    inbound::{
        grpc::push::{ChunkLimits, Push, PushStreams, QUESTIONS, Turns},
        http::{Attempts, Kept, keep, webhook::Hooks},
        peer::Proxies,
        refusal::Refusals,
    },
    pipeline::{
        batcher::{Batcher, Pipeline},
        lane::Lane,
        queue::BatchLimits,
        settle::Told,
        store::Store,
        stored::Stored,
        taking::Taking,
    },
    postgres::{Connector, upkeep::Upkeep},
    process::{
        drain::Drain,
        exit::{Code, Exit, Fatal},
        reload::Reload,
    },
    reconcile::Books,
    settings::{LimitArgs, RunArgs},
    sources::{
        control::Control,
        readers::{self, ForReaders},
        source::Snapshot,
        streams::Streams,
    },
    spool::{Mode, Spool, drain},
    stream::{self, gather::StreamLimits},
    wire,
};

/// Time limit for the last wake-up of readers.
const LAST_WAKE_UP: Duration = Duration::from_secs(1);

/// The parts of the worker.
pub(super) struct Parts {
    pub(super) pipeline: Pipeline,
    pub(super) taking: Taking,
    pub(super) budget: Budget,
    pub(super) drain: Drain,
    control: Addr<Control>,
    pub(super) streams: Addr<Streams>,
    pub(super) snapshot: watch::Receiver<Snapshot>,
    pub(super) directory: Directory,
    pub(super) spool: Option<Spool>,
    pub(super) refusals: Refusals,
    pub(super) attempts: Attempts,
    pub(super) kept: Kept,
    proxies: Proxies,
    pub(super) gaps: Running,
}

impl Parts {
    pub(super) fn start(
        settings: &RunArgs,
        connector: Arc<Connector>,
        (spool, gaps): (Option<Spool>, Gaps),
        reload: &Reload,
        fatal: &Fatal,
    ) -> Result<Self, Exit> {
        wire::check().map_err(|error| Exit::new(Code::Internal, error.to_string()))?;
        let limits = &settings.limits;
        let told = Told {
            stored: Stored::default(),
            taking: Taking::unproven(),
        };
        let Told { stored, taking } = told.clone();
        // The batcher, the lanes and their connections share one thread, so that a batch
        // does not go from thread to thread on its way.
        let thread = Arbiter::new().handle();
        let lane = |number| {
            let lane = Lane::new(connector.clone(), fatal.clone());
            let vital = fatal.vital(format!("connection {number}"));
            let store = Store::new(lane, told.clone(), vital);
            Store::start_in_arbiter(&thread, |_| store).into()
        };
        let batch = BatchLimits {
            requests: limits.batch_requests as usize,
            bytes: limits.batch_bytes.get(),
        };
        let pipeline = Batcher::spawn(
            batch,
            (1..=limits.connections).rev().map(lane).collect(),
            settings.patience,
            taking.clone(),
            fatal.vital("the batcher"),
            &thread,
        );
        let (sender, snapshot) = watch::channel(Snapshot::default());
        Upkeep::new(connector.clone(), settings.maintain_every, fatal.clone()).start();
        let poll = settings.source_poll();
        let control = Control::spawn(
            connector.clone(),
            poll,
            (sender, taking.clone()),
            fatal.clone(),
        );
        let asked = readers::by(control.clone().recipient());
        let serving = readers::serve(stored, settings.tick, asked);
        fatal.spawn(
            "the wake-ups of readers",
            serving.map(|never| match never {}),
        );
        let streams = Streams::new(
            control.clone(),
            snapshot.clone(),
            settings.lease_time,
            stream::Setup {
                desk: control.clone().recipient(),
                gaps: control.clone().recipient(),
                reports: control.clone().recipient(),
                pipeline: pipeline.clone(),
                limits: StreamLimits::new(limits.max_body.get()),
                books: Some(Arc::new(Books::new(connector))),
                reload: reload.clone(),
                fatal: fatal.clone(),
            },
        );
        if let Some(spool) = &spool {
            let remembering = spool.clone().remember(snapshot.clone());
            fatal.spawn("the spool's list of sources", remembering);
            fatal.spawn(
                "the look after the spool's file",
                spool.clone().look_after(),
            );
            let limits = drain::within(batch);
            let postgres = (snapshot.clone(), taking.clone());
            let draining = drain::run(spool.clone(), pipeline.clone(), postgres, limits);
            fatal.spawn("the spool's drain", draining);
        }
        let refusals = Refusals::default();
        fatal.spawn("the log of refusals", refusals.clone().follow());
        let (kept, waiting) = Kept::new();
        let keeping = keep(waiting, control.clone().recipient(), snapshot.clone());
        fatal.spawn("the keeper of refused requests", keeping);
        let desk = control.clone().recipient();
        Ok(Self {
            kept,
            proxies: Proxies::new(&settings.trusted_proxies),
            attempts: Attempts::new(gaps.clone()),
            gaps: Running::start(gaps, desk, snapshot.clone(), fatal),
            pipeline,
            taking,
            budget: Budget::new(Limits {
                requests: limits.pending_requests,
                bytes: limits.pending_bytes.0,
                share: limits.source_share,
                wire: limits.wire(),
                message: limits.largest(),
            }),
            drain: Drain::new(),
            directory: Directory::new(snapshot.clone(), control.clone().recipient()),
            control,
            streams: streams.start(),
            snapshot,
            spool,
            refusals,
        })
    }

    /// Wakes the readers up for the last events, however shortly before they were woken up.
    pub(super) async fn wake_readers(&self) {
        // Readers do without, too.
        let _ = timeout(LAST_WAKE_UP, self.control.send(ForReaders::Wake)).await;
    }

    pub(super) fn hooks(&self, settings: &RunArgs) -> Hooks {
        Hooks {
            pipeline: self.pipeline.clone(),
            taking: self.taking.clone(),
            directory: self.directory.clone(),
            budget: self.budget.clone(),
            max_body: settings.limits.max_body.get(),
            body_timeout: settings.limits.body_timeout,
            spool: self.spool.clone(),
            refusals: self.refusals.clone(),
            attempts: self.attempts.clone(),
            proxies: self.proxies.clone(),
            kept: self.kept.clone(),
        }
    }

    pub(super) fn push(&self, settings: &RunArgs) -> Push {
        let LimitArgs {
            batch_requests,
            push_streams,
            source_share,
            ..
        } = settings.limits;
        Push {
            pipeline: self.pipeline.clone(),
            directory: self.directory.clone(),
            finder: self.control.clone().recipient(),
            budget: self.budget.clone(),
            drain: self.drain.clone(),
            chunks: ChunkLimits::within(batch_requests as usize),
            streams: PushStreams::new(push_streams as usize, source_share),
            turns: Turns::new(QUESTIONS),
            refusals: self.refusals.clone(),
            proxies: self.proxies.clone(),
        }
    }
}

/// Opens the spool that the settings name, if they name one.
pub(super) fn open_spool(
    settings: &RunArgs,
    gaps: &Gaps,
    fatal: &Fatal,
) -> Result<Option<Spool>, Exit> {
    let Some(folder) = &settings.spool_dir else {
        return Ok(None);
    };
    let limit = u64::from(settings.limits.spool_bytes.0);
    let vital = Some(fatal.vital("the spool"));
    let spool = Spool::open(folder, Mode::Create, limit, gaps.clone(), vital);
    let spool = spool.map_err(|error| Exit::new(Code::Spool, error.to_string()))?;
    let depth = spool.depth();
    info!(folder = %folder.display(), requests = depth.requests, bytes = depth.bytes, "the spool is open");
    Ok(Some(spool))
}
