//! The gRPC server: the push service, health and reflection behind one port. Sources
//! with a schema of their own are served by its method, beside those that are known.

pub(crate) mod accept;
mod ending;
mod gateway;
mod health;
mod meter;
pub(crate) mod push;
mod route;

use std::{collections::BTreeSet, time::Duration};

use rustls::ServerConfig;
use tidings_core::wire::SchemaError;
use tokio::{net::TcpListener, sync::watch, time::sleep};
use tonic::{service::Routes, transport::Server};
use tonic_reflection::server::Builder;

pub(crate) use self::meter::Bounds;
use self::{
    accept::{Reception, connections, handshakes},
    gateway::Gateway,
    health::Health,
    push::Push,
};
use crate::{sources::source::Snapshot, wire};

/// Interval of pings, which detect a peer that has vanished.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Flow-control windows of one call and of one connection, in bytes, because unread bytes
/// are not in the budget.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 512 << 10;
/// Limit on the headers of one call, in bytes.
const HEADERS: u32 = 16 << 10;
/// Limit on the calls of one connection that were reset before they were handled; beyond
/// it the connection is closed.
const RESETS: usize = 32;
/// Time for connections to close when nothing is in flight any more, so that a client
/// which keeps its connection open, or has vanished, does not delay the end.
const GOODBYE: Duration = Duration::from_secs(2);

/// Limits on the callers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GrpcLimits {
    pub(crate) connections: usize,
    /// Limit on the calls of one connection.
    pub(crate) streams: u32,
    /// Time limit for the first bytes of a connection.
    pub(crate) silence: Duration,
    /// Time limit for a connection without a call.
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
    let served = Served::new()?;
    let health_of = Health::begin(reporter, served.services(), &snapshot).await;
    let others = Routes::new(health)
        .add_service(served.reflection().build_v1()?)
        .add_service(served.reflection().build_v1alpha()?)
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
        // The task also ends when the snapshot is gone.
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

/// The services of the calls that providers make.
struct Served {
    services: BTreeSet<String>,
    /// Their descriptors, each encoded.
    sets: Vec<Vec<u8>>,
}

impl Served {
    fn new() -> Result<Self, SchemaError> {
        let mut services = BTreeSet::new();
        let mut sets = Vec::new();
        for (_, call) in wire::served() {
            services.insert(wire::schema(call)?.service().to_owned());
            sets.push(call.proto.compile()?);
        }
        Ok(Self { services, sets })
    }

    fn services(&self) -> BTreeSet<String> {
        self.services.clone()
    }

    fn reflection(&self) -> Builder<'_> {
        let builder = Builder::configure()
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name("grpc.health.v1.Health");
        let sets = self.sets.iter().fold(builder, |builder, set| {
            builder.register_encoded_file_descriptor_set(set)
        });
        let services = self.services.iter();
        services.fold(sets, |builder, service| builder.with_service_name(service))
    }
}

#[cfg(test)]
mod tests;
