//! The gRPC server: the push service, health and reflection behind one port. Sources
//! with a schema of their own are served by its method, beside those that are known.

pub(crate) mod accept;
mod connection;
mod ending;
mod gateway;
mod health;
mod messages;
mod meter;
mod open_calls;
mod places;
pub(crate) mod push;
mod reply;
mod route;

use std::{collections::BTreeSet, io, time::Duration};

use futures_util::{Stream, StreamExt};
use rustls::ServerConfig;
use tidings_core::wire::SchemaError;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinSet,
    time::sleep,
};
use tonic::service::Routes;
use tonic_reflection::server::Builder;

use self::{
    accept::{CallGate, Reception, connections, handshakes},
    connection::Service,
    gateway::Gateway,
    health::{Health, Postgres},
    open_calls::OpenCalls,
    push::Push,
};
pub(crate) use self::{meter::Bounds, open_calls::OpenLimits};
use crate::{inbound::gate::Gated, wire};

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
    pub(crate) open_calls: OpenLimits,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Serves until the drain begins, and then until what is in flight has ended.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<ServerConfig>,
    push: Push,
    limits: GrpcLimits,
    postgres: Postgres,
) -> Result<(), BoxError> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let served = Served::new()?;
    let health_of = Health::begin(reporter, served.services(), &postgres).await;
    let others = Routes::new(health)
        .add_service(served.reflection().build_v1()?)
        .add_service(served.reflection().build_v1alpha()?)
        .prepare();
    let drain = push.drain.clone();
    let service = Service {
        drain: drain.clone(),
        streams: limits.streams,
        patience: limits.messages.time,
        gateway: Gateway {
            push,
            others,
            open_calls: OpenCalls::new(limits.open_calls),
            messages: limits.messages,
        },
    };
    let reception = Reception::new(limits.connections, limits.silence, limits.keep_alive);
    let serving = async move {
        match tls {
            Some(config) => serve_all(handshakes(listener, config, reception), service).await,
            None => serve_all(connections(listener, reception), service).await,
        }
    };
    let settled = async move {
        health_of.follow(postgres, drain.begun()).await;
        // The task also ends when the snapshot is gone.
        drain.begun().await;
        drain.finished().await;
        sleep(GOODBYE).await;
    };
    tokio::select! {
        () = serving => {}
        () = settled => {}
    }
    Ok(())
}

/// Serves connections until the drain begins, and then those that are open until they end.
async fn serve_all<C>(
    incoming: impl Stream<Item = io::Result<Gated<C, CallGate>>> + Send,
    service: Service,
) where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut incoming = Box::pin(incoming);
    let mut stopping = std::pin::pin!(service.drain.begun());
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = &mut stopping => break,
            Some(_) = open.join_next() => {}
            next = incoming.next() => match next {
                Some(Ok(connection)) => {
                    open.spawn(service.clone().serve(connection));
                }
                Some(Err(_)) => {}
                None => break,
            },
        }
    }
    // The port is closed from here on.
    drop(incoming);
    while open.join_next().await.is_some() {}
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
