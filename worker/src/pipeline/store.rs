//! The store: one lane, which is one connection to Postgres.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;
use metrics::{counter, histogram};
use tokio::time::Instant;
use tracing::warn;

use super::{
    lane::Ingest,
    outcomes,
    request::{Outcome, Receipt, Refusal, Request},
    stored::Stored,
};
use crate::{
    postgres::failure::{Failure, Next},
    process::{backoff::Backoff, exit::Vital, metric},
};

/// Pauses between attempts at one batch.
const LEAST_PAUSE: Duration = Duration::from_millis(50);
const GREATEST_PAUSE: Duration = Duration::from_secs(2);
/// Pause between a refusal and the next batch.
const COOL_DOWN: Duration = Duration::from_millis(250);

/// Owns one connection (through `I`) and commits one batch at a time on it.
///
/// Promises:
/// - It answers after Postgres has reported the commit of the transaction.
/// - A transient failure is retried until the deadline of the batch. The extension
///   recognizes a retry by its receipt id, so that a commit whose answer was lost is not
///   repeated.
/// - A request that Postgres declines does not fail the others: the batch is halved until
///   that request is alone.
/// - It tells of each commit that stored events, without waiting for anybody.
#[derive(Debug)]
pub(crate) struct Store<I> {
    /// `None` while a batch is being committed.
    ingest: Option<I>,
    stored: Stored,
    _vital: Vital,
}

impl<I: Ingest> Store<I> {
    pub(crate) fn new(ingest: I, stored: Stored, vital: Vital) -> Self {
        Self {
            ingest: Some(ingest),
            stored,
            _vital: vital,
        }
    }
}

impl<I: Ingest> Actor for Store<I> {
    type Context = Context<Self>;
}

/// Commits these requests, with an outcome for each, in the same order.
#[derive(Debug, Message)]
#[rtype(result = "Vec<Outcome>")]
pub(crate) struct Commit {
    pub(crate) requests: Vec<Request>,
    /// No attempt begins after this time.
    pub(crate) deadline: Instant,
}

impl<I: Ingest> Handler<Commit> for Store<I> {
    // The response is atomic, so that the next batch is handled only after this one is
    // answered.
    type Result = AtomicResponse<Self, Vec<Outcome>>;

    fn handle(&mut self, commit: Commit, _: &mut Self::Context) -> Self::Result {
        let ingest = self.ingest.take();
        let stored = self.stored.clone();
        let work = async move {
            let Some(mut ingest) = ingest else {
                let refused = Err(Refusal::Stopping);
                return (None, vec![refused; commit.requests.len()]);
            };
            let outcomes = settle(&mut ingest, &stored, &commit.requests, commit.deadline).await;
            tell_declined(&commit.requests, &outcomes);
            outcomes::count(&commit.requests, &outcomes);
            (Some(ingest), outcomes)
        };
        let work = work.into_actor(self).map(|(ingest, outcomes), actor, _| {
            actor.ingest = ingest;
            outcomes
        });
        AtomicResponse::new(Box::pin(work))
    }
}

/// Gets an outcome for every request, retrying and halving the batch as necessary.
async fn settle<I: Ingest>(
    ingest: &mut I,
    stored: &Stored,
    requests: &[Request],
    deadline: Instant,
) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(requests.len());
    // Parts that are still to be written; the next one is last.
    let mut parts = vec![requests];
    let mut pauses = Backoff::between(LEAST_PAUSE, GREATEST_PAUSE);
    while let Some(part) = parts.pop() {
        let failure = match attempt(ingest, part).await {
            Ok(receipts) => {
                if receipts.iter().any(|receipt| receipt.inserted > 0) {
                    stored.tell();
                }
                outcomes.extend(receipts.into_iter().map(Ok));
                continue;
            }
            Err(failure) => failure,
        };
        counter!(metric::DATABASE_ERRORS, "next" => failure.next.as_str()).increment(1);
        let in_time = Instant::now() < deadline;
        match failure.next {
            Next::Isolate if part.len() > 1 && in_time => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
            Next::Isolate if part.len() == 1 => {
                outcomes.push(Err(Refusal::Declined(failure.reason)));
            }
            Next::Retry | Next::Reconnect if in_time => {
                warn!(reason = %failure.reason, requests = part.len(), "a commit failed; trying again");
                parts.push(part);
                let pause = Instant::now() + pauses.pause();
                tokio::time::sleep_until(pause.min(deadline)).await;
            }
            _ => {
                warn!(reason = %failure.reason, requests = part.len(), "a commit failed; refusing");
                // A failure that only an operator can fix is retried at most a few times
                // a second.
                tokio::time::sleep(COOL_DOWN).await;
                // The same applies to the parts that were not tried yet.
                let refused = part.len() + parts.iter().map(|part| part.len()).sum::<usize>();
                let refusal = Refusal::Failed(failure.reason);
                outcomes.extend(std::iter::repeat_n(Err(refusal), refused));
                parts.clear();
            }
        }
    }
    outcomes
}

/// Logs one line for all declined requests, because the drain of the spool retries them
/// again and again.
fn tell_declined(requests: &[Request], outcomes: &[Outcome]) {
    let both = requests.iter().zip(outcomes);
    let mut declined = both.filter_map(|(request, outcome)| match outcome {
        Err(Refusal::Declined(reason)) => Some((request, reason)),
        _ => None,
    });
    if let Some((request, reason)) = declined.next() {
        let others = declined.count();
        let (source, receipt) = (&request.source, request.headers.receipt());
        warn!(receipt, %source, %reason, others, "Postgres declines a request");
    }
}

