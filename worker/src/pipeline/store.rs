//! The store: one lane, which is one connection to Postgres.

use actix::{dev::ToEnvelope, prelude::*};
use tokio::time::Instant;
use tracing::warn;

use super::{
    lane::Ingest,
    outcomes,
    request::Refusal,
    settle::{Told, settle},
    work::Work,
};
use crate::{
    postgres::failure::{Failure, Next},
    process::exit::Vital,
};

/// Owns one connection (through `I`) and commits one batch at a time on it.
///
/// Promises:
/// - It answers after Postgres has reported the commit of the transaction.
/// - A transient failure is retried until the deadline of the batch. The extension
///   recognizes a retry by its receipt id, so that a commit whose answer was lost is not
///   repeated.
/// - A request that Postgres declines does not fail the others (see [`settle`]).
/// - A batch that it cannot commit, because there is no connection, goes back, so that
///   another lane takes it.
/// - It tells of each commit that stored events, without waiting for anybody.
#[derive(Debug)]
pub(crate) struct Store<I> {
    /// `None` while a batch is being committed.
    ingest: Option<I>,
    told: Told,
    _vital: Vital,
}

impl<I: Ingest> Store<I> {
    pub(crate) fn new(ingest: I, told: Told, vital: Vital) -> Self {
        Self {
            ingest: Some(ingest),
            told,
            _vital: vital,
        }
    }
}

impl<I: Ingest> Actor for Store<I> {
    type Context = Context<Self>;
}

/// Commits these requests, as far as they have no outcome.
#[derive(Debug, Message)]
#[rtype(result = "Settled")]
pub(crate) struct Commit {
    pub(crate) work: Work,
    /// No attempt begins after this time.
    pub(crate) deadline: Instant,
}

/// The batch of a commit. If some requests have no outcome, the failure says why there is no
/// connection.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) work: Work,
    pub(crate) unconnected: Option<Failure>,
}

#[cfg(test)]
impl Settled {
    /// A batch whose requests have these outcomes.
    pub(crate) fn whole(work: Work, outcomes: Vec<super::request::Outcome>) -> Self {
        let outcomes = outcomes.into_iter().map(Some).collect();
        Self {
            work: Work { outcomes, ..work },
            unconnected: None,
        }
    }
}

impl<I: Ingest> Handler<Commit> for Store<I> {
    // The response is atomic, so that the next batch is handled only after this one is
    // answered.
    type Result = AtomicResponse<Self, Settled>;

    fn handle(&mut self, commit: Commit, _: &mut Self::Context) -> Self::Result {
        let ingest = self.ingest.take();
        let told = self.told.clone();
        let work = async move {
            let Commit { mut work, deadline } = commit;
            let Some(mut ingest) = ingest else {
                for outcome in &mut work.outcomes {
                    outcome.get_or_insert(Err(Refusal::Stopping));
                }
                return (None, work, None);
            };
            let settled = settle(&mut ingest, &told, &mut work, deadline).await;
            if settled.is_ok() {
                tell_declined(&work);
                outcomes::count(&work.requests, &work.outcomes);
            }
            (Some(ingest), work, settled.err())
        };
        let work = work
            .into_actor(self)
            .map(|(ingest, work, unconnected), actor, _| {
                actor.ingest = ingest;
                Settled { work, unconnected }
            });
        AtomicResponse::new(Box::pin(work))
    }
}

/// Opens the connection, unless it is open; and probes whether Postgres takes requests.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), Failure>")]
pub(crate) struct Open {
    pub(crate) probes: bool,
}

impl<I: Ingest> Handler<Open> for Store<I> {
    type Result = AtomicResponse<Self, Result<(), Failure>>;

    fn handle(&mut self, open: Open, _: &mut Self::Context) -> Self::Result {
        let ingest = self.ingest.take();
        let work = async move {
            let Some(mut ingest) = ingest else {
                let stopping = Failure::new(Next::Unconnected, "the worker is stopping");
                return (None, Err(stopping));
            };
            let mut done = ingest.open().await;
            if open.probes && done.is_ok() {
                done = ingest.probe().await;
            }
            (Some(ingest), done)
        };
        let work = work.into_actor(self).map(|(ingest, done), actor, _| {
            actor.ingest = ingest;
            done
        });
        AtomicResponse::new(Box::pin(work))
    }
}

/// A lane as the batcher sees it.
#[derive(Clone, Debug)]
pub(crate) struct LaneHandle {
    pub(super) commit: Recipient<Commit>,
    pub(super) open: Recipient<Open>,
}

impl<A> From<Addr<A>> for LaneHandle
where
    A: Actor + Handler<Commit> + Handler<Open>,
    A::Context: ToEnvelope<A, Commit> + ToEnvelope<A, Open>,
{
    fn from(lane: Addr<A>) -> Self {
        Self {
            commit: lane.clone().recipient(),
            open: lane.recipient(),
        }
    }
}

/// Logs one line for all declined requests, because the drain of the spool retries them
/// again and again.
fn tell_declined(work: &Work) {
    let both = work.requests.iter().zip(&work.outcomes);
    let mut declined = both.filter_map(|(request, outcome)| match outcome {
        Some(Err(Refusal::Declined(reason))) => Some((request, reason)),
        _ => None,
    });
    if let Some((request, reason)) = declined.next() {
        let others = declined.count();
        let (source, receipt) = (&request.source, request.headers.receipt());
        warn!(receipt, %source, %reason, others, "Postgres declines a request");
    }
}
