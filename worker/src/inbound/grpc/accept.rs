//! The connections of the gRPC server: accepting them, and the TLS handshake.
//!
//! Open connections are counted. A connection beyond the limit takes the place of one that
//! has no push stream ([`places`](super::places)); if all have one, it is closed at once, so
//! that a gRPC client tries another address or retries later rather than hang. A connection
//! that does not send the preface is closed too, because pings, which detect a peer that
//! has vanished, begin only after the preface. So is a connection without a call for
//! long, because the number of connections is limited.

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
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Duration, Instant, Sleep, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{debug, warn};

use super::places::{Place, Places, Secured, Stay};
use crate::{
    inbound::{
        gate::{Gate, Gated},
        tls::HANDSHAKE_TIMEOUT,
    },
    process::seldom::Seldom,
};

/// Limit on concurrent handshakes; further connections wait to be accepted.
const HANDSHAKES: usize = 512;
/// Pause when the system has no more descriptors or memory, in favour of open
/// connections.
const PAUSE: Duration = Duration::from_millis(100);
/// The line that no connection can be accepted, which happens while too many are open.
static UNACCEPTED: Seldom = Seldom::new();
/// The connection preface of HTTP/2 (RFC 9113, section 3.4).
const PREFACE: usize = 24;

/// Limits on connections.
#[derive(Clone, Debug)]
pub(crate) struct Reception {
    places: Places,
    /// Time limit for the first bytes of a connection.
    patience: Duration,
    /// Time after which a connection without a call is closed, at the latest after twice
    /// this time.
    keep_alive: Duration,
}

impl Reception {
    pub(crate) fn new(most: usize, patience: Duration, keep_alive: Duration) -> Self {
        Self {
            places: Places::new(most),
            patience,
            keep_alive,
        }
    }

    fn welcome<C>(&self, connection: C, (peer, place): Arrived) -> Gated<C, CallGate> {
        let gate = CallGate {
            deadline: Box::pin(sleep(self.patience)),
            keep_alive: self.keep_alive,
            read: 0,
            calls: Calls {
                counts: Arc::default(),
                stay: place.stay(),
                peer,
            },
            seen: 0,
            _place: place,
        };
        Gated::new(connection, gate)
    }
}

/// Address of a peer that has connected, and its place.
type Arrived = (SocketAddr, Place);

/// The accepted connections, for ever.
fn accepted(
    listener: TcpListener,
    reception: Reception,
) -> impl Stream<Item = (TcpStream, Arrived)> {
    stream::unfold((listener, reception), |(listener, reception)| async {
        loop {
            match listener.accept().await {
                Ok((connection, peer)) => {
                    let Some(place) = reception.places.enter(peer.ip()).await else {
                        continue;
                    };
                    // If this fails, the connection is merely slower.
                    let _ = connection.set_nodelay(true);
                    let arrived = (peer, place);
                    return Some(((connection, arrived), (listener, reception)));
                }
                // The client was gone before its connection was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if let Some(suppressed) = UNACCEPTED.pass() {
                        warn!(%error, suppressed, "cannot accept gRPC connections");
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    })
}

/// The accepted connections.
pub(crate) fn connections(
    listener: TcpListener,
    reception: Reception,
) -> impl Stream<Item = io::Result<Gated<TcpStream, CallGate>>> {
    accepted(listener, reception.clone())
        .map(move |(connection, arrived)| Ok(reception.welcome(connection, arrived)))
}

/// The accepted connections after their TLS handshake. A slow handshake does not delay
/// others, unless [`HANDSHAKES`] are slow.
pub(crate) fn handshakes(
    listener: TcpListener,
    config: ServerConfig,
    reception: Reception,
) -> impl Stream<Item = io::Result<Gated<TlsStream<TcpStream>, CallGate>>> {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    accepted(listener, reception.clone())
        .map(move |(connection, (peer, place))| {
            let (acceptor, reception) = (acceptor.clone(), reception.clone());
            // Each handshake is a task, so that the computation of many handshakes uses
            // all cores.
            tokio::spawn(async move {
                let handshake = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(connection));
                let connection = tokio::select! {
                    connection = handshake => connection??,
                    () = place.stay().over() => {
                        return Err(io::ErrorKind::ConnectionAborted.into());
                    }
                };
                io::Result::Ok(reception.welcome(connection, (peer, place)))
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
    stay: Stay,
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

    /// Resolves when the connection has to leave in favour of another.
    pub(super) async fn over(&self) {
        self.stay.clone().over().await;
    }

    /// Keeps the connection from having to leave in favour of another, as long as it has an
    /// open push stream.
    pub(super) fn secure(&self) -> Secured {
        self.stay.secure()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.counts.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Admits reads as long as the connection is used: it must send the preface, and make
/// calls.
#[derive(Debug)]
pub(crate) struct CallGate {
    /// When the use of the connection is checked.
    deadline: Pin<Box<Sleep>>,
    keep_alive: Duration,
    /// Bytes of the preface that were read.
    read: usize,
    calls: Calls,
    /// Number of calls at the last check.
    seen: usize,
    _place: Place,
}

impl CallGate {
    pub(super) fn calls(&self) -> Calls {
        self.calls.clone()
    }

    fn has_spoken(&self) -> bool {
        self.read >= PREFACE
    }

    /// Whether there was a call since the last check.
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
