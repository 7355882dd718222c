//! Which service answers a call, and under which limits.

use std::{
    convert::Infallible,
    net::SocketAddr,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    server::{Grpc, StreamingService},
    service::Routes,
};
use tower::Service;

use super::{
    accept::Calls,
    ending::until_drained,
    meter::{Bounds, Meter, Metered},
    push::{Push, Received, Target},
    route,
};
use crate::{admission::budget::Payer, wire::codec::Raw};

/// Limit on a message to health and reflection, which anybody may call, in bytes.
pub(super) const QUESTION: usize = 4 << 10;

/// Routes by hand, because a path may carry a source before the method, and methods
/// come and go with the sources.
#[derive(Clone, Debug)]
pub(super) struct Gateway {
    pub(super) push: Push,
    pub(super) others: Routes,
    pub(super) messages: Bounds,
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
        let calls = request.extensions().get::<Calls>();
        let (open, peer) = (calls.map(Calls::begin), calls.map(|calls| calls.peer));
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
            peer,
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
    peer: Option<SocketAddr>,
    meter: Meter,
}

impl StreamingService<Bytes> for PushCall {
    type Response = Bytes;
    type ResponseStream = BoxStream<'static, Result<Bytes, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let push = self.push.clone();
        let (target, peer) = (self.target.clone(), self.peer);
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
            let replies = push.open(&target, &headers, peer, messages).await?;
            Ok(Response::new(replies.boxed()))
        }
        .boxed()
    }
}
