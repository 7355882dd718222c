//! Connections as the gRPC server takes them: accepted, and with TLS shaken hands with.
//!
//! They are counted. The next one after the last that may be open is closed at once: a
//! gRPC client then tries another address, or again later, rather than hang. One that
//! does not say what every client says first is closed too: pings, which find a peer that
//! has vanished, begin only after that.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::{Stream, StreamExt, stream};
use metrics::{counter, gauge};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Duration, Sleep, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use super::HANDSHAKE_TIMEOUT;
use crate::metric;

/// Handshakes under way at once; the next ones wait to be accepted.
const HANDSHAKES: usize = 512;
/// The system has no more descriptors or memory: those who are connected come first.
const PAUSE: Duration = Duration::from_millis(100);
/// The connection preface of HTTP/2 (RFC 9113, section 3.4).
const PREFACE: usize = 24;

/// Room for connections.
#[derive(Clone, Debug)]
pub(crate) struct Reception {
    places: Arc<Semaphore>,
    /// So long a connection may take for its first word.
    patience: Duration,
}

impl Reception {
    pub(crate) fn new(most: usize, patience: Duration) -> Self {
        Self {
            places: Arc::new(Semaphore::new(most)),
            patience,
        }
    }

    fn place(&self) -> Option<Place> {
        let permit = self.places.clone().try_acquire_owned();
        let Ok(permit) = permit else {
            counter!(metric::GRPC_REFUSED).increment(1);
            return None;
        };
        gauge!(metric::GRPC_CONNECTIONS).increment(1.0);
        Some(Place(permit))
    }

    fn welcome<C>(&self, connection: C, place: Place) -> Guest<C> {
        Guest {
            connection,
            silent: Some(Box::pin(sleep(self.patience))),
            read: 0,
            _place: place,
        }
    }
}

/// Counts a connection as open until it is dropped.
#[derive(Debug)]
struct Place(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Drop for Place {
    fn drop(&mut self) {
        gauge!(metric::GRPC_CONNECTIONS).decrement(1.0);
    }
}

/// Everybody who connects, for ever.
fn accepted(listener: TcpListener, reception: Reception) -> impl Stream<Item = (TcpStream, Place)> {
    stream::unfold((listener, reception), |(listener, reception)| async {
        loop {
            match listener.accept().await {
                Ok((connection, _)) => {
                    let Some(place) = reception.place() else {
                        continue;
                    };
                    // Without it it is merely slower.
                    let _ = connection.set_nodelay(true);
                    return Some(((connection, place), (listener, reception)));
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

/// Everybody who connects.
pub(crate) fn connections(
    listener: TcpListener,
    reception: Reception,
) -> impl Stream<Item = io::Result<Guest<TcpStream>>> {
    accepted(listener, reception.clone())
        .map(move |(connection, place)| Ok(reception.welcome(connection, place)))
}

/// Everybody who connects and speaks TLS. One who is slow holds nobody up, until
/// [`HANDSHAKES`] are.
pub(crate) fn handshakes(
    listener: TcpListener,
    config: ServerConfig,
    reception: Reception,
) -> impl Stream<Item = io::Result<Guest<TlsStream<TcpStream>>>> {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    accepted(listener, reception.clone())
        .map(move |(connection, place)| {
            let (acceptor, reception) = (acceptor.clone(), reception.clone());
            // A task each: the arithmetic of many handshakes is work for all cores.
            tokio::spawn(async move {
                let handshake = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(connection));
                io::Result::Ok(reception.welcome(handshake.await??, place))
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

/// A connection that has a place, and must speak to keep it.
#[derive(Debug)]
pub(crate) struct Guest<C> {
    connection: C,
    /// Until it has spoken.
    silent: Option<Pin<Box<Sleep>>>,
    read: usize,
    _place: Place,
}

impl<C> Connected for Guest<C> {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl<C: AsyncRead + Unpin> AsyncRead for Guest<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(silent) = &mut self.silent else {
            return Pin::new(&mut self.connection).poll_read(context, buffer);
        };
        if silent.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.connection).poll_read(context, buffer))?;
        self.read += buffer.filled().len() - before;
        if self.read >= PREFACE {
            self.silent = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Guest<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }
}
