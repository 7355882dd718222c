//! A server of Ppoppo's event stream, over a real socket.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use prost::Message;
use tidings_proto::ppoppo::{
    CursorExpired, SendRequestEvent, SendRequestEventFrame, StreamSendRequestEventsRequest,
    send_request_event_frame::Frame,
};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, ServerStreamingService},
    transport::{Server, ServerTlsConfig, server::TcpIncoming},
};
use tower::Service;

use crate::wire::codec::Raw;

/// What was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Called {
    /// Which call it is, from 1.
    pub(crate) number: usize,
    pub(crate) path: String,
    pub(crate) authorization: String,
    pub(crate) after: Option<String>,
    pub(crate) send_request_id: Option<String>,
}

pub(crate) type Events = BoxStream<'static, Result<Bytes, Status>>;
type Script = dyn Fn(&Called) -> Result<Events, Status> + Send + Sync;

#[derive(Clone)]
pub(crate) struct Chat {
    pub(crate) address: SocketAddr,
    called: Arc<Mutex<Vec<Called>>>,
}

impl Chat {
    pub(crate) async fn start(
        tls: Option<ServerTlsConfig>,
        script: impl Fn(&Called) -> Result<Events, Status> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let chat = Self {
            address: listener.local_addr().unwrap(),
            called: Arc::default(),
        };
        let handler = Handler {
            called: chat.called.clone(),
            script: Arc::new(script),
        };
        let mut server = Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).unwrap();
        }
        tokio::spawn(async move {
            let incoming = TcpIncoming::from(listener);
            server.serve_with_incoming(handler, incoming).await.unwrap();
        });
        chat
    }

    pub(crate) fn called(&self) -> Vec<Called> {
        self.called.lock().unwrap().clone()
    }
}

/// A frame with one event of this id.
pub(crate) fn event(id: &str) -> Bytes {
    let event = SendRequestEvent {
        event_id: id.to_owned(),
        ..Default::default()
    };
    framed(&event.encode_to_vec())
}

/// A frame with the bytes of one event, whatever they are.
pub(crate) fn framed(event: &[u8]) -> Bytes {
    const EVENT: u8 = 1 << 3 | 2;
    let length = u8::try_from(event.len()).unwrap();
    assert!(length < 0x80, "one byte says how long it is");
    [&[EVENT, length], event].concat().into()
}

/// A frame that says that the stream is alive.
pub(crate) fn keep_alive() -> Bytes {
    const KEEP_ALIVE: u8 = 2 << 3 | 2;
    Bytes::from_static(&[KEEP_ALIVE, 0])
}

/// A frame that says that the cursor has expired, with these words.
pub(crate) fn expired(words: &str) -> Bytes {
    let frame = SendRequestEventFrame {
        frame: Some(Frame::CursorExpired(CursorExpired {
            detail: words.to_owned(),
        })),
    };
    frame.encode_to_vec().into()
}

/// These frames, before the rest of a stream.
pub(crate) fn first(frames: impl IntoIterator<Item = Bytes>, rest: Events) -> Events {
    let frames: Vec<_> = frames.into_iter().map(Ok).collect();
    stream::iter(frames).chain(rest).boxed()
}

/// Events of these ids, and then the stream ends.
pub(crate) fn events(ids: impl IntoIterator<Item = impl AsRef<str>>) -> Events {
    let events: Vec<_> = ids.into_iter().map(|id| Ok(event(id.as_ref()))).collect();
    stream::iter(events).boxed()
}

/// Events of these ids, and then nothing more.
pub(crate) fn open(ids: impl IntoIterator<Item = impl AsRef<str>>) -> Events {
    events(ids).chain(stream::pending()).boxed()
}

#[derive(Clone)]
struct Handler {
    called: Arc<Mutex<Vec<Called>>>,
    script: Arc<Script>,
}

impl Service<http::Request<Body>> for Handler {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let call = Call {
            path: request.uri().path().to_owned(),
            handler: self.clone(),
        };
        async move { Ok(Grpc::new(Raw).server_streaming(call, request).await) }.boxed()
    }
}

struct Call {
    path: String,
    handler: Handler,
}

impl ServerStreamingService<Bytes> for Call {
    type Response = Bytes;
    type ResponseStream = Events;
    type Future = BoxFuture<'static, Result<Response<Events>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let authorization = request.metadata().get("authorization");
        let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
        let asked = StreamSendRequestEventsRequest::decode(request.into_inner()).unwrap();
        let called = {
            let mut all = self.handler.called.lock().unwrap();
            let called = Called {
                number: all.len() + 1,
                path: self.path.clone(),
                authorization: authorization.unwrap_or_default(),
                after: asked.after_event_id,
                send_request_id: asked.send_request_id,
            };
            all.push(called.clone());
            called
        };
        let answer = (self.handler.script)(&called);
        async move { answer.map(Response::new) }.boxed()
    }
}
