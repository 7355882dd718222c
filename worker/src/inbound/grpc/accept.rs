//! Connections as the gRPC server takes them: accepted, and with TLS shaken hands with.
//!
//! They are counted. The next one after the last that may be open is closed at once: a
//! gRPC client then tries another address, or again later, rather than hang. One that
//! does not say what every client says first is closed too: pings, which find a peer that
//! has vanished, begin only after that. So is one without a call for long: places are for
//! those who use them.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt, stream};
use metrics::{counter, gauge};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Duration, Instant, Sleep, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use crate::{
    inbound::{
        gate::{Gate, Gated},
        tls::HANDSHAKE_TIMEOUT,
    },
    process::metric,
};

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
    /// So long it may be without a call, and twice as long at most.
    keep_alive: Duration,
}

impl Reception {
    pub(crate) fn new(most: usize, patience: Duration, keep_alive: Duration) -> Self {
        Self {
            places: Arc::new(Semaphore::new(most)),
            patience,
            keep_alive,
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

    fn welcome<C>(&self, connection: C, (peer, place): Arrived) -> Gated<C, CallGate> {
        let gate = CallGate {
            deadline: Box::pin(sleep(self.patience)),
            keep_alive: self.keep_alive,
            read: 0,
            calls: Calls {
                counts: Arc::default(),
                peer,
            },
            seen: 0,
            _place: place,
        };
        Gated::new(connection, gate)
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

/// Address of a peer that has connected, and its place.
type Arrived = (SocketAddr, Place);

/// Everybody who connects, for ever.
fn accepted(
    listener: TcpListener,
    reception: Reception,
) -> impl Stream<Item = (TcpStream, Arrived)> {
    stream::unfold((listener, reception), |(listener, reception)| async {
        loop {
            match listener.accept().await {
                Ok((connection, peer)) => {
                    let Some(place) = reception.place() else {
                        continue;
                    };
                    // Without it it is merely slower.
                    let _ = connection.set_nodelay(true);
                    let arrived = (peer, place);
                    return Some(((connection, arrived), (listener, reception)));
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
) -> impl Stream<Item = io::Result<Gated<TcpStream, CallGate>>> {
    accepted(listener, reception.clone())
        .map(move |(connection, arrived)| Ok(reception.welcome(connection, arrived)))
}

/// Everybody who connects and speaks TLS. One who is slow holds nobody up, until
/// [`HANDSHAKES`] are.
pub(crate) fn handshakes(
    listener: TcpListener,
    config: ServerConfig,
    reception: Reception,
) -> impl Stream<Item = io::Result<Gated<TlsStream<TcpStream>, CallGate>>> {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    accepted(listener, reception.clone())
        .map(move |(connection, arrived)| {
            let (acceptor, reception) = (acceptor.clone(), reception.clone());
            // A task each: the arithmetic of many handshakes is work for all cores.
            tokio::spawn(async move {
                let handshake = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(connection));
                io::Result::Ok(reception.welcome(handshake.await??, arrived))
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

/// The calls of a connection, and who makes them.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    counts: Arc<Counts>,
    pub(crate) peer: SocketAddr,
}

#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    all: AtomicUsize,
}

/// A call, until it is dropped.
#[derive(Debug)]
pub(crate) struct Call(Calls);

impl Calls {
    pub(crate) fn begin(&self) -> Call {
        self.counts.open.fetch_add(1, Ordering::Relaxed);
        self.counts.all.fetch_add(1, Ordering::Relaxed);
        Call(self.clone())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.counts.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets a connection be read for as long as it keeps its place: it must speak, and call.
#[derive(Debug)]
pub(crate) struct CallGate {
    /// When it is looked at whether it does.
    deadline: Pin<Box<Sleep>>,
    keep_alive: Duration,
    /// Bytes of its first word.
    read: usize,
    calls: Calls,
    /// How many calls there had been at the last look.
    seen: usize,
    _place: Place,
}

impl CallGate {
    fn has_spoken(&self) -> bool {
        self.read >= PREFACE
    }

    /// Whether there was a call since the last look.
    fn look(&mut self) -> bool {
        let all = self.calls.counts.all.load(Ordering::Relaxed);
        let before = std::mem::replace(&mut self.seen, all);
        all != before || self.calls.counts.open.load(Ordering::Relaxed) > 0
    }

    fn look_later(&mut self) {
        let later = Instant::now() + self.keep_alive;
        self.deadline.as_mut().reset(later);
    }
}

impl Gate for CallGate {
    fn admit(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.deadline.as_mut().poll(context).is_ready() {
            if !self.has_spoken() || !self.look() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.look_later();
        }
        Poll::Ready(Ok(()))
    }

    fn note(&mut self, bytes: usize) {
        if self.has_spoken() {
            return;
        }
        self.read += bytes;
        if self.has_spoken() {
            self.look_later();
        }
    }
}

impl<C> Connected for Gated<C, CallGate> {
    type ConnectInfo = Calls;

    fn connect_info(&self) -> Calls {
        self.gate().calls.clone()
    }
}
