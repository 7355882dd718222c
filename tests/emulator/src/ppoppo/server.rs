//! Connections, each of which can be told what becomes of it, and the path prefix that
//! calls come with.

use std::{convert::Infallible, io, pin::pin};

use ::http::{Request, Response, Uri};
use hyper::{body::Incoming, server::conn::http2};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tidings_proto::ppoppo::{
    channel_service_server::ChannelServiceServer, message_service_server::MessageServiceServer,
};
use tokio::{net::TcpListener, task::JoinSet};
use tonic::{body::Body, server::NamedService, service::Routes};
use tower::{Service, util::MapRequest};

use super::{
    cord::{Connection, Cord},
    service,
    variant::NoticeServiceServer,
};

/// Serves the published contract until dropped, or until the listener fails.
pub(crate) async fn serve(listener: TcpListener, service: service::Service) -> io::Result<()> {
    const NAMES: &[&str] = &[
        MessageServiceServer::<service::Service>::NAME,
        ChannelServiceServer::<service::Service>::NAME,
    ];
    let routes = Routes::new(MessageServiceServer::new(service.clone()))
        .add_service(ChannelServiceServer::new(service));
    accept(listener, routes, NAMES).await
}

/// As [`serve`], but with the service of `ppoppo_variant.proto`.
pub(crate) async fn serve_variant(
    listener: TcpListener,
    service: service::Service,
) -> io::Result<()> {
    const NAMES: &[&str] = &[NoticeServiceServer::<service::Service>::NAME];
    accept(listener, NoticeServiceServer::new(service), NAMES).await
}

/// `names` are the names of the services; a path may have a prefix before them.
async fn accept<S>(
    listener: TcpListener,
    service: S,
    names: &'static [&'static str],
) -> io::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        // Gone already: nobody is told anything.
        if let Ok(connection) = Connection::new(stream) {
            connections.spawn(drive(connection, service.clone(), names));
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn drive<S>(connection: Connection, service: S, names: &'static [&'static str])
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    let cord = connection.cord();
    let given = cord.clone();
    let service = MapRequest::new(service, move |mut request: Request<Incoming>| {
        request.extensions_mut().insert::<Cord>(given.clone());
        names
            .iter()
            .fold(request, |request, name| without_prefix(request, name))
    });
    let serving = http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(connection), TowerToHyperService::new(service));
    let mut serving = pin!(serving);
    tokio::select! {
        // How a connection ends is its peer's business.
        _ = &mut serving => return,
        () = cord.wait_goaway() => {}
    }
    serving.as_mut().graceful_shutdown();
    let _ = serving.await;
}

/// "When the API URL includes a path, all gRPC method paths are prefixed": drops it, as
/// the provider's gateway does.
fn without_prefix<B>(mut request: Request<B>, service: &str) -> Request<B> {
    let path = request.uri().path();
    if let Some((prefix, method)) = path.split_once(service)
        && prefix.len() > 1
        && prefix.ends_with('/')
        && let Ok(uri) = format!("/{service}{method}").parse::<Uri>()
    {
        *request.uri_mut() = uri;
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_dropped_and_nothing_else() {
        let after = |path: &str| {
            let request = Request::builder().uri(path).body(()).unwrap();
            let service = "pcs.external.v1.MessageService";
            without_prefix(request, service).uri().to_string()
        };
        let method = "/pcs.external.v1.MessageService/StreamSendRequestEvents";
        assert_eq!(after(method), method);
        assert_eq!(after(&format!("/ext{method}")), method);
        assert_eq!(after(&format!("http://h:1/a/b{method}")), method);
        assert_eq!(
            after("/grpc.health.v1.Health/Check"),
            "/grpc.health.v1.Health/Check"
        );
    }
}
