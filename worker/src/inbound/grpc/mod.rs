//! The gRPC server: the push service, health and reflection behind one port. Sources
//! with a schema of their own are served by its method, beside the one that is known.

pub(crate) mod accept;
mod ending;
mod meter;
pub(crate) mod push;
mod route;

use std::{
    collections::BTreeSet,
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use rustls::ServerConfig;
use tokio::{net::TcpListener, sync::watch, time::sleep};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    server::{Grpc, StreamingService},
    service::Routes,
    transport::Server,
};
use tonic_health::{ServingStatus, server::HealthReporter};
use tonic_reflection::server::Builder;
use tower::Service;

pub(crate) use self::meter::Bounds;
use self::{
    accept::{Calls, Reception, connections, handshakes},
    ending::until_drained,
    meter::{Meter, Metered},
    push::{Push, Received, Target},
};
use crate::{
    admission::budget::Payer,
    sources::source::{Database, Snapshot},
    wire::codec::Raw,
};

/// Finds a peer that has vanished.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes that one call, and one connection, may have on the way here: what is not read
/// yet is not in the budget.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 512 << 10;
/// Of a call's headers.
const HEADERS: u32 = 16 << 10;
/// Calls that were reset before anybody looked at them, by one connection: beyond it the
/// connection ends.
const RESETS: usize = 32;
/// Of a message to health and reflection, which are for everybody.
const QUESTION: usize = 4 << 10;
/// For connections to close when nothing is in flight any more: whoever does not close its
/// own, or has vanished, does not hold up the end.
const GOODBYE: Duration = Duration::from_secs(2);

