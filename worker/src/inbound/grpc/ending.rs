//! Calls that acknowledge nothing and may last as long as their caller likes; they end
//! when the drain begins.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderMap, Response};
use http_body::Frame;
use tonic::{Status, body::Body};

use crate::process::drain::Drain;

/// The answer, for as long as the drain has not begun.
pub(super) async fn until_drained<E>(
    answer: impl Future<Output = Result<Response<Body>, E>>,
    drain: Drain,
) -> Result<Response<Body>, E> {
    let answer = tokio::select! {
        biased;
        answer = answer => answer?,
        () = drain.begun() => return Ok(stopping().into_http()),
    };
    Ok(answer.map(|body| {
        Body::new(Ending {
            body,
            begun: drain.begun().boxed(),
        })
    }))
}

fn stopping() -> Status {
    Status::unavailable("the worker is stopping")
}

/// A body that ends with a status when the drain begins, unless more of it is ready.
struct Ending {
    body: Body,
    begun: BoxFuture<'static, ()>,
}

impl http_body::Body for Ending {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let frame = Pin::new(&mut this.body).poll_frame(context);
        if frame.is_pending() && this.begun.poll_unpin(context).is_ready() {
            this.body = Body::empty();
            let mut trailers = HeaderMap::new();
            // Only metadata could make this fail, and there is none.
            let _ = stopping().add_header(&mut trailers);
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        frame
    }

    /// A status without a body must stay one: clients look for it in the last frame alone.
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
