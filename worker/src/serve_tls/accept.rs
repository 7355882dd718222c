//! Connections as the gRPC server takes them: accepted, and with TLS shaken hands with.

use std::{io, sync::Arc};

use futures_util::{Stream, StreamExt, stream};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Duration, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{debug, warn};

use super::HANDSHAKE_TIMEOUT;

/// Handshakes under way at once; the next ones wait to be accepted.
const HANDSHAKES: usize = 512;
/// The system has no more descriptors or memory: those who are connected come first.
const PAUSE: Duration = Duration::from_millis(100);

/// Everybody who connects, for ever.
pub(crate) fn connections(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> {
    stream::unfold(listener, |listener| async {
        loop {
            match listener.accept().await {
                Ok((connection, _)) => {
                    // Without it it is merely slower.
                    let _ = connection.set_nodelay(true);
                    return Some((Ok(connection), listener));
                }
                // It was gone before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    warn!(%error, "cannot accept a gRPC connection");
                    sleep(PAUSE).await;
                }
            }
        }
    })
}

/// Everybody who connects and speaks TLS. One who is slow holds nobody up, until
/// [`HANDSHAKES`] are.
pub(crate) fn handshakes(
    listener: TcpListener,
    config: ServerConfig,
) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    connections(listener)
        .map(move |connection| {
            let acceptor = acceptor.clone();
            // A task each: the arithmetic of many handshakes is work for all cores.
            tokio::spawn(async move {
                let handshake = acceptor.accept(connection?);
                timeout(HANDSHAKE_TIMEOUT, handshake).await?
            })
        })
        .buffer_unordered(HANDSHAKES)
        .filter_map(async |handshake| match handshake {
            Ok(Ok(connection)) => Some(Ok(connection)),
            Ok(Err(error)) => {
                debug!(%error, "a TLS handshake failed");
                None
            }
            Err(_) => None,
        })
}
