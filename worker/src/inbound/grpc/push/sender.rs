//! Submits a chunk to the pipeline, and makes the replies to it.

use std::{fmt, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use tidings_core::wire::{Decoded, Key, Reply, Schema};
use tokio::time::timeout;
use tonic::{Code, Status};
use uuid::Uuid;

use super::{
    Open, Push,
    bodies::{Bodies, Envelope},
    chunk::Chunk,
    receipted,
};
use crate::{
    admission::budget::Payer,
    inbound::refusal::{Named, Refused},
    pipeline::{
        headers::Template,
        request::{Outcome, Refusal, Verdict},
    },
    process::receipt,
};

/// Submits the chunks of one stream.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) push: Push,
    pub(super) source: Arc<str>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) schema: Arc<Schema>,
    pub(super) headers: Template,
    pub(super) _open: Open,
}

/// An event of a chunk, and what became of it.
struct Sent {
    message: u64,
    /// `None` if the event has no key for a reply.
    key: Option<Key>,
    undecodable: Option<String>,
    receipt: Uuid,
    outcome: Outcome,
}

impl Sender {
    /// Commits a chunk, and returns the replies to its events.
    pub(super) async fn settle(self: Arc<Self>, chunk: Chunk) -> Vec<Result<Bytes, Status>> {
        let (mut messages, mut events) = (Vec::new(), Vec::new());
        // The shares of the messages are held until their events are answered.
        let mut held = Vec::new();
        for part in chunk.parts {
            messages.push(part.message);
            events.push(self.schema.decode(part.piece));
            held.push(part.held);
        }
        let outcomes = self.commit(&mut events).await;
        let sent = messages.into_iter().zip(events).zip(outcomes);
        let sent = sent.map(|((message, event), (receipt, outcome))| Sent {
            message,
            key: event.key,
            undecodable: event.error,
            receipt,
            outcome,
        });
        let mut replies = self.replies(sent);
        replies.extend(chunk.end.map(|end| Err(self.end(end))));
        replies
    }

    /// Makes the reply messages of the schema. The replies to one message are joined if
    /// the schema allows several in one reply message.
    fn replies(&self, events: impl Iterator<Item = Sent>) -> Vec<Result<Bytes, Status>> {
        let answered: Vec<(u64, Key, Option<String>)> = events
            .filter_map(|event| {
                let refused = match event.undecodable {
                    Some(error) => Some(Why {
                        cause: "undecodable",
                        detail: Some(error.into()),
                        is_told: true,
                    }),
                    None => refused(event.outcome),
                };
                let receipt = event.receipt;
                let refused = refused.map(|why| {
                    self.tell("a pushed event", receipt, why.cause, why.detail.as_deref());
                    format!("{why} (receipt {receipt})")
                });
                Some((event.message, event.key?, refused))
            })
            .collect();
        answered
            .chunk_by(|(one, ..), (other, ..)| one == other)
            .flat_map(|of_message| {
                let replies: Vec<Reply<'_>> = of_message
                    .iter()
                    .map(|(_, key, refused)| Reply {
                        key,
                        refused: refused.as_deref(),
                    })
                    .collect();
                self.schema.replies(&replies)
            })
            .map(Ok)
            .collect()
    }

    /// A status that ends the stream, with its line in the log where the worker refuses to
    /// read on.
    fn end(&self, status: Status) -> Status {
        let cause = match status.code() {
            Code::ResourceExhausted => "resource_exhausted",
            Code::DeadlineExceeded => "timeout",
            // The client's own end, or the worker's.
            _ => return status,
        };
        let receipt = receipt::id();
        self.tell("a push stream", receipt, cause, Some(status.message()));
        receipted(status, receipt)
    }

    fn tell(&self, what: &'static str, receipt: Uuid, cause: &'static str, reason: Option<&str>) {
        self.push.refusals.tell(&Refused {
            what,
            receipt,
            source: Named::Configured(&self.source),
            peer: self.peer,
            cause,
            reason,
        });
    }

    /// Commits the JSON of the events, and returns the receipt id and the outcome of each.
    async fn commit(&self, events: &mut [Decoded]) -> Vec<(Uuid, Outcome)> {
        let count = events.len();
        if count == 0 {
            return Vec::new();
        }
        let bodies = Bodies::new(events);
        let payer = Payer::Source(self.source.clone());
        let share = self.push.budget.take(payer, count, bodies.len());
        let pipeline = &self.push.pipeline;
        match timeout(pipeline.patience(), share).await {
            Ok(Some(_share)) => {
                let envelope = Envelope {
                    source: &self.source,
                    headers: &self.headers,
                };
                bodies.submit(pipeline, envelope).await
            }
            Ok(None) | Err(_) => {
                let busy = |_| (receipt::id(), Err(Refusal::Busy));
                (0..count).map(busy).collect()
            }
        }
    }
}

/// Why an event is to be sent again.
#[derive(Debug)]
struct Why {
    cause: &'static str,
    detail: Option<Arc<str>>,
    /// Whether the sender is told the details too, or only the log.
    is_told: bool,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) if self.is_told => write!(f, "{}: {detail}", self.cause),
            _ => f.write_str(self.cause),
        }
    }
}

/// `None` after the commit that holds the event.
fn refused(outcome: Outcome) -> Option<Why> {
    match outcome {
        // A rejected event counts too, because it is kept and a retry would change
        // nothing.
        Ok(receipt) if receipt.verdict == Verdict::Accepted => None,
        Ok(receipt) => Some(Why {
            cause: receipt.verdict.as_str(),
            detail: receipt.detail.map(Arc::from),
            is_told: true,
        }),
        Err(refusal) => Some(Why {
            cause: refusal.as_str(),
            detail: match refusal {
                Refusal::Failed(reason) | Refusal::Declined(reason) => Some(reason),
                Refusal::Busy | Refusal::Late | Refusal::Stopping => None,
            },
            is_told: false,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::request::fake;

    #[test]
    fn pushwoosh_grpc_success_only_after_commit() {
        let refused = |outcome| refused(outcome).map(|why| why.to_string());
        assert_eq!(refused(Ok(fake::receipt(Verdict::Accepted))), None);
        for verdict in [
            Verdict::Unauthorized,
            Verdict::Malformed,
            Verdict::UnknownSource,
            Verdict::Disabled,
        ] {
            let reason = refused(Ok(fake::receipt(verdict)));
            assert_eq!(reason.as_deref(), Some(verdict.as_str()));
        }
        let refusals = [
            Refusal::Busy,
            Refusal::Late,
            Refusal::Failed("x".into()),
            Refusal::Declined("x".into()),
            Refusal::Stopping,
        ];
        for refusal in refusals {
            assert_eq!(
                refused(Err(refusal.clone())).as_deref(),
                Some(refusal.as_str())
            );
        }
    }
}
