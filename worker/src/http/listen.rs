//! The HTTP server's connections: accepted, with TLS shaken hands with, and served.
//!
//! actix-web's own server has no place for a [`Guest`], so its parts are put together here.

use std::{fmt, io, net::TcpListener, sync::Arc, time::Duration};

use actix_http::{Extensions, HttpService, KeepAlive, Request, Response, error::DispatchError};
use actix_server::{GracefulShutdownSignal, Server};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, fn_service, map_config,
};
use actix_web::{body::MessageBody, dev::AppConfig};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::guest::{Guest, Guests, Times};
use crate::serve_tls::HANDSHAKE_TIMEOUT;

/// Connections beyond those that are kept alive, each for one answer: room to serve
/// whoever is waiting, however many others are idle.
pub(crate) const SURPLUS: usize = 256;
/// For a client to close its side after ours.
const DISCONNECT: Duration = Duration::from_secs(1);

/// How connections are taken.
#[derive(Clone)]
struct Reception {
    guests: Guests,
    times: Times,
    ending: GracefulShutdownSignal,
}

/// Serves what `app` makes, on `listener`, until the returned server is stopped.
pub(super) fn serve<F, I, S, B>(
    listener: TcpListener,
    tls: Option<ServerConfig>,
    (guests, times): (Guests, Times),
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
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let most = guests.most() + SURPLUS;
    let server = Server::build()
        .workers(workers)
        .max_concurrent_connections(most.div_ceil(workers))
        // The drain waits for the requests; this is for what it did not wait for.
        .shutdown_timeout(1)
        .disable_signals();
    let reception = Reception {
        guests,
        times,
        ending: server.graceful_shutdown_signal(),
    };
    let server = match tls {
        None => server.listen("http", listener, move || {
            let times = reception.times;
            reception.clone().service(app(), move |connection, guests| {
                std::future::ready(Ok(guests.welcome(connection, times)))
            })
        }),
        Some(config) => {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            server.listen("https", listener, move || {
                let (acceptor, times) = (acceptor.clone(), reception.times);
                reception.clone().service(app(), move |connection, guests| {
                    let acceptor = acceptor.clone();
                    async move {
                        let handshake = acceptor.accept(connection);
                        let connection = timeout(HANDSHAKE_TIMEOUT, handshake).await??;
                        Ok(guests.welcome(connection, times))
                    }
                })
            })
        }
    };
    Ok(server?.run())
}

impl Reception {
    /// A connection's service: received by `receive`, then served by `app`.
    fn service<C, R, T, I, S, B>(
        self,
        app: I,
        receive: R,
    ) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()>
    where
        C: AsyncRead + AsyncWrite + Unpin + 'static,
        R: Fn(TcpStream, Guests) -> T + Clone + 'static,
        T: Future<Output = io::Result<Guest<C>>> + 'static,
        I: IntoServiceFactory<S, Request>,
        S: ServiceFactory<Request, Config = AppConfig> + 'static,
        S::Error: Into<actix_web::Error> + 'static,
        S::InitError: fmt::Debug,
        S::Response: Into<Response<B>> + 'static,
        <S::Service as Service<Request>>::Future: 'static,
        S::Service: 'static,
        B: MessageBody + 'static,
    {
        let Self {
            guests,
            times,
            ending,
        } = self;
        let app = app.into_factory();
        let app = app.map_err(|error| error.into().error_response());
        let http = HttpService::build()
            .keep_alive(KeepAlive::Timeout(times.keep_alive))
            .client_request_timeout(times.head)
            .client_disconnect_timeout(DISCONNECT)
            .graceful_shutdown_signal(move || {
                let ending = ending.clone();
                async move { ending.notified().await }
            })
            .on_connect_ext(|guest: &Guest<C>, data: &mut Extensions| {
                data.insert(guest.turn());
            })
            .h1(map_config(app, |()| AppConfig::default()));
        fn_service(move |connection: TcpStream| {
            let peer = connection.peer_addr().ok();
            // Without it an answer is merely slower.
            let _ = connection.set_nodelay(true);
            let guest = receive(connection, guests.clone());
            async move { Ok((guest.await.map_err(DispatchError::Io)?, peer)) }
        })
        .and_then(http)
    }
}
