//! `tidings-worker run`: wires the pipeline, sink first, and ends it, inbound parts
//! first.

mod descriptors;
mod end;
mod parts;
mod series;
mod signals;

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix::prelude::*;
use tokio::time::sleep;
use tracing::{error, info, warn};

use self::{
    descriptors::Room,
    end::{Servers, wait, watched},
    parts::{Parts, open_spool},
    signals::Signals,
};
use crate::{
    gaps::Gaps,
    inbound::{
        grpc::{self, Bounds, GrpcLimits, OpenLimits},
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
        reload::Reload,
    },
    settings::{Database, RunArgs, place},
};

/// Length of the listen queue. The standard library's 128 is too short when many clients
/// reconnect at once; the system may limit it further.
const BACKLOG: i32 = 4096;

/// Runs until a signal or a fatal error.
pub(crate) fn main(settings: RunArgs, database: Database) -> Code {
    #[expect(clippy::expect_used, reason = "without a log there is no worker")]
    let log = log::init(settings.log_format, &settings.log).expect("no thread for the log");
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        #[expect(clippy::expect_used, reason = "without a runtime there is no worker")]
        builder
            .enable_all()
            .build()
            .expect("the runtime cannot be built")
    };
    let system = System::with_tokio_rt(runtime);
    let code = match system.block_on(run(settings, database)) {
        Ok(code) => code,
        Err(Exit { code, reason }) => {
            error!(exit_code = code as i32, "{reason}");
            code
        }
    };
    log.flush();
    code
}

async fn run(settings: RunArgs, database: Database) -> Result<Code, Exit> {
    let refused =
        |what: &str, e: &dyn std::fmt::Display| Exit::new(Code::System, format!("{what}: {e}"));
    let mut signals = Signals::new().map_err(|e| refused("cannot listen for signals", &e))?;
    let metrics = metric::install().map_err(|e| refused("cannot make metrics", &e))?;
    series::begin();
    let (fatal, exits) = Fatal::channel();
    // Whatever reads a file that may change subscribes to this.
    let reload = Reload::default();
    fatal.spawn("the reload on SIGHUP", signals.reloading(reload.clone()));

    let place = place(&database);
    for note in &database.notes {
        warn!("{note}");
    }
    let origins = database.origins.clone();
    let connector = Connector::new(database, &settings.database);
    let connector = connector.map_err(|e| Exit::new(Code::Usage, e.to_string()))?;
    let connector = Arc::new(connector);
    fatal.spawn("the settings of the database", {
        let (connector, mut reloads) = (connector.clone(), reload.subscribe());
        async move {
            loop {
                reloads.next().await;
                connector.reload().await;
            }
        }
    });
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

    // A handle by which the drain ends the listener that the server owns.
    let drained_listener = http_listener.try_clone().map_err(listening)?;
    let parts = Parts::start(&settings, connector, (spool, gaps), &reload, &fatal)?;
    series::limits(&settings.limits, parts.budget.limits(), &room);
    fatal.spawn(
        "the series of the sources",
        series::follow(parts.snapshot.clone()),
    );
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
            open_calls: OpenLimits {
                calls: settings.limits.open_calls as usize,
                time: settings.limits.open_call_time,
            },
        },
        (parts.snapshot.clone(), parts.taking.clone()),
    );
    let drain = parts.drain.clone();
    let servers = Servers {
        http: http.handle(),
        http_listener: drained_listener,
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
        settings = origins,
        version = version::WORKER,
        "listening"
    );
    match tls {
        Some(tls) => fatal.spawn(
            "the renewal of the TLS certificate",
            tls.follow(reload.subscribe()),
        ),
        None => warn_of_clear_text(&[http_address, grpc_address]),
    }
    wait(settings.drain_timeout, signals, exits, parts, servers).await
}

/// Warns if other machines can reach a listener that serves without TLS.
fn warn_of_clear_text(listeners: &[SocketAddr]) {
    let exposed = listeners.iter();
    let exposed = exposed.filter(|address| !address.ip().to_canonical().is_loopback());
    let exposed: Vec<_> = exposed.map(ToString::to_string).collect();
    if !exposed.is_empty() {
        let listeners = exposed.join(", ");
        warn!(
            listeners,
            "secrets and events are received in clear text from other machines: \
             set --tls-cert and --tls-key, or put a proxy that terminates TLS in front"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Log;

    #[test]
    fn clear_text_from_other_machines_is_a_warning() {
        let warned = |addresses: &[&str]| {
            let log = Log::default();
            let _listening = log.listen();
            let addresses: Vec<_> = addresses.iter().map(|a| a.parse().unwrap()).collect();
            warn_of_clear_text(&addresses);
            log.text()
        };
        for address in [
            "0.0.0.0:80",
            "[::]:80",
            "192.0.2.1:80",
            "[::ffff:192.0.2.1]:80",
        ] {
            let text = warned(&["127.0.0.1:8081", address]);
            assert!(text.contains("WARN"), "{text}");
            assert!(text.contains(&format!("listeners=\"{address}\"")), "{text}");
            assert!(text.contains("--tls-cert and --tls-key"), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
        }
        assert!(warned(&["0.0.0.0:80", "0.0.0.0:81"]).contains("0.0.0.0:80, 0.0.0.0:81"));
        assert_eq!(
            warned(&["127.0.0.1:80", "[::1]:81", "[::ffff:127.0.0.1]:82"]),
            ""
        );
    }
}
