//! Chunks of events: the events that have arrived, within limits.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, future::Either, stream};
use tidings_core::wire::{Piece, Schema};
use tonic::Status;

use crate::{admission::budget::Share, process::drain::Drain};

/// Limits of one chunk: enough that a commit carries many events, little enough that
/// memory stays small.
const EVENTS: usize = 250;
const BYTES: usize = 1 << 20;

/// Limits of one chunk, which may exceed its bytes by the event that reached them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkLimits {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

impl ChunkLimits {
    /// The usual limits of a chunk, which is no larger than a batch of `requests`.
    pub(crate) fn within(requests: usize) -> Self {
        Self {
            events: EVENTS.min(requests),
            bytes: BYTES,
        }
    }
}

/// A message as it arrived, and its share of the budget.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    pub(crate) held: Option<Share>,
}

/// An event of a stream, not decoded yet, and the number of its message.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) message: u64,
    pub(super) piece: Piece,
    /// The share of its message, which is held until all events of the message are
    /// settled.
    pub(super) held: Arc<Held>,
}

/// The share of a message. Its events take their parts of it for the time until their replies
/// are read.
#[derive(Debug)]
pub(super) struct Held(Mutex<Option<Share>>);

impl Held {
    pub(super) fn new(share: Option<Share>) -> Self {
        Self(Mutex::new(share))
    }

    /// A part of the share, of so many bytes or of those that are left.
    pub(super) fn part(&self, bytes: usize) -> Option<Share> {
        let mut share = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        share.as_mut()?.cut_at_most(bytes)
    }
}

/// Events of one chunk, and perhaps the end of the stream after them.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) parts: Vec<Part>,
    pub(super) end: Option<Status>,
}

/// The events of a stream's messages. A message is cut up as its events are taken, so
/// that a batch of any length takes no more memory than its bytes.
pub(super) fn parts<M>(
    messages: M,
    schema: &Schema,
) -> impl Stream<Item = Result<Part, Status>> + Unpin + Send + use<M>
where
    M: Stream<Item = Result<Received, Status>> + Unpin + Send,
{
    let schema = schema.clone();
    let mut count = 0;
    messages.flat_map(move |message| match message {
        Ok(received) => {
            count += 1;
            let message = count;
            let held = Arc::new(Held::new(received.held));
            let pieces = schema.pieces(received.bytes);
            Either::Left(stream::iter(pieces.map(move |piece| {
                let held = held.clone();
                Ok(Part {
                    message,
                    piece,
                    held,
                })
            })))
        }
        Err(status) => Either::Right(stream::iter([Err(status)])),
    })
}

/// Waits for an event, and takes the events that have arrived after it.
pub(super) async fn gather<P>(
    parts: Option<P>,
    drain: Drain,
    limits: ChunkLimits,
) -> Option<(Chunk, Option<P>)>
where
    P: Stream<Item = Result<Part, Status>> + Unpin,
{
    let mut parts = parts?;
    let mut chunk = Chunk::default();
    let mut bytes = 0;
    let mut next = tokio::select! {
        biased;
        () = drain.begun() => {
            chunk.end = Some(Status::unavailable("the worker is stopping: send again"));
            return Some((chunk, None));
        }
        next = parts.next() => Some(next),
    };
    loop {
        match next {
            Some(Some(Ok(part))) => {
                bytes += part.piece.len();
                chunk.parts.push(part);
            }
            Some(Some(Err(status))) => {
                chunk.end = Some(status);
                return Some((chunk, None));
            }
            Some(None) => return Some((chunk, None)),
            None => return Some((chunk, Some(parts))),
        }
        if chunk.parts.len() >= limits.events || bytes >= limits.bytes {
            return Some((chunk, Some(parts)));
        }
        next = parts.next().now_or_never();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    const LIMITS: ChunkLimits = ChunkLimits {
        events: 3,
        bytes: 10,
    };

    fn messages(texts: &[&'static str]) -> Vec<Result<Received, Status>> {
        let message = |text: &&'static str| Received {
            bytes: (*text).into(),
            held: None,
        };
        texts.iter().map(message).map(Ok).collect()
    }

    /// How many events each chunk has, and whether a status ends it.
    async fn chunks<M>(messages: M, drain: &Drain) -> Vec<(usize, bool)>
    where
        M: Stream<Item = Result<Received, Status>> + Unpin + Send,
    {
        let schema = testing::schema("pushwoosh");
        let parts = parts(messages, &schema);
        let gathered = stream::unfold(Some(parts), |parts| gather(parts, drain.clone(), LIMITS));
        gathered
            .map(|chunk| (chunk.parts.len(), chunk.end.is_some()))
            .collect()
            .await
    }

    #[tokio::test]
    async fn what_has_arrived_goes_together_within_the_limits() {
        let texts = messages(&["a", "b", "c", "d", "too-long-for-ten", "e"]);
        let chunks = chunks(stream::iter(texts), &Drain::new()).await;
        let no_status = false;
        assert_eq!(chunks, [(3, no_status), (2, no_status), (1, no_status)]);
    }

    #[tokio::test]
    async fn a_failure_comes_after_the_messages_before_it() {
        let mut texts = messages(&["a"]);
        texts.push(Err(Status::cancelled("gone")));
        texts.extend(messages(&["never"]));
        let chunks = chunks(stream::iter(texts), &Drain::new()).await;
        assert_eq!(chunks, [(1, true)]);
    }

    #[tokio::test]
    async fn draining_ends_a_quiet_stream() {
        let drain = Drain::new();
        let quiet = stream::iter(messages(&["a"])).chain(stream::pending());
        let gathering = chunks(quiet, &drain);
        let (chunks, ()) = tokio::join!(gathering, async {
            tokio::task::yield_now().await;
            drain.begin();
        });
        assert_eq!(chunks, [(1, false), (0, true)]);
    }
}
