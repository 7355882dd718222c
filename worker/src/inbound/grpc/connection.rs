//! One HTTP/2 connection of the gRPC server.
//!
//! tonic's own server reads a call only when its messages are wanted, and gives the peer new
//! capacity as soon as it has read. Then the library's limit on unread frames acts before
//! flow control does ([`flow`](crate::wire::flow)), and nothing bounds how long replies may
//! wait for their reader. So the worker drives its connections itself; tonic encodes and
//! decodes the messages of the calls.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::poll_fn;
use h2::{RecvStream, server};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::body::Body;
use tracing::debug;

use super::{
    accept::{CallGate, Calls},
    gateway::Gateway,
    reply::answer,
};
use crate::{
    inbound::gate::Gated,
    process::drain::Drain,
    wire::flow::{FRAME_BUDGET, Pumps, Ration, Rationed, inlet, unanswered},
};

/// Interval of pings, which detect a peer that has vanished.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Flow-control windows of one call and of one connection, in bytes, because what has arrived
/// and is not read is not in the budget.
const STREAM_WINDOW: u32 = 128 << 10;
pub(super) const CONNECTION_WINDOW: u32 = 256 << 10;
/// Limit on the bytes of a call's replies that wait in the library.
pub(super) const SEND_BUFFER: usize = 16 << 10;
/// Limit on the headers of one call, in bytes.
pub(super) const HEADERS: u32 = 16 << 10;
/// Limit on the calls of one connection that were reset before they were handled; beyond
/// it the connection is closed.
const RESETS: usize = 32;
/// Number of times that a connection is polled in a row before other tasks have their turn.
const ROUNDS: usize = 16;

/// The common part of all connections.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) gateway: Gateway,
    pub(super) drain: Drain,
    /// Limit on the calls of one connection.
    pub(super) streams: u32,
    /// Time limit for the reader of a reply.
    pub(super) patience: Duration,
}

type Accepted = (Request<RecvStream>, server::SendResponse<Bytes>);

impl Service {
    /// Serves the calls of a connection until it ends. When the drain begins, it takes no
    /// further calls, and ends with the last of its calls.
    pub(super) async fn serve<C>(self, connection: Gated<C, CallGate>)
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let calls = connection.gate().calls();
        if let Err(error) = self.run(connection, &calls).await {
            debug!(%error, peer = %calls.peer, "a gRPC connection broke");
        }
    }

    async fn run<C>(self, connection: Gated<C, CallGate>, calls: &Calls) -> Result<(), h2::Error>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let ration = Ration::new();
        let handshake = server::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(self.streams)
            .max_header_list_size(HEADERS)
            .max_send_buffer_size(SEND_BUFFER)
            .max_pending_accept_reset_streams(RESETS)
            .max_local_error_reset_streams(Some(RESETS))
            .data_frame_budget(FRAME_BUDGET)
            .handshake(Rationed::new(connection, ration.clone()));
        let mut connection = tokio::select! {
            connection = handshake => connection?,
            // It has said nothing yet.
            () = calls.over() => return Ok(()),
        };
        let pings = connection.ping_pong();
        let mut driven = Driven {
            connection,
            pumps: Pumps::new(ration),
        };
        let mut dead = std::pin::pin!(unanswered(pings, Some(PING_INTERVAL), PING_TIMEOUT));
        let mut stopping = std::pin::pin!(self.drain.begun());
        let mut over = std::pin::pin!(calls.over());
        let mut is_stopping = false;
        loop {
            tokio::select! {
                accepted = poll_fn(|context| driven.poll(context)) => match accepted {
                    Some(accepted) => driven.pumps.push(self.call(accepted?, calls)),
                    None => return Ok(()),
                },
                () = &mut stopping, if !is_stopping => {
                    is_stopping = true;
                    driven.connection.graceful_shutdown();
                }
                () = &mut over => {
                    debug!(peer = %calls.peer, "a gRPC connection is closed in favour of another");
                    return Ok(());
                }
                () = &mut dead => {
                    debug!(peer = %calls.peer, "a gRPC client does not answer pings");
                    return Ok(());
                }
            }
        }
    }

    /// Begins to answer a call, and returns the pump of what arrives in it.
    fn call(
        &self,
        (request, respond): Accepted,
        calls: &Calls,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (head, body) = request.into_parts();
        let (pump, body) = inlet(body);
        let request = Request::from_parts(head, Body::new(body));
        let open = calls.begin();
        let answering = self.gateway.clone().call(request, calls);
        let patience = self.patience;
        tokio::spawn(async move {
            answer(respond, answering, patience).await;
            // The connection is in use until here.
            drop(open);
        });
        pump
    }
}

/// A connection with what arrives over it.
struct Driven<C: AsyncRead + AsyncWrite + Unpin> {
    connection: server::Connection<Rationed<C>, Bytes>,
    pumps: Pumps,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Driven<C> {
    /// The next call; `None` at the end of the connection.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Accepted, h2::Error>>> {
        for _ in 0..ROUNDS {
            let polled = self.connection.poll_accept(context);
            let has_more = self.pumps.poll(context);
            if polled.is_ready() {
                return polled;
            }
            if !has_more {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
