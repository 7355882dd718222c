//! Calls that acknowledge nothing, and end when they have to.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderMap, Response};
use http_body::Frame;
use tonic::{Status, body::Body};

/// The answer, for as long as the call does not have to end.
pub(super) async fn until<E>(
    answer: impl Future<Output = Result<Response<Body>, E>>,
    mut ends: BoxFuture<'static, Status>,
) -> Result<Response<Body>, E> {
    let answer = tokio::select! {
        biased;
        answer = answer => answer?,
        status = &mut ends => return Ok(status.into_http()),
    };
    Ok(answer.map(|body| Body::new(Ending { body, ends })))
}

/// A body that ends with a status when its call has to end, unless more of it is ready.
struct Ending {
    body: Body,
    ends: BoxFuture<'static, Status>,
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
        if frame.is_pending()
            && let Poll::Ready(status) = this.ends.poll_unpin(context)
        {
            this.body = Body::empty();
            this.ends = std::future::pending().boxed();
            let mut trailers = HeaderMap::new();
            // Only metadata could make this fail, and there is none.
            let _ = status.add_header(&mut trailers);
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        frame
    }

    /// A status without a body must stay one: clients look for it in the last frame alone.
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
