//! gRPC pushes: a provider streams events in, and every one gets its reply.
//!
//! - A reply says `Success` after the commit that holds its event; anything else is
//!   the reason why the event is to be sent again.
//! - One body an event, so that each has its own receipt; they travel in chunks, so
//!   that the pipeline sees a message a chunk, not one an event.
//! - What a stream may have in flight is bounded. Beyond that nothing is read, and
//!   HTTP/2 slows the sender down: nothing piles up here.

use std::sync::Arc;

use actix::Recipient;
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use http::HeaderMap;
use metrics::gauge;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tonic::Status;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::{
    batcher::Pipeline,
    budget::Budget,
    directory::{Directory, Lookup},
    drain::Drain,
    headers::{Headers, Template},
    metric,
    registry::FindSource,
    request::{Outcome, Refusal, Request, Verdict},
    wire::{self, Decoded, Schema},
};

/// The only provider that pushes over gRPC.
const PROVIDER: &str = "pushwoosh";
/// Names in the messages, whichever schema they come from.
const UUID: &str = "uuid";
const STATUS: &str = "status";
const SUCCESS: &str = "Success";
/// Chunks of one stream on their way.
const CHUNKS_IN_FLIGHT: usize = 4;

#[derive(Clone, Debug)]
pub(crate) struct Push {
    pub(crate) pipeline: Pipeline,
    pub(crate) directory: Directory,
    pub(crate) registry: Recipient<FindSource>,
    pub(crate) budget: Budget,
    pub(crate) drain: Drain,
    pub(crate) schema: Arc<Schema>,
    pub(crate) chunks: ChunkLimits,
    /// Streams that may be open.
    pub(crate) streams: Arc<Semaphore>,
}

/// Limits of one chunk. It may exceed its bytes by the message that reached them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkLimits {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

impl Push {
    /// Opens a stream: finds its source, and gives the replies to its messages.
    pub(crate) async fn open<M>(
        self,
        named: Option<&str>,
        headers: &HeaderMap,
        messages: M,
    ) -> Result<impl Stream<Item = Result<Bytes, Status>> + Send + use<M>, Status>
    where
        M: Stream<Item = Result<Bytes, Status>> + Unpin + Send,
    {
        let open = Open::new(&self.streams)?;
        let pairs = headers.iter();
        let headers = Headers::fold(pairs.map(|(k, v)| (k.as_str(), v.as_bytes())));
        let source = match named {
            Some(name) => self.named(name).await?,
            None => self.find(&headers).await?,
        };
        debug!(source = source.as_ref(), "a push stream is open");
        let sender = Arc::new(Sender {
            push: self,
            source,
            headers: headers.template(),
            _open: open,
        });
        let chunks = stream::unfold(Some(messages), {
            let (drain, limits) = (sender.push.drain.clone(), sender.push.chunks);
            move |messages| gather(messages, drain.clone(), limits)
        });
        Ok(chunks
            .map(move |chunk| sender.clone().settle(chunk))
            .buffered(CHUNKS_IN_FLIGHT)
            .flat_map(stream::iter))
    }

    /// The source that the path names. Its secret is checked with every event.
    async fn named(&self, name: &str) -> Result<Arc<str>, Status> {
        match self.directory.find(name).await {
            Lookup::Known(source) if source.provider != PROVIDER => {
                Err(Status::not_found("this source takes no gRPC pushes"))
            }
            Lookup::Known(source) if !source.enabled => {
                Err(Status::unavailable("this source is disabled"))
            }
            Lookup::Known(source) => Ok(source.name),
            Lookup::Unknown => Err(Status::not_found("unknown source")),
            Lookup::Unread => Err(unavailable()),
        }
    }

    async fn find(&self, headers: &Headers) -> Result<Arc<str>, Status> {
        let find = FindSource {
            provider: PROVIDER,
            headers: headers.to_json(),
        };
        match timeout(self.pipeline.patience(), self.registry.send(find)).await {
            Ok(Ok(Ok(Some(name)))) => Ok(name.into()),
            Ok(Ok(Ok(None))) => Err(Status::unauthenticated(
                "no enabled source has this authorization",
            )),
            Ok(Ok(Err(reason))) => {
                warn!(reason, "cannot find the source of a push");
                Err(unavailable())
            }
            Ok(Err(_)) | Err(_) => Err(unavailable()),
        }
    }
}

fn unavailable() -> Status {
    Status::unavailable("the sources cannot be read: try again")
}

/// Counts a stream as open until it is dropped.
#[derive(Debug)]
struct Open(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Open {
    fn new(streams: &Arc<Semaphore>) -> Result<Self, Status> {
        let permit = streams.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Status::resource_exhausted("too many push streams"))?;
        gauge!(metric::PUSH_STREAMS).increment(1.0);
        Ok(Self(permit))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        gauge!(metric::PUSH_STREAMS).decrement(1.0);
    }
}

/// Messages that go together, and perhaps the end of the stream after them.
#[derive(Debug, Default)]
struct Chunk {
    messages: Vec<Bytes>,
    end: Option<Status>,
}

