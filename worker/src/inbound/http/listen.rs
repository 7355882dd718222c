//! The connections of the HTTP server: accepting them, the TLS handshake, and serving.
//!
//! actix-web's own server has no place for a [`TurnGate`], so its parts are put together
//! here.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix_http::{
    Extensions, HttpService, KeepAlive, Request, Response,
    error::{DispatchError, ParseError},
};
use actix_server::Server;
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, apply_fn_factory, fn_service,
    map_config,
};
use actix_web::{body::MessageBody, dev::AppConfig};
use metrics::counter;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::turn::{Connections, Times, TurnGate};
use crate::{
    inbound::{gate::Gated, tls::HANDSHAKE_TIMEOUT},
    process::metric,
};

/// Connections beyond those that are kept alive, each of which gets one answer, so that a
/// client is served however many others are idle.
pub(crate) const SURPLUS: usize = 256;
/// Time limit for a client to close its side after the worker has closed its own.
const DISCONNECT: Duration = Duration::from_secs(1);

/// Limits of a listener.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    pub(super) connections: Connections,
    /// Connections beyond them, each of which gets one answer.
    pub(super) surplus: usize,
    pub(super) times: Times,
    /// Threads that serve.
    pub(super) threads: usize,
}

/// The transport of a connection: TCP, or TLS over TCP.
trait Transport: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Transport for T {}

/// Serves what `app` makes, on `listener`, until the returned server is stopped.
pub(super) fn serve<F, I, S, B>(
    listener: TcpListener,
    tls: Option<ServerConfig>,
    bounds: Bounds,
    app: F,
) -> io::Result<Server>
where
    F: Fn() -> I + Clone + Send + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    let Bounds {
        connections,
        surplus,
        times,
        threads,
    } = bounds;
    let most = connections.most() + surplus;
    let server = Server::build()
        .workers(threads)
        .max_concurrent_connections(most.div_ceil(threads))
        // The drain waits for the requests; this is for the connections that remain.
        .shutdown_timeout(1)
        .disable_signals();
    let ending = server.graceful_shutdown_signal();
    let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
    let server = server.listen("http", listener, move || {
        let (connections, tls) = (connections.clone(), tls.clone());
        let accept = fn_service(move |connection: TcpStream| {
            let (connections, tls) = (connections.clone(), tls.clone());
            async move {
                let peer = connection.peer_addr().ok();
                // If this fails, answers are merely slower.
                let _ = connection.set_nodelay(true);
                let transport = secure(connection, tls).await;
                let transport = transport.map_err(DispatchError::Io)?;
                Ok((connections.gated(transport, times), peer))
            }
        });
        let app = app().into_factory();
        let app = app.map_err(|error| error.into().error_response());
        let ending = ending.clone();
        let http = HttpService::build()
            .keep_alive(KeepAlive::Timeout(times.keep_alive))
            .client_request_timeout(times.head)
            .client_disconnect_timeout(DISCONNECT)
            .graceful_shutdown_signal(move || {
                let ending = ending.clone();
                async move { ending.notified().await }
            })
            .on_connect_ext(|connection: &Connection, data: &mut Extensions| {
                data.insert(connection.gate().turn());
            })
            .h1(map_config(app, |()| AppConfig::default()));
        let http = apply_fn_factory(http, |(connection, peer): Arrived, service| {
            let served = service.call((connection, peer));
            async move { served.await.inspect_err(|error| tell(error, peer)) }
        });
        // actix-http's own lines about this are left out of the log.
        let ended = |error| debug!(%error, "an HTTP connection ended");
        accept.and_then(http).map_err(ended)
    });
    Ok(server?.run())
}

type Arrived = (Connection, Option<SocketAddr>);

/// Counts a connection that ended because of what was sent. No request of it was read, so that
/// nobody knows whose it was.
fn tell(error: &DispatchError, peer: Option<SocketAddr>) {
    let reason = match error {
        DispatchError::Parse(ParseError::TooLarge) => metric::HEAD_TOO_LARGE,
        DispatchError::Parse(_) => metric::MALFORMED,
        DispatchError::SlowRequestTimeout => metric::TIMEOUT,
        // The gate's word for a head beyond its limit.
        DispatchError::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            metric::HEAD_TOO_LARGE
        }
        _ => return,
    };
    counter!(metric::HTTP_BROKEN, "reason" => reason).increment(1);
    let peer = peer.map(tracing::field::display);
    debug!(peer, reason, %error, "a connection ends without a request");
}

type Connection = Gated<Box<dyn Transport>, TurnGate>;

/// Performs the TLS handshake, if TLS is configured.
async fn secure(connection: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<Box<dyn Transport>> {
    Ok(match tls {
        None => Box::new(connection),
        Some(tls) => Box::new(timeout(HANDSHAKE_TIMEOUT, tls.accept(connection)).await??),
    })
}