async fn attempt<I: Ingest>(ingest: &mut I, part: &[Request]) -> Result<Vec<Receipt>, Failure> {
    let started = Instant::now();
    let receipts = ingest.ingest(part).await?;
    histogram!(metric::COMMIT_SECONDS).record(started.elapsed().as_secs_f64());
    histogram!(metric::BATCH_REQUESTS).record(part.len() as f64);
    if receipts.len() != part.len() {
        let reason: Arc<str> = format!(
            "tidings.ingest_batch gave {} receipts for {} requests",
            receipts.len(),
            part.len()
        )
        .into();
        return Err(Failure::new(Next::Refuse, reason));
    }
    Ok(receipts)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures_util::FutureExt;

    use super::*;
    use crate::pipeline::request::{Verdict, fake};

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Fails as told: first by the plan, then by the content; notes each attempt.
    #[derive(Default)]
    struct Fake {
        plan: VecDeque<Next>,
        always: Option<Next>,
        attempts: Vec<String>,
    }

    impl Ingest for Fake {
        async fn ingest(&mut self, requests: &[Request]) -> Result<Vec<Receipt>, Failure> {
            let bodies = requests
                .iter()
                .map(|r| std::str::from_utf8(&r.body).unwrap());
            let bodies: String = bodies.collect();
            self.attempts.push(bodies.clone());
            if let Some(next) = self.plan.pop_front().or(self.always) {
                return Err(Failure::new(next, "as planned"));
            }
            if bodies.contains('!') {
                return Err(Failure::new(Next::Isolate, "odd"));
            }
            Ok(vec![fake::receipt(Verdict::Accepted); requests.len()])
        }
    }

    fn requests(bodies: &[&str]) -> Vec<Request> {
        bodies.iter().map(|body| fake::request("s", body)).collect()
    }

    async fn settle_all(fake: &mut Fake, bodies: &[&str]) -> Vec<Outcome> {
        let stored = Stored::default();
        settle(fake, &stored, &requests(bodies), Instant::now() + PATIENCE).await
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_that_is_declined_fails_alone_and_in_its_place() {
        let mut fake = Fake::default();
        let outcomes = settle_all(&mut fake, &["a", "b", "!", "d", "e"]).await;
        let accepted = outcomes.iter().map(Result::is_ok).collect::<Vec<_>>();
        assert_eq!(accepted, [true, true, false, true, true]);
        assert_eq!(outcomes[2], Err(Refusal::Declined("odd".into())));
        assert_eq!(fake.attempts, ["ab!de", "ab", "!de", "!", "de"]);
    }

    #[tokio::test(start_paused = true)]
    async fn halving_ends_at_the_deadline_too() {
        let mut fake = Fake {
            always: Some(Next::Isolate),
            ..Fake::default()
        };
        let requests = requests(&["a", "b", "c", "d"]);
        let outcomes = settle(&mut fake, &Stored::default(), &requests, Instant::now()).await;
        assert_eq!(outcomes.len(), 4);
        assert_eq!(fake.attempts, ["abcd"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_tried_again() {
        let mut fake = Fake {
            plan: [Next::Retry, Next::Reconnect, Next::Retry].into(),
            ..Fake::default()
        };
        let outcomes = settle_all(&mut fake, &["a", "b"]).await;
        assert!(outcomes.iter().all(Result::is_ok));
        assert_eq!(fake.attempts, ["ab"; 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn trying_again_ends_at_the_deadline() {
        let started = Instant::now();
        let mut fake = Fake {
            always: Some(Next::Reconnect),
            ..Fake::default()
        };
        let outcomes = settle_all(&mut fake, &["a", "b"]).await;
        assert_eq!(outcomes, vec![Err(Refusal::Failed("as planned".into())); 2]);
        assert_eq!(started.elapsed(), PATIENCE + COOL_DOWN);
        assert!(fake.attempts.len() > 5);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_pass_is_refused_with_all_that_is_left() {
        let mut fake = Fake {
            plan: [Next::Isolate, Next::Refuse].into(),
            ..Fake::default()
        };
        let started = Instant::now();
        let outcomes = settle_all(&mut fake, &["a", "b", "c", "d"]).await;
        assert_eq!(outcomes, vec![Err(Refusal::Failed("as planned".into())); 4]);
        assert_eq!(fake.attempts, ["abcd", "ab"]);
        assert_eq!(started.elapsed(), COOL_DOWN);
    }

    /// Answers each attempt with one receipt, which stored so many events.
    struct Stores(u32);

    impl Ingest for Stores {
        async fn ingest(&mut self, _: &[Request]) -> Result<Vec<Receipt>, Failure> {
            Ok(vec![Receipt {
                inserted: self.0,
                ..fake::receipt(Verdict::Accepted)
            }])
        }
    }

    #[tokio::test]
    async fn only_a_commit_that_stored_events_is_told_of() {
        for (inserted, is_told) in [(0, false), (3, true)] {
            let stored = Stored::default();
            let deadline = Instant::now() + PATIENCE;
            let mut stores = Stores(inserted);
            settle(&mut stores, &stored, &requests(&["a"]), deadline).await;
            settle(&mut stores, &stored, &requests(&["b"]), deadline).await;
            assert_eq!(stored.taken().now_or_never().is_some(), is_told);
            assert!(stored.taken().now_or_never().is_none(), "two are one");
        }
    }
}
