//! The way in which a lane gets an outcome for every request of a batch.
//!
//! - A failure that may pass is tried again until the deadline of the batch.
//! - Any other failure may be that of one request: a trigger or an index of the operator's, a
//!   row that row level security refuses. So the batch is halved until that request is alone
//!   and is declined, and the others are stored.
//! - If the error could also be that of the whole database (a missing right, a locked table),
//!   a probe says which of the two it is. If the probe fails too, the batch is refused, and the
//!   next one begins with a single request: an outage costs a request and a probe a batch.

use std::{ops::Range, sync::Arc, time::Duration};

use metrics::{counter, histogram};
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::{
    lane::Ingest,
    request::{Outcome, Receipt, Refusal, Request},
    stored::Stored,
    taking::{STALL, Taking},
    work::Work,
};
use crate::{
    postgres::failure::{Failure, Next},
    process::{backoff::Backoff, metric},
};

/// Pauses between attempts at one batch, and between attempts to connect.
pub(super) const LEAST_PAUSE: Duration = Duration::from_millis(50);
pub(super) const GREATEST_PAUSE: Duration = Duration::from_secs(2);
/// Pause between a refusal and the next batch.
const COOL_DOWN: Duration = Duration::from_millis(250);

/// The parts that are told of the attempts.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) stored: Stored,
    pub(crate) taking: Taking,
}

impl Told {
    /// The parts of a command, which runs only if Postgres has answered.
    pub(crate) fn new() -> Self {
        Self {
            stored: Stored::default(),
            taking: Taking::trusting(),
        }
    }
}

/// Gets an outcome for every request that has none. An error means that there is no
/// connection: some requests have no outcome yet, and another lane may try.
pub(super) async fn settle<I: Ingest>(
    ingest: &mut I,
    told: &Told,
    work: &mut Work,
    deadline: Instant,
) -> Result<(), Failure> {
    let Work { requests, outcomes } = work;
    let taking = &told.taking;
    let mut parts = Parts::of(outcomes, taking.refuses());
    let mut pauses = Backoff::between(LEAST_PAUSE, GREATEST_PAUSE);
    // Whether Postgres has taken something since this batch began.
    let mut is_proven = false;
    while let Some(range) = parts.next() {
        let Some(part) = requests.get(range.clone()) else {
            continue;
        };
        let mut failure = match attempt(ingest, taking, part).await {
            Ok(receipts) => {
                is_proven = true;
                taking.committed();
                if receipts.iter().any(|receipt| receipt.inserted > 0) {
                    told.stored.tell();
                }
                fill(outcomes, range, receipts.into_iter().map(Ok));
                continue;
            }
            Err(failure) => failure,
        };
        counter!(metric::DATABASE_ERRORS, "next" => failure.next.as_str()).increment(1);
        let in_time = Instant::now() < deadline;
        let is_alone = part.len() == 1;
        if failure.next == Next::Refuse && in_time {
            match prove(ingest, taking, &mut is_proven).await {
                Ok(()) => failure.next = Next::Isolate,
                // The reason of the probe says what is wrong with the database.
                Err(probed) => failure = probed,
            }
        }
        match failure.next {
            Next::Isolate if is_alone => {
                let declined = Err(Refusal::Declined(failure.reason));
                fill(outcomes, range, std::iter::once(declined));
            }
            Next::Isolate if in_time => parts.halve(range),
            Next::Unconnected => return Err(failure),
            Next::Retry | Next::Reconnect if in_time => {
                taking.failed(&failure.reason);
                warn!(reason = %failure.reason, requests = part.len(), "a commit failed; trying again");
                parts.again(range);
                let pause = Instant::now() + pauses.pause();
                tokio::time::sleep_until(pause.min(deadline)).await;
            }
            next => {
                warn!(reason = %failure.reason, requests = part.len(), "a commit failed; refusing");
                match next {
                    Next::Refuse if in_time => taking.refused(&failure.reason),
                    // At the deadline nothing says whether it was one request.
                    Next::Refuse | Next::Isolate => {}
                    _ => taking.lost(&failure.reason),
                }
                // A failure that only an operator can fix is retried at most a few times
                // a second.
                tokio::time::sleep(COOL_DOWN).await;
                // The same applies to the parts that were not tried yet.
                let refusal = Refusal::Failed(failure.reason);
                for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_none()) {
                    *outcome = Some(Err(refusal.clone()));
                }
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Whether Postgres takes requests: something was stored just now, or a probe passes.
async fn prove<I: Ingest>(
    ingest: &mut I,
    taking: &Taking,
    is_proven: &mut bool,
) -> Result<(), Failure> {
    if !*is_proven {
        ingest.probe().await.map_err(|failure| match failure.next {
            // It is no request that could be isolated.
            Next::Isolate => Failure::new(Next::Refuse, failure.reason),
            _ => failure,
        })?;
        taking.passed();
        *is_proven = true;
    }
    Ok(())
}

fn fill(
    outcomes: &mut [Option<Outcome>],
    range: Range<usize>,
    with: impl Iterator<Item = Outcome>,
) {
    let places = outcomes.get_mut(range).unwrap_or_default();
    for (place, outcome) in places.iter_mut().zip(with) {
        *place = Some(outcome);
    }
}

/// The parts of a batch that are still to be written; the next one is last.
struct Parts(Vec<Range<usize>>);

impl Parts {
    /// The requests without an outcome, in order. If the last batches were refused, a single
    /// request is tried first.
    fn of(outcomes: &[Option<Outcome>], tries_one: bool) -> Self {
        let mut parts: Vec<Range<usize>> = Vec::new();
        for (at, outcome) in outcomes.iter().enumerate() {
            match parts.last_mut() {
                _ if outcome.is_some() => {}
                Some(last) if last.end == at => last.end += 1,
                _ => parts.push(at..at + 1),
            }
        }
        parts.reverse();
        if tries_one && let Some(first) = parts.pop() {
            let one = first.start + 1;
            if one < first.end {
                parts.push(one..first.end);
            }
            parts.push(first.start..one);
        }
        Self(parts)
    }

    fn next(&mut self) -> Option<Range<usize>> {
        self.0.pop()
    }

    fn again(&mut self, part: Range<usize>) {
        self.0.push(part);
    }

    fn halve(&mut self, part: Range<usize>) {
        let middle = part.start + part.len() / 2;
        self.0.extend([middle..part.end, part.start..middle]);
    }
}

async fn attempt<I: Ingest>(
    ingest: &mut I,
    taking: &Taking,
    part: &[Request],
) -> Result<Vec<Receipt>, Failure> {
    let started = Instant::now();
    let receipts = {
        let mut ingesting = std::pin::pin!(ingest.ingest(part));
        match timeout(STALL, &mut ingesting).await {
            Ok(receipts) => receipts,
            Err(_) => {
                let reason = format!("no commit for {} s", STALL.as_secs());
                taking.stalled(started, &reason.into());
                ingesting.await
            }
        }
    }?;
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
mod tests;
