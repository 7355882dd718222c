//! Submits a chunk to the pipeline, and makes the replies to it.

use std::{fmt, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use tidings_core::wire::{Key, Reply, Schema};
use tokio::time::timeout;
use tonic::{Code, Status};
use uuid::Uuid;

use super::{Open, Push, chunk::Chunk, receipted};
use crate::{
    admission::budget::{Payer, Share},
    inbound::refusal::{Named, Refused},
    pipeline::{
        headers::Template,
        request::{Outcome, Refusal, Request, Verdict},
    },
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

/// An event that was submitted.
struct Sent {
    message: u64,
    receipt: Uuid,
    /// `None` if the event has no key for a reply.
    key: Option<Key>,
    undecodable: Option<String>,
    _held: Arc<Option<Share>>,
}

impl Sender {
    /// Commits a chunk, and returns the replies to its events.
    pub(super) async fn settle(self: Arc<Self>, chunk: Chunk) -> Vec<Result<Bytes, Status>> {
        let mut events = Vec::with_capacity(chunk.parts.len());
        let mut requests = Vec::with_capacity(chunk.parts.len());
        for part in chunk.parts {
            let decoded = self.schema.decode(part.piece);
            let receipt = Uuid::now_v7();
            requests.push(Request {
                source: self.source.clone(),
                body: decoded.json.into(),
                headers: self.headers.with_receipt(receipt),
            });
            events.push(Sent {
                message: part.message,
                receipt,
                key: decoded.key,
                undecodable: decoded.error,
                _held: part.held,
            });
        }
        let outcomes = self.commit(requests).await;
        let mut replies = self.replies(events, outcomes);
        replies.extend(chunk.end.map(|end| Err(self.end(end))));
        replies
    }

    /// Makes the reply messages of the schema. The replies to one message are joined if
    /// the schema allows several in one reply message.
    fn replies(&self, events: Vec<Sent>, outcomes: Vec<Outcome>) -> Vec<Result<Bytes, Status>> {
        let answered: Vec<(u64, Key, Option<String>)> = events
            .into_iter()
            .zip(outcomes)
            .filter_map(|(event, outcome)| {
                let refused = match event.undecodable {
                    Some(error) => Some(Why {
                        cause: "undecodable",
                        detail: Some(error.into()),
                        is_told: true,
                    }),
                    None => refused(outcome),
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
        let receipt = Uuid::now_v7();
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

    async fn commit(&self, requests: Vec<Request>) -> Vec<Outcome> {
        let count = requests.len();
        if count == 0 {
            return Vec::new();
        }
        let bytes = requests.iter().map(Request::len).sum();
        let payer = Payer::Source(self.source.clone());
        let share = self.push.budget.take(payer, count, bytes);
        match timeout(self.push.pipeline.patience(), share).await {
            Ok(Some(_share)) => self.push.pipeline.submit(requests).await,
            Ok(None) | Err(_) => vec![Err(Refusal::Busy); count],
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
