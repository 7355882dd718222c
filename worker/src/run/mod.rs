//! `tidings-worker run`: wires the pipeline, sink first, and ends it, inbound parts
//! first.

mod descriptors;
mod end;
mod parts;

use std::{net::TcpListener, sync::Arc, time::Duration};

use actix::prelude::*;
use tokio::time::sleep;
use tokio_postgres::Config;
use tracing::{error, info};

use self::{
    descriptors::Room,
    end::{Servers, Signals, wait, watched},
    parts::{Parts, open_spool},
};
use crate::{
    gaps::Gaps,
    inbound::{
        grpc::{self, Bounds, GrpcLimits},
        http::{
            self, Connections, HttpSetup, Times,
            admin::{self, AdminSetup},
        },
        tls::{Entrance, ServerTls},
    },
    postgres::{Connector, version},
    process::{
        exit::{Code, Exit, Fatal},
        log, metric,
    },
    settings::{RunArgs, place},
};

/// Length of the listen queue. The standard library's 128 is too short when many clients
/// reconnect at once; the system may limit it further.
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
    let admin_tls = entrance(Entrance::Http)?;
    let room = Room::make(&settings.limits)?;
    // The spool is opened before a port is bound, so that a worker which cannot use its
    // spool accepts no request.
    let gaps = Gaps::open(settings.spool_dir.as_deref());
    let spool = open_spool(&settings, &gaps, &fatal)?;
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
    let admin_listener = bind(settings.admin_listen)?;
    let listening = |e: std::io::Error| refused("cannot listen", &e);
    let address = |listener: &TcpListener| listener.local_addr().map_err(listening);
    let (http_address, grpc_address) = (address(&http_listener)?, address(&grpc_listener)?);
    let admin_address = address(&admin_listener)?;
    grpc_listener.set_nonblocking(true).map_err(listening)?;

    let parts = Parts::start(&settings, Arc::new(connector), (spool, gaps), &fatal)?;
    let connections = Connections::new(room.http);
    let times = Times {
        head: settings.limits.head_timeout,
        keep_alive: settings.limits.keep_alive,
    };
    let http = http::serve(
        http_listener,
        HttpSetup {
            hooks: parts.hooks(&settings),
            drain: parts.drain.clone(),
            connections: connections.clone(),
            times,
            tls: http_tls,
        },
    );
    let http = http.map_err(|e| refused("cannot serve HTTP", &e))?;
    let admin = admin::serve(
        admin_listener,
        AdminSetup {
            hooks: parts.hooks(&settings),
            drain: parts.drain.clone(),
            metrics: metrics.clone(),
            public: connections,
            times,
            tls: admin_tls,
        },
    );
    let admin = admin.map_err(|e| refused("cannot serve probes", &e))?;
    let grpc = tokio::net::TcpListener::from_std(grpc_listener);
    let grpc = grpc::serve(
        grpc.map_err(|e| refused("cannot serve gRPC", &e))?,
        grpc_tls,
        parts.push(&settings),
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
        admin: admin.handle(),
        grpc: tokio::spawn(watched(
            grpc,
            "the gRPC server",
            drain.clone(),
            fatal.clone(),
        )),
    };
    tokio::spawn(watched(
        http,
        "the HTTP server",
        drain.clone(),
        fatal.clone(),
    ));
    tokio::spawn(watched(admin, "the admin server", drain, fatal.clone()));
    fatal.spawn("the upkeep of the metrics", async move {
        // Histograms must be folded regularly, even if nobody reads them.
        loop {
            sleep(Duration::from_secs(10)).await;
            metrics.run_upkeep();
        }
    });
    info!(
        http = %http_address,
        grpc = %grpc_address,
        admin = %admin_address,
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
