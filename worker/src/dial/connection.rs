//! One HTTP/2 connection to a dialed server.
//!
//! tonic's own channel does not tell how a connection ended. If a server sends GOAWAY,
//! the open stream ends as if the connection had been cut, and only the connection knows
//! the reason. A server that regards pings as abuse tells so in no other way. And only the
//! connection knows whether the server ended it, or the worker because of a limit of its
//! own.

use std::{
    pin::pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture, future::poll_fn};
use h2::{
    Reason,
    client::{self, Builder, ResponseFuture, SendRequest},
};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use tonic::{Code, Status, body::Body};
use tower::Service;

use crate::wire::flow::{FRAME_BUDGET, Inlet, Pumps, Ration, Rationed, inlet, unanswered};

/// Time limit for the answer to a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Flow-control window: enough for a fast stream with a long round trip, and a bound on
/// its memory.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Time limit for the end of a connection, after the end of its stream.
const END: Duration = Duration::from_secs(1);
/// Limit on calls that the connection's task has not seen yet; further ones wait.
const CALLS: usize = 8;
/// Number of times that a connection is polled in a row before other tasks have their turn.
const ROUNDS: usize = 16;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// Closed, with the reason of the server's GOAWAY if it sent one.
    Closed(Option<Reason>),
    /// Ended by this side, because of a rule or a limit that it has itself. The text is the
    /// library's.
    Ours(String),
    /// A ping was not answered.
    Unanswered,
}

impl Over {
    fn from_end(end: Result<(), h2::Error>) -> Self {
        match end {
            Err(error) if error.is_library() => Self::Ours(error.to_string()),
            Err(error) if error.is_remote() => Self::Closed(error.reason()),
            _ => Self::Closed(None),
        }
    }
}

/// An open connection, which is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    requests: Requests,
    over: watch::Receiver<Option<Over>>,
    _held: oneshot::Sender<()>,
}

impl Connection {
    /// Performs the handshake, and pings every `keepalive` if that is set.
    pub(crate) async fn open<I>(io: I, keepalive: Option<Duration>) -> Result<Self, h2::Error>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let ration = Ration::new();
        let (sender, connection) = Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .data_frame_budget(FRAME_BUDGET)
            .handshake(Rationed::new(io, ration.clone()))
            .await?;
        let (ended, over) = watch::channel(None);
        let (held, dropped) = oneshot::channel();
        let (calls, called) = mpsc::channel(CALLS);
        let driven = Driven {
            connection,
            pumps: Pumps::new(ration),
            called,
        };
        tokio::spawn(drive(driven, keepalive, dropped, ended));
        Ok(Self {
            requests: Requests { sender, calls },
            over,
            _held: held,
        })
    }

    /// A handle to send requests over this connection.
    pub(crate) fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// How the connection ended, if it has ended or is about to.
    pub(crate) async fn over(&mut self) -> Option<Over> {
        let ended = timeout(END, self.over.wait_for(Option::is_some)).await;
        ended.ok()?.ok().and_then(|over| over.clone())
    }
}

/// A call, in the hands of the connection's task: so that what arrives after the head of
/// the response is taken off the library from its first frame on.
#[derive(Debug)]
struct Called {
    response: ResponseFuture,
    answer: oneshot::Sender<Result<http::Response<Inlet>, h2::Error>>,
}

impl Called {
    /// Hands over the response, and then what arrives after it, until it has ended or
    /// nobody wants it any more.
    async fn run(self) {
        let mut answer = self.answer;
        let response = tokio::select! {
            response = self.response => response,
            () = answer.closed() => return,
        };
        match response {
            Ok(response) => {
                let (head, body) = response.into_parts();
                let (pump, body) = inlet(body);
                if answer
                    .send(Ok(http::Response::from_parts(head, body)))
                    .is_ok()
                {
                    pump.await;
                }
            }
            Err(error) => {
                let _ = answer.send(Err(error));
            }
        }
    }
}

/// A connection with what arrives over it.
struct Driven<I: AsyncRead + AsyncWrite + Unpin> {
    connection: client::Connection<Rationed<I>, Bytes>,
    pumps: Pumps,
    /// The calls that were made.
    called: mpsc::Receiver<Called>,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Driven<I> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        for _ in 0..ROUNDS {
            while let Poll::Ready(Some(called)) = self.called.poll_recv(context) {
                self.pumps.push(called.run());
            }
            let polled = self.connection.poll_unpin(context);
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

/// Transfers the bytes of a connection until either side ends it.
async fn drive<I>(
    mut driven: Driven<I>,
    keepalive: Option<Duration>,
    dropped: oneshot::Receiver<()>,
    ended: watch::Sender<Option<Over>>,
) where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let pings = driven.connection.ping_pong();
    let mut driving = pin!(poll_fn(|context| driven.poll(context)));
    let over = tokio::select! {
        result = &mut driving => Over::from_end(result),
        () = unanswered(pings, keepalive, PING_TIMEOUT) => Over::Unanswered,
        _ = dropped => {
            // Time to send GOAWAY; a server that has vanished never receives it.
            let _ = timeout(END, driving).await;
            return;
        }
    };
    ended.send_replace(Some(over));
}

/// A handle to send requests over a connection.
#[derive(Clone, Debug)]
pub(crate) struct Requests {
    sender: SendRequest<Bytes>,
    calls: mpsc::Sender<Called>,
}

impl Service<http::Request<Body>> for Requests {
    type Response = http::Response<Inlet>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.sender.poll_ready(cx).map_err(BoxError::from)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Self { sender, calls } = self.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let head = http::Request::from_parts(parts, ());
            let (response, mut stream) = sender.ready().await?.send_request(head, false)?;
            let (answer, answered) = oneshot::channel();
            let called = Called { response, answer };
            calls.send(called).await.map_err(|_| over())?;
            stream.send_data(body, true)?;
            let response = answered.await.map_err(|_| over())?;
            Ok(told(response?))
        }
        .boxed()
    }
}

/// The error of a call whose connection has ended without a word about it.
fn over() -> h2::Error {
    Reason::CANCEL.into()
}

/// Maps an HTTP error of a proxy before the server to the status that gRPC specifies
/// (doc/http-grpc-status-mapping.md). The body of such an error is a page for people. If
/// it were read as messages, it would hide the cause, and the call would count as
/// accepted by the server.
fn told<T>(mut response: http::Response<T>) -> http::Response<T> {
    let status = response.status();
    if status == http::StatusCode::OK || response.headers().contains_key(Status::GRPC_STATUS) {
        return response;
    }
    let code = match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502..=504 => Code::Unavailable,
        _ => Code::Unknown,
    };
    let words = format!(
        "it answers HTTP {}, which is no gRPC server's answer",
        status.as_u16()
    );
    // The message is plain ASCII, which is valid in a header.
    let _ = Status::new(code, words).add_header(response.headers_mut());
    response
}
