//! Which service answers a call, and under which limits.

use std::convert::Infallible;

use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Response as HttpResponse, header::CONTENT_TYPE};
use tonic::{
    Status,
    body::Body,
    codec::{EncodeBody, SingleMessageCompressionOverride},
    service::Routes,
};
use tower::Service;

use super::{
    accept::Calls,
    ending::until,
    messages::Messages,
    meter::{Bounds, Meter, Metered},
    open_calls::OpenCalls,
    push::{Opened, Push, Target},
    reply::Unread,
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
    pub(super) open_calls: OpenCalls,
    pub(super) messages: Bounds,
}

impl Gateway {
    /// Begins to answer a call of a connection.
    pub(super) fn call(
        mut self,
        request: http::Request<Body>,
        calls: &Calls,
    ) -> BoxFuture<'static, HttpResponse<Body>> {
        let path = request.uri().path();
        let target = route::target(path);
        let Some(target) = target.filter(|target| self.push.takes(&target.method)) else {
            let ends = self.open_calls.begin(path, &self.push.drain);
            let bounds = Bounds {
                message: QUESTION,
                ..self.messages
            };
            // Anybody may ask these, so they must not have what pushes need.
            let meter = Meter::new(self.push.budget.clone());
            meter.assign(Payer::Strangers);
            let request = request.map(|body| Body::new(Metered::new(body, meter, bounds)));
            let answer = until(self.others.call(request), ends);
            return answer
                .map(|answer: Result<_, Infallible>| match answer {
                    Ok(answer) => answer,
                    Err(never) => match never {},
                })
                .boxed();
        };
        let meter = Meter::new(self.push.budget.clone());
        let (head, body) = request.into_parts();
        let body = Metered::new(body, meter.clone(), self.messages);
        let call = PushCall {
            push: self.push,
            target,
            calls: calls.clone(),
            meter,
        };
        async move {
            let answer = call.answer(&head.headers, body).await;
            answer.unwrap_or_else(Status::into_http)
        }
        .boxed()
    }
}

/// One call of a push method.
#[derive(Debug)]
struct PushCall {
    push: Push,
    target: Target,
    calls: Calls,
    meter: Meter,
}

impl PushCall {
    async fn answer(
        self,
        headers: &HeaderMap,
        body: Metered,
    ) -> Result<HttpResponse<Body>, Status> {
        let Self {
            push,
            target,
            calls,
            meter,
        } = self;
        let messages = Messages::new(body, meter.clone());
        let opened = push.open(&target, headers, Some(calls.peer), messages);
        let Opened { sender, replies } = opened.await?;
        // Nothing was read until here.
        meter.assign(Payer::Wire(sender.source().clone()));
        let secured = calls.secure();
        let replies = replies.map(move |reply| {
            let _ = &secured;
            reply
        });
        let single = SingleMessageCompressionOverride::default();
        let body = EncodeBody::new_server(Raw, replies.boxed(), None, single, None);
        let mut response = HttpResponse::new(Body::new(body));
        let grpc = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(CONTENT_TYPE, grpc);
        let unread = Unread::new(move |status| sender.unread(status));
        response.extensions_mut().insert(unread);
        Ok(response)
    }
}
