//! One HTTP/2 connection to a dialed server.
//!
//! tonic's own channel does not tell how a connection ended. If a server sends GOAWAY,
//! the open stream ends as if the connection had been cut, and only the connection knows
//! the reason. A server that regards pings as abuse tells so in no other way.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use h2::{
    Ping, PingPong, Reason, RecvStream,
    client::{self, Builder, SendRequest},
};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{oneshot, watch},
    time::{sleep, timeout},
};
use tonic::{Code, Status, body::Body};
use tower::Service;

/// Time limit for the answer to a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Flow-control window: enough for a fast stream with a long round trip, and a bound on
/// its memory.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Time limit for the end of a connection, after the end of its stream.
const END: Duration = Duration::from_secs(1);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// Closed, with the reason of the server's GOAWAY if it sent one.
    Closed(Option<Reason>),
    /// A ping was not answered.
    Unanswered,
}

/// An open connection, which is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Bytes>,
    over: watch::Receiver<Option<Over>>,
    _held: oneshot::Sender<()>,
}

impl Connection {
    /// Performs the handshake, and pings every `keepalive` if that is set.
    pub(crate) async fn open<I>(io: I, keepalive: Option<Duration>) -> Result<Self, h2::Error>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(io)
            .await?;
        let (ended, over) = watch::channel(None);
        let (held, dropped) = oneshot::channel();
        tokio::spawn(drive(connection, keepalive, dropped, ended));
        Ok(Self {
            sender,
            over,
            _held: held,
        })
    }

    /// A handle to send requests over this connection.
    pub(crate) fn requests(&self) -> Requests {
        Requests(self.sender.clone())
    }

    /// How the connection ended, if it has ended or is about to.
    pub(crate) async fn over(&mut self) -> Option<Over> {
        let ended = timeout(END, self.over.wait_for(Option::is_some)).await;
        ended.ok()?.ok().and_then(|over| *over)
    }
}

/// Transfers the bytes of a connection until either side ends it.
async fn drive<I>(
    mut connection: client::Connection<I, Bytes>,
    keepalive: Option<Duration>,
    dropped: oneshot::Receiver<()>,
    ended: watch::Sender<Option<Over>>,
) where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let pings = connection.ping_pong();
    let mut connection = pin!(connection);
    let over = tokio::select! {
        result = &mut connection => Over::Closed(result.err().and_then(|error| error.reason())),
        () = ping(pings, keepalive) => Over::Unanswered,
        _ = dropped => {
            // Time to send GOAWAY; a server that has vanished never receives it.
            let _ = timeout(END, connection).await;
            return;
        }
    };
    ended.send_replace(Some(over));
}

/// Resolves when a ping has not been answered in time.
async fn ping(pings: Option<PingPong>, keepalive: Option<Duration>) {
    if let (Some(mut pings), Some(interval)) = (pings, keepalive) {
        loop {
            sleep(interval).await;
            match timeout(PING_TIMEOUT.min(interval), pings.ping(Ping::opaque())).await {
                Ok(Ok(_)) => {}
                // The connection has ended, and reports that itself.
                Ok(Err(_)) => break,
                Err(_) => return,
            }
        }
    }
    std::future::pending().await
}

/// A handle to send requests over a connection.
#[derive(Clone, Debug)]
pub(crate) struct Requests(SendRequest<Bytes>);

impl Service<http::Request<Body>> for Requests {
    type Response = http::Response<Received>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(BoxError::from)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let sender = self.0.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let head = http::Request::from_parts(parts, ());
            let (response, mut stream) = sender.ready().await?.send_request(head, false)?;
            stream.send_data(body, true)?;
            Ok(told(response.await?).map(Received))
        }
        .boxed()
    }
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

/// The body of a response. Reading it releases flow-control capacity.
#[derive(Debug)]
pub(crate) struct Received(RecvStream);

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let stream = &mut self.0;
        if let Some(data) = ready!(stream.poll_data(cx)) {
            let data = data.and_then(|data| {
                stream.flow_control().release_capacity(data.len())?;
                Ok(Frame::data(data))
            });
            return Poll::Ready(Some(data));
        }
        let trailers = ready!(stream.poll_trailers(cx)).transpose();
        Poll::Ready(trailers.map(|trailers| trailers.map(Frame::trailers)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}
