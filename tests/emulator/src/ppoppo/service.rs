//! The gRPC service: who may call, from where on, and by which path.

use std::{pin::Pin, sync::Arc};

use ::http::{Request as HttpRequest, Uri};
use futures_util::{Stream, StreamExt as _};
use tidings_proto::ppoppo::{
    SendRequestEvent, StreamSendRequestEventsReq,
    external_message_service_server::{
        ExternalMessageService, ExternalMessageServiceServer, SERVICE_NAME,
    },
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};
use tower::util::MapRequestLayer;

use super::{
    cord::{Connection, Cord},
    ending::{Endings, How},
    log::Log,
    subscription::Subscription,
};
use crate::ulid::is_ulid;

#[derive(Debug)]
pub(crate) struct Service {
    log: Arc<Log>,
    endings: Endings,
    authorization: String,
}

impl Service {
    pub(crate) fn new(log: Arc<Log>, endings: Endings, token: &str) -> Self {
        Self {
            log,
            endings,
            authorization: format!("Bearer {token}"),
        }
    }
}

/// Serves until dropped, or until the listener fails.
pub(crate) async fn serve(
    listener: TcpListener,
    service: Service,
) -> Result<(), tonic::transport::Error> {
    let connections =
        TcpListenerStream::new(listener).map(|stream| stream.and_then(Connection::new));
    Server::builder()
        .layer(MapRequestLayer::new(without_prefix))
        .add_service(ExternalMessageServiceServer::new(service))
        .serve_with_incoming(connections)
        .await
}

/// "When the API URL includes a path, all gRPC method paths are prefixed": drops it, as
/// the provider's gateway does.
fn without_prefix<B>(mut request: HttpRequest<B>) -> HttpRequest<B> {
    let path = request.uri().path();
    if let Some((prefix, method)) = path.split_once(SERVICE_NAME)
        && prefix.len() > 1
        && prefix.ends_with('/')
        && let Ok(uri) = format!("/{SERVICE_NAME}{method}").parse::<Uri>()
    {
        *request.uri_mut() = uri;
    }
    request
}

#[tonic::async_trait]
impl ExternalMessageService for Service {
    type StreamSendRequestEventsStream =
        Pin<Box<dyn Stream<Item = Result<SendRequestEvent, Status>> + Send>>;

    async fn stream_send_request_events(
        &self,
        request: Request<StreamSendRequestEventsReq>,
    ) -> Result<Response<Self::StreamSendRequestEventsStream>, Status> {
        let shown = request.metadata().get("authorization");
        if shown.is_none_or(|shown| shown.as_bytes() != self.authorization.as_bytes()) {
            return Err(Status::unauthenticated("fetch a new token"));
        }
        let cord = request.extensions().get::<Cord>().cloned();
        let StreamSendRequestEventsReq {
            send_request_id,
            after_event_id,
        } = request.into_inner();
        if after_event_id
            .as_deref()
            .is_some_and(|after| !is_ulid(after))
        {
            return Err(Status::invalid_argument("after_event_id is no event's id"));
        }
        let ending = self.endings.deal();
        if ending.is_some_and(|ending| ending.after == 0 && ending.how == How::Unavailable) {
            return Err(Status::unavailable("try again later"));
        }
        let subscription = Subscription {
            log: Arc::clone(&self.log),
            after: after_event_id,
            send_request_id,
            ending,
            cord,
        };
        Ok(Response::new(Box::pin(subscription.stream())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_dropped_and_nothing_else() {
        let after = |path: &str| {
            let request = HttpRequest::builder().uri(path).body(()).unwrap();
            without_prefix(request).uri().to_string()
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
