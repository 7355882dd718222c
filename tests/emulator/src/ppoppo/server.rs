//! Connections, each of which can be told what becomes of it, and the path prefix that
//! calls come with.

use std::{convert::Infallible, io, pin::pin};

use ::http::{Request, Response, Uri};
use hyper::{body::Incoming, server::conn::http2};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, task::JoinSet};
use tonic::{body::Body, server::NamedService};
use tower::{Service, util::MapRequest};

use super::cord::{Connection, Cord};

/// Serves until dropped, or until the listener fails.
pub(crate) async fn serve<S>(listener: TcpListener, service: S) -> io::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
        + NamedService
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
            connections.spawn(drive(connection, service.clone()));
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn drive<S>(connection: Connection, service: S)
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
        + NamedService
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    let cord = connection.cord();
    let given = cord.clone();
    let service = MapRequest::new(service, move |mut request: Request<Incoming>| {
        request.extensions_mut().insert::<Cord>(given.clone());
        without_prefix(request, S::NAME)
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
            let service = "chat.external.ExternalMessageService";
            without_prefix(request, service).uri().to_string()
        };
        let method = "/chat.external.ExternalMessageService/StreamSendRequestEvents";
        assert_eq!(after(method), method);
        assert_eq!(after(&format!("/ext{method}")), method);
        assert_eq!(after(&format!("http://h:1/a/b{method}")), method);
        assert_eq!(
            after("/grpc.health.v1.Health/Check"),
            "/grpc.health.v1.Health/Check"
        );
    }
}