/// What those who call may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GrpcLimits {
    pub(crate) connections: usize,
    /// Calls of one connection.
    pub(crate) streams: u32,
    /// For a connection's first word.
    pub(crate) silence: Duration,
    /// For a connection without a call.
    pub(crate) keep_alive: Duration,
    pub(crate) messages: Bounds,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Serves until the drain begins, and then until what is in flight has ended.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<ServerConfig>,
    push: Push,
    limits: GrpcLimits,
    snapshot: watch::Receiver<Snapshot>,
) -> Result<(), BoxError> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let service = push.schema.service().to_owned();
    let mut health_of = Health {
        reporter,
        known: service.clone(),
        told: BTreeSet::new(),
    };
    health_of.tell(&snapshot).await;

    // The worker also knows the schemas it dials; only what it serves is listed.
    let reflection = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(tidings_proto::DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name(&service)
            .with_service_name("grpc.health.v1.Health")
    };
    let others = Routes::new(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .prepare();
    let (stopping, drain) = (push.drain.begun(), push.drain.clone());
    let gateway = Gateway {
        push,
        others,
        messages: limits.messages,
    };
    let server = Server::builder()
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .max_concurrent_streams(limits.streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_header_list_size(HEADERS)
        .http2_max_pending_accept_reset_streams(Some(RESETS))
        // tonic's default is none at all.
        .http2_max_local_error_reset_streams(Some(RESETS));
    let reception = Reception::new(limits.connections, limits.silence, limits.keep_alive);
    let serving = async move {
        match tls {
            Some(config) => {
                let incoming = handshakes(listener, config, reception);
                server
                    .serve_with_incoming_shutdown(gateway, incoming, stopping)
                    .await
            }
            None => {
                let incoming = connections(listener, reception);
                server
                    .serve_with_incoming_shutdown(gateway, incoming, stopping)
                    .await
            }
        }
    };
    let settled = async move {
        health_of.follow(snapshot, drain.begun()).await;
        // It also ends where nobody knows of Postgres any more.
        drain.begun().await;
        drain.finished().await;
        sleep(GOODBYE).await;
    };
    tokio::select! {
        served = serving => served?,
        () = settled => {}
    }
    Ok(())
}

/// Keeps the health of the push services in step with Postgres. That of the server
/// as a whole (the empty name) says that the process is alive.
struct Health {
    reporter: HealthReporter,
    /// The service that is there whatever the sources are.
    known: String,
    told: BTreeSet<String>,
}

impl Health {
    async fn follow(
        mut self,
        mut snapshot: watch::Receiver<Snapshot>,
        stopping: impl Future<Output = ()>,
    ) {
        let mut stopping = std::pin::pin!(stopping);
        loop {
            tokio::select! {
                changed = snapshot.changed() => if changed.is_err() { break },
                () = &mut stopping => break,
            }
            self.tell(&snapshot).await;
        }
        for service in &self.told {
            let stopped = ServingStatus::NotServing;
            self.reporter.set_service_status(service, stopped).await;
        }
    }

    async fn tell(&mut self, snapshot: &watch::Receiver<Snapshot>) {
        let (status, services) = {
            let snapshot = snapshot.borrow();
            let status = match snapshot.database {
                Database::Up => ServingStatus::Serving,
                Database::Down(_) => ServingStatus::NotServing,
            };
            let mut services = own_services(&snapshot);
            services.insert(self.known.clone());
            (status, services)
        };
        for gone in self.told.difference(&services) {
            self.reporter.clear_service_status(gone).await;
        }
        for service in &services {
            self.reporter.set_service_status(service, status).await;
        }
        self.told = services;
    }
}

/// The services that sources brought with a schema of their own, to be pushed to.
fn own_services(snapshot: &Snapshot) -> BTreeSet<String> {
    let sources = snapshot.sources.iter().flat_map(|sources| sources.values());
    let own = sources
        .filter(|source| !source.is_dialed())
        .filter_map(|source| source.schema.as_ref());
    own.filter_map(|own| own.usable.as_ref().as_ref().ok())
        .map(|schema| schema.service().to_owned())
        .collect()
}

/// Routes by hand, because a path may carry a source before the method, and methods
/// come and go with the sources.
#[derive(Clone, Debug)]
struct Gateway {
    push: Push,
    others: Routes,
    messages: Bounds,
}

impl Service<http::Request<Body>> for Gateway {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Both are always ready: limits are answered, not waited for.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let open = request.extensions().get::<Calls>().map(Calls::begin);
        let target = route::target(request.uri().path());
        let Some(target) = target.filter(|target| self.push.takes(&target.method)) else {
            let bounds = Bounds {
                message: QUESTION,
                ..self.messages
            };
            // Anybody may ask these, so they must not have what pushes need.
            let meter = Meter::new(self.push.budget.clone(), Payer::Strangers);
            let request = request.map(|body| Body::new(Metered::new(body, meter, bounds, open)));
            let answer = self.others.call(request);
            return until_drained(answer, self.push.drain.clone()).boxed();
        };
        let meter = Meter::new(self.push.budget.clone(), Payer::Wire);
        let call = PushCall {
            target,
            push: self.push.clone(),
            meter: meter.clone(),
        };
        let request = request.map(|body| Metered::new(body, meter, self.messages, open));
        let mut grpc = Grpc::new(Raw).max_decoding_message_size(self.messages.message);
        async move { Ok(grpc.streaming(call, request).await) }.boxed()
    }
}

/// One call of a push method.
#[derive(Debug)]
struct PushCall {
    push: Push,
    target: Target,
    meter: Meter,
}

impl StreamingService<Bytes> for PushCall {
    type Response = Bytes;
    type ResponseStream = BoxStream<'static, Result<Bytes, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let push = self.push.clone();
        let target = self.target.clone();
        let meter = self.meter.clone();
        let (metadata, _, messages) = request.into_parts();
        let messages = messages.map(move |message| {
            let received = |bytes: Bytes| Received {
                held: meter.release(bytes.len()),
                bytes,
            };
            message.map(received)
        });
        async move {
            let headers = metadata.into_headers();
            let replies = push.open(&target, &headers, messages).await?;
            Ok(Response::new(replies.boxed()))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
