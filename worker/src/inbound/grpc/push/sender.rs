//! Submits a chunk to the pipeline, and says what became of its events.

use std::sync::Arc;

use metrics::histogram;
use tidings_core::wire::{Decoded, Schema};
use tokio::time::{Instant, timeout};
use tonic::{Code, Status};
use uuid::Uuid;

use super::{
    COMMITTED, Push, REFUSED,
    admit::Open,
    bodies::{Bodies, Envelope},
    chunk::Chunk,
    receipted,
    replies::{Answer, Replies, Why},
};
use crate::{
    admission::budget::Payer,
    inbound::{
        peer::Peer,
        refusal::{Named, Refused},
    },
    pipeline::{
        headers::Template,
        request::{Outcome, Refusal, Verdict},
    },
    process::{metric, receipt},
};

/// Submits the chunks of one stream.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(super) push: Push,
    pub(super) source: Arc<str>,
    pub(super) peer: Option<Peer>,
    pub(super) schema: Arc<Schema>,
    pub(super) headers: Template,
    pub(super) _open: Open,
}

impl Sender {
    pub(crate) fn source(&self) -> &Arc<str> {
        &self.source
    }

    /// Commits a chunk, and returns the replies to its events.
    pub(super) async fn settle(self: Arc<Self>, chunk: Chunk) -> Replies {
        let (mut messages, mut events) = (Vec::new(), Vec::new());
        for part in chunk.parts {
            // The share of a message is held until its events are settled.
            messages.push((part.message, part.held));
            events.push(self.schema.decode(part.piece));
        }
        let began = Instant::now();
        let outcomes = self.commit(&mut events).await;
        if !outcomes.is_empty() {
            let is_committed = outcomes.iter().all(|(_, outcome)| is_accepted(outcome));
            let outcome = if is_committed { COMMITTED } else { REFUSED };
            histogram!(metric::REQUEST_SECONDS, "route" => "push", "outcome" => outcome)
                .record(began.elapsed().as_secs_f64());
        }
        let events = events.into_iter().zip(outcomes);
        let answers = events
            .zip(messages)
            .filter_map(|((event, outcome), message)| {
                let (receipt, outcome) = outcome;
                let refused = match event.error {
                    Some(error) => Some(Why {
                        cause: "undecodable",
                        detail: Some(error.into()),
                        is_told: true,
                    }),
                    None => refused(outcome),
                };
                if let Some(why) = &refused {
                    self.tell("a pushed event", receipt, why.cause, why.detail.as_deref());
                }
                let (message, held) = message;
                let refused = refused.map(|why| (why, receipt));
                Some(Answer::new(message, event.key?, refused, &held))
            });
        let answers = answers.collect();
        let end = chunk.end.map(|end| self.end(end));
        Replies::new(self.schema.clone(), answers, end)
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

    /// The status of a stream whose replies nobody reads, with its line in the log.
    pub(crate) fn unread(&self, status: Status) -> Status {
        let receipt = receipt::id();
        let reason = Some(status.message());
        self.tell("a push stream", receipt, "replies_unread", reason);
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

fn is_accepted(outcome: &Outcome) -> bool {
    matches!(outcome, Ok(receipt) if receipt.verdict == Verdict::Accepted)
}

/// `None` after the commit that holds the event.
fn refused(outcome: Outcome) -> Option<Why> {
    match outcome {
        // A rejected event counts too, because it is kept and a retry would change
        // nothing.
        outcome if is_accepted(&outcome) => None,
        Ok(receipt) => Some(Why {
            cause: receipt.verdict.as_str(),
            detail: receipt.detail.map(Arc::from),
            is_told: true,
        }),
        Err(refusal) => Some(Why {
            cause: refusal.as_str(),
            detail: match refusal {
                Refusal::Failed(reason) | Refusal::Declined(reason) => Some(reason),
                Refusal::Busy | Refusal::Overloaded | Refusal::Late | Refusal::Stopping => None,
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
