//! `tidings-worker run`: wires the pipeline, sink first, and ends it, entrances first.

mod descriptors;

use std::{net::TcpListener, sync::Arc, time::Duration};

use actix::prelude::*;
use actix_web::dev::ServerHandle;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
    time::sleep,
};
use tokio_postgres::Config;
use tracing::{error, info, warn};

use self::descriptors::Room;
use crate::{
    admission::{
        budget::{Budget, Limits},
        directory::Directory,
    },
    inbound::{
        grpc::{
            self, Bounds, GrpcLimits,
            push::{ChunkLimits, Push, QUESTIONS},
        },
        http::{self, Connections, HttpSetup, Times, webhook::Hooks},
        tls::{Entrance, ServerTls},
    },
    pipeline::{
        batcher::{Batcher, Pipeline},
        lane::Lane,
        queue::BatchLimits,
        store::Store,
    },
    postgres::{Connector, upkeep::Upkeep, version},
    process::{
        drain::Drain,
        exit::{Code, Exit, Fatal},
        log, metric,
    },
    settings::{LimitArgs, RunArgs, place},
    sources::{
        registry::{EndStreams, Registry, Setup},
        source::Snapshot,
    },
    spool::{Mode, Spool, drain},
    stream::StreamLimits,
    wire,
};

/// Connections that the system holds until they are accepted. The standard library's 128
/// is less than a crowd that comes back at once; the system's own limit is below this.
const BACKLOG: i32 = 4096;

/// Runs until a signal or a fatal error.
pub(crate) fn main(settings: RunArgs, database: Config) -> Code {
    log::init(settings.log_format, &settings.log);
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        #[expect(clippy::expect_used, reason = "without a runtime there is no worker")]
        builder
            .enable_all()
            .build()
            .expect("the runtime cannot be built")
    };
    let system = System::with_tokio_rt(runtime);
    match system.block_on(run(settings, database)) {
        Ok(code) => code,
        Err(Exit { code, reason }) => {
            error!(exit_code = code as i32, "{reason}");
            code
        }
    }
}

async fn run(settings: RunArgs, database: Config) -> Result<Code, Exit> {
    let refused =
        |what: &str, e: &dyn std::fmt::Display| Exit::new(Code::System, format!("{what}: {e}"));
    let metrics = metric::install().map_err(|e| refused("cannot make metrics", &e))?;
    let signals = Signals::new().map_err(|e| refused("cannot listen for signals", &e))?;
    let (fatal, exits) = Fatal::channel();

    let place = place(&database);
    let connector = Connector::new(database, &settings.database);
    let connector = connector.map_err(|e| Exit::new(Code::Usage, e.to_string()))?;
    let unusable = |e: &dyn std::fmt::Display| Exit::new(Code::Usage, format!("TLS: {e}"));
    let tls = ServerTls::load(&settings.tls).map_err(|e| unusable(&e))?;
    let entrance = |entrance| {
        let config = tls.as_ref().map(|tls| tls.config(entrance)).transpose();
        config.map_err(|e| unusable(&e))
    };
    let (http_tls, grpc_tls) = (entrance(Entrance::Http)?, entrance(Entrance::Grpc)?);
    let room = Room::make(&settings.limits)?;
    // Before a port is bound: nobody sends to a worker that cannot keep its word.
    let spool = open_spool(&settings, &fatal)?;
    let bind = |address| {
        let listener = TcpListener::bind(address);
        let listener = listener.and_then(|listener| {
            rustix::net::listen(&listener, BACKLOG)?;
            Ok(listener)
        });
        listener.map_err(|e| refused(&format!("cannot listen on {address}"), &e))
    };
    let http_listener = bind(settings.http_listen)?;
    let grpc_listener = bind(settings.grpc_listen)?;
    let addresses = http_listener.local_addr().and_then(|http| {
        grpc_listener.set_nonblocking(true)?;
        Ok((http, grpc_listener.local_addr()?))
    });
    let (http_address, grpc_address) = addresses.map_err(|e| refused("cannot listen", &e))?;

    let parts = Parts::start(&settings, Arc::new(connector), spool, &fatal)?;
    let http = http::serve(
        http_listener,
        HttpSetup {
            hooks: parts.hooks(&settings),
            drain: parts.drain.clone(),
            metrics: metrics.clone(),
            connections: Connections::new(room.http),
            times: Times {
                head: settings.limits.head_timeout,
                keep_alive: settings.limits.keep_alive,
            },
            tls: http_tls,
        },
    );
    let http = http.map_err(|e| refused("cannot serve HTTP", &e))?;
    let grpc = tokio::net::TcpListener::from_std(grpc_listener);
    let grpc = grpc::serve(
        grpc.map_err(|e| refused("cannot serve gRPC", &e))?,
        grpc_tls,
        parts.push(&settings)?,
        GrpcLimits {
            connections: room.grpc,
            streams: settings.limits.grpc_streams,
            silence: settings.limits.head_timeout,
            keep_alive: settings.limits.keep_alive,
            messages: Bounds {
                message: settings.limits.max_body.get(),
                time: settings.limits.body_timeout,
            },
        },
        parts.snapshot.clone(),
    );
    let drain = parts.drain.clone();
    let servers = Servers {
        http: http.handle(),
        grpc: tokio::spawn(watched(
            grpc,
            "the gRPC server",
            drain.clone(),
            fatal.clone(),
        )),
    };
    tokio::spawn(watched(http, "the HTTP server", drain, fatal.clone()));
    fatal.spawn("the upkeep of the metrics", async move {
        // Histograms are folded now and then, also when nobody reads them.
        loop {
            sleep(Duration::from_secs(10)).await;
            metrics.run_upkeep();
        }
    });
    info!(
        http = %http_address,
        grpc = %grpc_address,
        tls = tls.is_some(),
        database = place,
        version = version::WORKER,
        "listening"
    );
    if let Some(tls) = tls {
        fatal.spawn("the renewal of the TLS certificate", tls.follow());
    }
    wait(settings.drain_timeout, signals, exits, parts, servers).await
}