/// Waits for a message, and takes what has arrived behind it.
async fn gather<M>(
    messages: Option<M>,
    drain: Drain,
    limits: ChunkLimits,
) -> Option<(Chunk, Option<M>)>
where
    M: Stream<Item = Result<Bytes, Status>> + Unpin,
{
    let mut messages = messages?;
    let mut chunk = Chunk::default();
    let mut bytes = 0;
    let mut next = tokio::select! {
        biased;
        () = drain.begun() => {
            chunk.end = Some(Status::unavailable("the worker is stopping: send again"));
            return Some((chunk, None));
        }
        next = messages.next() => Some(next),
    };
    loop {
        match next {
            Some(Some(Ok(message))) => {
                bytes += message.len();
                chunk.messages.push(message);
            }
            Some(Some(Err(status))) => {
                chunk.end = Some(status);
                return Some((chunk, None));
            }
            Some(None) => return Some((chunk, None)),
            None => return Some((chunk, Some(messages))),
        }
        if chunk.messages.len() >= limits.events || bytes >= limits.bytes {
            return Some((chunk, Some(messages)));
        }
        next = messages.next().now_or_never();
    }
}

/// One stream's way into the pipeline.
#[derive(Debug)]
struct Sender {
    push: Push,
    source: Arc<str>,
    headers: Template,
    _open: Open,
}

impl Sender {
    /// Commits a chunk and gives the reply to each of its messages.
    async fn settle(self: Arc<Self>, chunk: Chunk) -> Vec<Result<Bytes, Status>> {
        let mut events = Vec::with_capacity(chunk.messages.len());
        let mut requests = Vec::with_capacity(chunk.messages.len());
        for message in chunk.messages {
            let decoded = Decoded::new(self.push.schema.input(), message);
            let error = decoded.error().map(str::to_owned);
            events.push((decoded.text(UUID), error));
            requests.push(Request {
                source: self.source.clone(),
                body: decoded.json.into(),
                headers: self.headers.with_receipt(Uuid::now_v7()),
            });
        }
        let outcomes = self.commit(requests).await;
        let replies = events.into_iter().zip(outcomes);
        let mut replies: Vec<_> = replies
            .map(|((uuid, undecodable), outcome)| {
                let status = match undecodable {
                    Some(error) => format!("undecodable: {error}"),
                    None => reply(outcome),
                };
                let fields = [(UUID, uuid.as_str()), (STATUS, &status)];
                wire::encode(self.push.schema.output(), &fields)
                    .map_err(|error| Status::internal(error.to_string()))
            })
            .collect();
        replies.extend(chunk.end.map(Err));
        replies
    }

    async fn commit(&self, requests: Vec<Request>) -> Vec<Outcome> {
        let count = requests.len();
        if count == 0 {
            return Vec::new();
        }
        let bytes = requests.iter().map(Request::len).sum();
        let share = self.push.budget.take(count, bytes);
        match timeout(self.push.pipeline.patience(), share).await {
            Ok(Some(_share)) => self.push.pipeline.submit(requests).await,
            Ok(None) | Err(_) => vec![Err(Refusal::Busy); count],
        }
    }
}

fn reply(outcome: Outcome) -> String {
    match outcome {
        // Also when the event was rejected: it is kept, and sending it again changes nothing.
        Ok(receipt) if receipt.verdict == Verdict::Accepted => SUCCESS.to_owned(),
        Ok(receipt) => match receipt.detail {
            Some(detail) => format!("{}: {detail}", receipt.verdict.as_str()),
            None => receipt.verdict.as_str().to_owned(),
        },
        Err(Refusal::Poisonous(reason)) => format!("malformed: {reason}"),
        Err(refusal) => refusal.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::fake;

    const LIMITS: ChunkLimits = ChunkLimits {
        events: 3,
        bytes: 10,
    };

    fn messages(texts: &[&'static str]) -> Vec<Result<Bytes, Status>> {
        texts.iter().map(|text| Ok((*text).into())).collect()
    }

    async fn chunks<M>(messages: M, drain: &Drain) -> Vec<(Vec<Bytes>, bool)>
    where
        M: Stream<Item = Result<Bytes, Status>> + Unpin,
    {
        let gathered = stream::unfold(Some(messages), |m| gather(m, drain.clone(), LIMITS));
        gathered
            .map(|chunk| (chunk.messages, chunk.end.is_some()))
            .collect()
            .await
    }

    #[tokio::test]
    async fn what_has_arrived_goes_together_within_the_limits() {
        let texts = messages(&["a", "b", "c", "d", "too-long-for-ten", "e"]);
        let chunks = chunks(stream::iter(texts), &Drain::new()).await;
        let sizes: Vec<_> = chunks.iter().map(|(messages, _)| messages.len()).collect();
        assert_eq!(sizes, [3, 2, 1]);
        assert!(
            chunks.iter().all(|(_, end)| !end),
            "a clean end needs no status"
        );
    }

    #[tokio::test]
    async fn a_failure_comes_after_the_messages_before_it() {
        let mut texts = messages(&["a"]);
        texts.push(Err(Status::cancelled("gone")));
        texts.extend(messages(&["never"]));
        let chunks = chunks(stream::iter(texts), &Drain::new()).await;
        assert_eq!(chunks, [(vec![Bytes::from("a")], true)]);
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
        assert_eq!(chunks, [(vec![Bytes::from("a")], false), (vec![], true)]);
    }

    #[test]
    fn only_a_commit_is_a_success() {
        assert_eq!(reply(Ok(fake::receipt(Verdict::Accepted))), "Success");
        for verdict in [
            Verdict::Unauthorized,
            Verdict::Malformed,
            Verdict::UnknownSource,
            Verdict::Disabled,
        ] {
            assert_eq!(reply(Ok(fake::receipt(verdict))), verdict.as_str());
        }
        let refusals = [
            Refusal::Busy,
            Refusal::Unavailable("x".into()),
            Refusal::Poisonous("x".into()),
            Refusal::Stopping,
        ];
        for refusal in refusals {
            assert_ne!(reply(Err(refusal)), "Success");
        }
    }
}
