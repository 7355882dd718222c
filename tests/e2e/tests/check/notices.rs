//! A server that speaks `ppoppo_variant.proto` and says so by reflection. Its messages
//! are written down here once more, so that a worker that learnt them from the server is
//! met by code that never read them.

use anyhow::Result;
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use prost::Message;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::task::{Context, Poll};
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tonic_reflection::server::Builder;

const SERVICE: &str = "acme.notices.v2.NoticeService";
/// How many events there are; each was delivered to somebody.
pub(super) const EVENTS: u32 = 50;
/// The value of `What`.
const ARRIVED: i32 = 31;

pub(super) fn names() -> Result<String> {
    Ok(std::fs::read_to_string(folder().join("ppoppo_names.json"))?)
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../core/testdata/wire")
}

/// Serves it on any free port, for as long as the runtime runs.
pub(super) async fn serve() -> Result<SocketAddr> {
    let set = protox::compile(["ppoppo_variant.proto"], [folder()])?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?;
    let server = Server::builder()
        .add_service(
            Builder::configure()
                .register_file_descriptor_set(set)
                .build_v1()?,
        )
        .add_service(Notices)
        .serve_with_incoming(TcpIncoming::from(listener));
    tokio::spawn(server);
    Ok(at)
}

#[derive(Clone, PartialEq, Message)]
struct Ask {
    #[prost(message, optional, tag = "11")]
    since: Option<Since>,
}

#[derive(Clone, PartialEq, Message)]
struct Since {
    #[prost(string, tag = "1")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Batch {
    #[prost(message, repeated, tag = "3")]
    notices: Vec<Notice>,
}

#[derive(Clone, PartialEq, Message)]
struct Notice {
    #[prost(int32, tag = "1")]
    what: i32,
    #[prost(message, optional, tag = "2")]
    at: Option<At>,
    #[prost(message, optional, tag = "5")]
    who: Option<Person>,
    #[prost(string, tag = "15")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct At {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Person {
    #[prost(string, tag = "9")]
    number: String,
}

fn notice(number: u32) -> Notice {
    Notice {
        what: ARRIVED,
        at: Some(At {
            seconds: 1_793_566_800 + i64::from(number),
        }),
        who: Some(Person {
            number: format!("123{number:08}"),
        }),
        id: format!("01KCM1R300{number:016}"),
    }
}

#[derive(Clone)]
struct Notices;

impl NamedService for Notices {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for Notices {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let codec = ProstCodec::<Batch, Ask>::default();
        async move { Ok(Grpc::new(codec).server_streaming(Follow, request).await) }.boxed()
    }
}

struct Follow;

impl ServerStreamingService<Ask> for Follow {
    type Response = Batch;
    type ResponseStream = BoxStream<'static, Result<Batch, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Ask>) -> Self::Future {
        let since = request.into_inner().since.unwrap_or_default().value;
        let notices = (1..=EVENTS).map(notice).filter(|notice| notice.id > since);
        let batch = Batch {
            notices: notices.collect(),
        };
        let batches = stream::iter((!batch.notices.is_empty()).then_some(Ok(batch)));
        ready(Ok(Response::new(batches.chain(stream::pending()).boxed()))).boxed()
    }
}