fn open_spool(settings: &RunArgs, fatal: &Fatal) -> Result<Option<Spool>, Exit> {
    let Some(folder) = &settings.spool_dir else {
        return Ok(None);
    };
    let limit = u64::from(settings.limits.spool_bytes.0);
    let vital = Some(fatal.vital("the spool"));
    let spool = Spool::open(folder, Mode::Create, limit, vital);
    let spool = spool.map_err(|error| Exit::new(Code::Spool, error.to_string()))?;
    let depth = spool.depth();
    info!(folder = %folder.display(), requests = depth.requests, bytes = depth.bytes, "the spool is open");
    Ok(Some(spool))
}

/// Makes the end of a server that nobody told to end the end of the process.
async fn watched<E: std::fmt::Display>(
    server: impl Future<Output = Result<(), E>>,
    name: &'static str,
    drain: Drain,
    fatal: Fatal,
) {
    let mut vital = fatal.vital(name);
    match server.await {
        Ok(()) if drain.has_begun() => vital.release(),
        Ok(()) => {}
        Err(error) => fatal.exit(Exit::new(Code::System, format!("{name} failed: {error}"))),
    }
}

/// The pipeline and what stands around it.
struct Parts {
    pipeline: Pipeline,
    budget: Budget,
    drain: Drain,
    registry: Addr<Registry>,
    snapshot: watch::Receiver<Snapshot>,
    directory: Directory,
    spool: Option<Spool>,
}

impl Parts {
    fn start(
        settings: &RunArgs,
        connector: Arc<Connector>,
        spool: Option<Spool>,
        fatal: &Fatal,
    ) -> Result<Self, Exit> {
        let limits = &settings.limits;
        let lane = |number| {
            let lane = Lane::new(connector.clone(), fatal.clone());
            let vital = fatal.vital(format!("connection {number}"));
            Store::new(lane, vital).start().recipient()
        };
        let batch = BatchLimits {
            requests: limits.batch_requests as usize,
            bytes: limits.batch_bytes.get(),
        };
        let batcher = Batcher::spawn(
            batch,
            (1..=limits.connections).map(lane).collect(),
            // Never the limit that is met: the budget is.
            limits.pending_requests as usize,
            fatal.vital("the batcher"),
        );
        let pipeline = Pipeline::new(batcher, settings.patience);
        let (sender, snapshot) = watch::channel(Snapshot::default());
        let setup = Setup {
            connector: connector.clone(),
            pipeline: pipeline.clone(),
            schema: Arc::new(wire::ppoppo().map_err(schema)?),
            limits: StreamLimits::new(limits.max_body.get()),
            poll: settings.source_poll(),
            lease: settings.lease_time,
            fatal: fatal.clone(),
        };
        Upkeep::new(connector.clone(), settings.maintain_every, fatal.clone()).start();
        let registry = Registry::spawn(setup, sender);
        if let Some(spool) = &spool {
            let remembering = spool.clone().remember(snapshot.clone());
            fatal.spawn("the spool's list of sources", remembering);
            let limits = drain::within(batch);
            let draining = drain::run(spool.clone(), pipeline.clone(), snapshot.clone(), limits);
            fatal.spawn("the spool's drain", draining);
        }
        Ok(Self {
            pipeline,
            budget: Budget::new(Limits {
                requests: limits.pending_requests,
                bytes: limits.pending_bytes.0,
                share: limits.source_share,
                wire: limits.wire(),
            }),
            drain: Drain::new(),
            directory: Directory::new(snapshot.clone(), registry.clone().recipient()),
            registry,
            snapshot,
            spool,
        })
    }

