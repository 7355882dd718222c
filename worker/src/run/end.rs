//! The end of the process: in which order the parts end.

use std::{net::TcpListener, time::Duration};

use actix_web::dev::ServerHandle;
use rustix::net::Shutdown;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep},
};
use tracing::{info, warn};

use super::{parts::Parts, signals::Signals};
use crate::{
    process::{
        drain::Drain,
        exit::{Code, Exit, Fatal},
        log,
    },
    sources::streams::EndStreams,
};

pub(super) struct Servers {
    pub(super) http: ServerHandle,
    /// The listener that the HTTP server accepts from.
    pub(super) http_listener: TcpListener,
    /// Probes and metrics, which are answered to the end of the drain.
    pub(super) admin: ServerHandle,
    pub(super) grpc: JoinHandle<()>,
}

/// Waits for a signal or a fatal error, and drains after a signal.
pub(super) async fn wait(
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
        warn!(
            requests,
            "{reason}; the requests in flight were not acknowledged"
        );
        Ok(Code::Unfinished)
    };
    let begun = Instant::now();
    let cut = async {
        tokio::select! {
            () = sleep(drain_timeout) => "the drain did not end in time",
            () = signals.again(begun) => "a second signal ended the drain",
        }
    };
    let Servers {
        http,
        http_listener,
        admin,
        grpc,
    } = servers;
    // Inbound parts end first, so that the pipeline then finishes what they accepted.
    let work = async {
        http.pause().await;
        parts.drain.begin();
        // A server that is paused leaves new connections with the system, where they wait until
        // the end. The gRPC server gives its listener up by itself when the drain begins.
        end_listener(&http_listener);
        let streams = parts.streams.send(EndStreams);
        // An error means that the part has ended already, which is the aim.
        let _ = tokio::join!(parts.drain.finished(), streams);
    };
    let goodbyes = async {
        let _ = grpc.await;
        http.stop(true).await;
        admin.stop(true).await;
    };
    let end = tokio::select! {
        drained = drained(work, goodbyes, cut) => match drained {
            Ok(()) => {
                parts.wake_readers().await;
                info!("drained");
                Ok(Code::Clean)
            }
            Err(reason) => unfinished(reason),
        },
        Some(exit) = exits.recv() => Err(exit),
    };
    parts.refusals.summarize();
    parts.kept.settle().await;
    parts.gaps.end().await;
    end
}

/// Refuses new connections from here on, and resets those that were not accepted yet.
fn end_listener(listener: &TcpListener) {
    log::listeners_end();
    if let Err(error) = rustix::net::shutdown(listener, Shutdown::Both) {
        warn!(%error, "new HTTP connections are not refused while the worker drains");
    }
}

/// Whether the work was finished before the cut, and otherwise the reason. Nothing is
/// lost if a connection is cut after the work is finished.
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

/// Ends the process if a server ends without a drain.
pub(super) async fn watched<E: std::fmt::Display>(
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
