//! A server of an event stream that may offer reflection, over a real socket.

use std::{
    convert::Infallible,
    net::SocketAddr,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{
    FutureExt, StreamExt,
    future::{self, BoxFuture},
    stream::{self, BoxStream},
};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, ServerStreamingService},
    service::Routes,
    transport::{Server, ServerTlsConfig, server::TcpIncoming},
};
use tonic_reflection::server::Builder;
use tower::Service;

use crate::wire::codec::Raw;

pub(crate) const TOKEN: &str = "a-token-of-a-test";
pub(crate) const PREFIX: &str = "/ext";
pub(crate) const METHOD: &str = "/pcs.external.v1.MessageService/StreamSendRequestEvents";

/// `core/testdata/wire/ppoppo_variant.proto`.
pub(crate) const VARIANT: &str = "/acme.notices.v2.NoticeService/FollowNotices";
const VARIANT_PROTO: &str = include_str!("../../../../core/testdata/wire/ppoppo_variant.proto");
pub(crate) const VARIANT_NAMES: &str =
    include_str!("../../../../core/testdata/wire/ppoppo_names.json");

pub(crate) fn documented() -> Vec<u8> {
    tidings_proto::DESCRIPTOR_SET.to_vec()
}

pub(crate) fn variant() -> Vec<u8> {
    tidings_core::wire::compile(VARIANT_PROTO).unwrap()
}

/// What the server does.
#[derive(Clone, Default)]
pub(crate) struct Play {
    /// Method of the stream; if it is empty, there is none.
    pub(crate) method: String,
    pub(crate) first: First,
    /// What it describes, if it offers reflection.
    pub(crate) described: Option<Vec<u8>>,
    pub(crate) only_alpha: bool,
}

#[derive(Clone, Default)]
pub(crate) enum First {
    /// The call is accepted, and nothing comes.
    #[default]
    Nothing,
    /// Not even that.
    Unanswered,
    Event(Bytes),
    End,
    Status(Status),
}

impl Play {
    pub(crate) async fn start(self, tls: Option<ServerTlsConfig>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let others = self.described.as_deref().map(|set| {
            let builder = Builder::configure().register_encoded_file_descriptor_set(set);
            let routes = if self.only_alpha {
                Routes::new(builder.build_v1alpha().unwrap())
            } else {
                Routes::new(builder.build_v1().unwrap())
            };
            routes.prepare()
        });
        let mut server = Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).unwrap();
        }
        let handler = Handler { play: self, others };
        tokio::spawn(async move {
            let incoming = TcpIncoming::from(listener);
            server.serve_with_incoming(handler, incoming).await.unwrap();
        });
        address
    }
}

#[derive(Clone)]
struct Handler {
    play: Play,
    others: Option<Routes>,
}

impl Service<http::Request<Body>> for Handler {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let refuse = |status: Status| future::ready(Ok(status.into_http())).boxed();
        let shown = request.headers().get("authorization").cloned();
        let shown = shown.and_then(|value| value.to_str().map(str::to_owned).ok());
        if shown.as_deref() != Some(format!("Bearer {TOKEN}").as_str()) {
            // A server may repeat what it was sent.
            let shown = shown.unwrap_or_default();
            return refuse(Status::unauthenticated(format!("{shown} is no token")));
        }
        let Some(path) = request.uri().path().strip_prefix(PREFIX).map(str::to_owned) else {
            return refuse(Status::unimplemented("the prefix is missing"));
        };
        if let Some(mut others) = self.others.clone()
            && path.starts_with("/grpc.reflection.")
        {
            *request.uri_mut() = path.parse().unwrap();
            return async move { others.call(request).await }.boxed();
        }
        if path != self.play.method {
            return refuse(Status::unimplemented(format!("{path} is no method")));
        }
        let stream = Stream(self.play.first.clone());
        async move { Ok(Grpc::new(Raw).server_streaming(stream, request).await) }.boxed()
    }
}

struct Stream(First);

impl ServerStreamingService<Bytes> for Stream {
    type Response = Bytes;
    type ResponseStream = BoxStream<'static, Result<Bytes, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, _: Request<Bytes>) -> Self::Future {
        let answer = match self.0.clone() {
            First::Nothing => stream::pending().boxed(),
            First::Unanswered => return future::pending().boxed(),
            First::Event(event) => stream::iter([Ok(event)]).chain(stream::pending()).boxed(),
            First::End => stream::empty().boxed(),
            First::Status(status) => return future::ready(Err(status)).boxed(),
        };
        future::ready(Ok(Response::new(answer))).boxed()
    }
}