    fn hooks(&self, settings: &RunArgs) -> Hooks {
        Hooks {
            pipeline: self.pipeline.clone(),
            directory: self.directory.clone(),
            budget: self.budget.clone(),
            max_body: settings.limits.max_body.get(),
            body_timeout: settings.limits.body_timeout,
            spool: self.spool.clone(),
        }
    }

    fn push(&self, settings: &RunArgs) -> Result<Push, Exit> {
        let LimitArgs {
            batch_requests,
            push_streams,
            ..
        } = settings.limits;
        Ok(Push {
            pipeline: self.pipeline.clone(),
            directory: self.directory.clone(),
            registry: self.registry.clone().recipient(),
            budget: self.budget.clone(),
            drain: self.drain.clone(),
            schema: Arc::new(wire::pushwoosh().map_err(schema)?),
            chunks: ChunkLimits::within(batch_requests as usize),
            streams: Arc::new(Semaphore::new(push_streams as usize)),
            questions: Arc::new(Semaphore::new(QUESTIONS)),
        })
    }
}

fn schema(error: tidings_core::wire::SchemaError) -> Exit {
    Exit::new(Code::Internal, error.to_string())
}

struct Servers {
    http: ServerHandle,
    grpc: JoinHandle<()>,
}

/// Waits for the end, and drains when a signal brings it.
async fn wait(
    drain_timeout: Duration,
    mut signals: Signals,
    mut exits: mpsc::Receiver<Exit>,
    parts: Parts,
    servers: Servers,
) -> Result<Code, Exit> {
    tokio::select! {
        name = signals.next() => info!(signal = name, "draining"),
        Some(exit) = exits.recv() => return Err(exit),
    }
    let unfinished = |reason: &str| {
        let (requests, _) = parts.budget.taken();
        warn!(requests, "{reason}: what is in flight was not acknowledged");
        Ok(Code::Unfinished)
    };
    let cut = async {
        tokio::select! {
            () = sleep(drain_timeout) => "the drain did not end in time",
            _ = signals.next() => "a second signal ended the drain",
        }
    };
    let Servers { http, grpc } = servers;
    // Entrances first: what they let in before is then finished by the pipeline.
    let work = async {
        http.pause().await;
        parts.drain.begin();
        let streams = parts.registry.send(EndStreams);
        // An error means that the part has ended already, which is what is wanted.
        let _ = tokio::join!(parts.drain.finished(), streams);
    };
    let goodbyes = async {
        let _ = grpc.await;
        http.stop(true).await;
    };
    tokio::select! {
        drained = drained(work, goodbyes, cut) => match drained {
            Ok(()) => {
                info!("drained");
                Ok(Code::Clean)
            }
            Err(reason) => unfinished(reason),
        },
        Some(exit) = exits.recv() => Err(exit),
    }
}

/// Whether the work came to its end before it was cut, and if not why. Nothing is lost with
/// a connection that is cut afterwards, since its other end does not close it.
async fn drained<Reason>(
    work: impl Future<Output = ()>,
    goodbyes: impl Future<Output = ()>,
    cut: impl Future<Output = Reason>,
) -> Result<(), Reason> {
    tokio::pin!(cut);
    tokio::select! {
        biased;
        () = work => {}
        reason = &mut cut => return Err(reason),
    }
    tokio::select! {
        () = goodbyes => {}
        _ = cut => {}
    }
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    /// Why the process ends, if it does, when a server ends like this.
    async fn reason(drain: &Drain, end: impl Future<Output = Result<(), &str>>) -> Option<String> {
        let (fatal, mut exits) = Fatal::channel();
        watched(end, "the server", drain.clone(), fatal).await;
        exits.try_recv().ok().map(|exit| exit.reason)
    }

    #[tokio::test]
    async fn a_server_that_nobody_told_to_end_ends_the_process() {
        let drain = Drain::new();
        let untold = reason(&drain, ready(Ok(()))).await;
        assert_eq!(untold.unwrap(), "the server stopped unexpectedly");
        let failed = reason(&drain, ready(Err("x"))).await;
        assert_eq!(failed.unwrap(), "the server failed: x");
        drain.begin();
        assert_eq!(reason(&drain, ready(Ok(()))).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_hang_up_is_no_work_that_is_left() {
        let late = || async {
            sleep(Duration::from_secs(2)).await;
            "late"
        };
        let work = || sleep(Duration::from_secs(1));
        assert_eq!(drained(work(), pending(), late()).await, Ok(()));
        assert_eq!(drained(work(), ready(()), late()).await, Ok(()));
        assert_eq!(drained(pending(), ready(()), late()).await, Err("late"));
    }
}
