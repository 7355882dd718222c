//! The answer to a call, sent at the pace of its reader.
//!
//! A client that does not read holds memory of the worker: the replies that wait, and the
//! share of the budget that their events keep until they are answered. So the worker makes
//! a reply only when the one before it has been handed to the connection, and ends a call
//! whose client has not made room for a piece of it in time. The status of the call arrives
//! all the same, because HTTP/2 does not hold it back.

use std::{fmt, future::poll_fn, sync::Arc, time::Duration};

use bytes::Bytes;
use h2::{Reason, SendStream, server::SendResponse};
use http::{HeaderMap, Response};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::timeout;
use tonic::{Status, body::Body};

/// Makes the status of a call whose replies are not read, in the extensions of its response.
#[derive(Clone)]
pub(super) struct Unread(Arc<dyn Fn(Status) -> Status + Send + Sync>);

impl Unread {
    pub(super) fn new(make: impl Fn(Status) -> Status + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }
}

impl fmt::Debug for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unread")
    }
}

/// Answers a call, until it is answered or its client is gone.
pub(super) async fn answer(
    mut respond: SendResponse<Bytes>,
    answering: impl Future<Output = Response<Body>>,
    patience: Duration,
) {
    let response = tokio::select! {
        response = answering => response,
        _ = poll_fn(|context| respond.poll_reset(context)) => return,
    };
    let (mut head, body) = response.into_parts();
    let unread = head.extensions.remove::<Unread>();
    let is_whole = body.is_end_stream();
    let Ok(mut stream) = respond.send_response(Response::from_parts(head, ()), is_whole) else {
        return;
    };
    if !is_whole && send_all(body, &mut stream, patience).await == Sent::Unread {
        let status = Status::resource_exhausted(format!(
            "replies were not read for {} s",
            patience.as_secs_f64()
        ));
        let status = match unread {
            Some(Unread(make)) => make(status),
            None => status,
        };
        let mut trailers = HeaderMap::new();
        let _ = status.add_header(&mut trailers);
        let _ = stream.send_trailers(trailers);
    }
}

/// The fate of a body or a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Whole,
    /// The client does not read.
    Unread,
    /// The client is gone, or the answer has failed.
    Gone,
}

async fn send_all(mut body: Body, stream: &mut SendStream<Bytes>, patience: Duration) -> Sent {
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            _ = poll_fn(|context| stream.poll_reset(context)) => return Sent::Gone,
        };
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => {
                stream.send_reset(Reason::INTERNAL_ERROR);
                return Sent::Gone;
            }
            None => {
                let _ = stream.send_data(Bytes::new(), true);
                return Sent::Whole;
            }
        };
        match frame.into_data() {
            Ok(data) => match timeout(patience, send(data, stream)).await {
                Ok(Sent::Whole) => {}
                Ok(sent) => return sent,
                Err(_) => return Sent::Unread,
            },
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    let _ = stream.send_trailers(trailers);
                    return Sent::Whole;
                }
            }
        }
    }
}

/// Sends data as far as there is room for it, and waits for more room.
async fn send(mut data: Bytes, stream: &mut SendStream<Bytes>) -> Sent {
    while !data.is_empty() {
        // What is reserved is held back from the other calls of the connection.
        stream.reserve_capacity(1);
        while stream.capacity() == 0 {
            match poll_fn(|context| stream.poll_capacity(context)).await {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Sent::Gone,
            }
        }
        // More than the one byte may be available.
        stream.reserve_capacity(data.len());
        let part = data.split_to(stream.capacity().min(data.len()));
        if stream.send_data(part, false).is_err() {
            return Sent::Gone;
        }
    }
    stream.reserve_capacity(0);
    Sent::Whole
}
