//! The queue for the lanes: submissions in order of arrival, cut into batches.
//!
//! - A submission is never divided, so that its caller gets one answer for all of it.
//! - A batch is the longest run of submissions within the limits, and at least one.
//! - A submission whose caller no longer waits is not written, because it was never
//!   acknowledged. It is not kept either, because its caller has returned its share of
//!   the budget. Even if no lane is idle for a long time, the queue therefore holds
//!   little more than the budget allows.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::{
    courier::{Mail, Reply},
    request::{Outcome, Refusal, Request},
};

#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) requests: Vec<Request>,
    /// When the caller stops waiting for the outcome.
    pub(crate) deadline: Instant,
    /// Takes one outcome for each request, in the same order.
    pub(crate) reply: Reply,
}

impl Submission {
    fn bytes(&self) -> usize {
        self.requests.iter().map(Request::len).sum()
    }
}

/// Limits of one batch, which is one statement and one transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimits {
    pub(crate) requests: usize,
    pub(crate) bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Queue {
    waiting: VecDeque<Submission>,
    limits: BatchLimits,
    /// Bytes of all submissions in the queue.
    bytes: usize,
    /// Bytes of the submissions since the last sweep.
    unswept: usize,
}

/// Bytes after which the queue is swept, or a quarter of the queue if that is more, so
/// that each submission pays for a bounded number of checks however long the queue is.
const SWEEP: usize = 1 << 20;

/// A batch with the requests to write and the callers to answer.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) requests: Vec<Request>,
    pub(crate) deadline: Instant,
    pub(crate) callers: Callers,
}

#[derive(Debug, Default)]
pub(crate) struct Callers(Vec<(usize, Reply)>);

impl Queue {
    pub(crate) fn new(limits: BatchLimits) -> Self {
        Self {
            waiting: VecDeque::new(),
            limits,
            bytes: 0,
            unswept: 0,
        }
    }

    pub(crate) fn push(&mut self, submission: Submission) {
        let bytes = submission.bytes();
        self.bytes += bytes;
        self.unswept += bytes;
        self.waiting.push_back(submission);
        if self.unswept > SWEEP.max(self.bytes / 4) {
            self.sweep();
        }
    }

    /// Bytes of all that waits.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops submissions whose callers no longer wait. They are in no particular order,
    /// because some callers wait for a shorter time.
    fn sweep(&mut self) {
        self.unswept = 0;
        self.waiting.retain(|waiting| {
            let gone = waiting.reply.to.is_closed();
            if gone {
                self.bytes -= waiting.bytes();
            }
            !gone
        });
    }

    /// The next batch, or `None` when nothing waits.
    pub(crate) fn next_batch(&mut self) -> Option<Batch> {
        let mut requests = Vec::new();
        let mut bytes = 0;
        let mut callers = Callers::default();
        let mut deadline = None;
        while let Some(next) = self.waiting.front() {
            let (size, gone) = (next.bytes(), next.reply.to.is_closed());
            let fits = requests.len() + next.requests.len() <= self.limits.requests
                && bytes + size <= self.limits.bytes;
            if !gone && !fits && !callers.0.is_empty() {
                break;
            }
            let Some(next) = self.waiting.pop_front() else {
                break;
            };
            self.bytes -= size;
            if gone {
                continue;
            }
            bytes += size;
            deadline = deadline.max(Some(next.deadline));
            callers.0.push((next.requests.len(), next.reply));
            requests.extend(next.requests);
        }
        Some(Batch {
            requests,
            deadline: deadline?,
            callers,
        })
    }
}

impl Callers {
    /// Sends every caller its own outcomes.
    pub(crate) fn answer(self, outcomes: Vec<Outcome>) {
        let mut outcomes = outcomes.into_iter();
        let mut mail = Mail::default();
        for (count, reply) in self.0 {
            mail.add(reply, outcomes.by_ref().take(count).collect());
        }
        mail.send();
    }

    pub(crate) fn refuse(self, refusal: &Refusal) {
        let mut mail = Mail::default();
        for (count, reply) in self.0 {
            mail.add(reply, vec![Err(refusal.clone()); count]);
        }
        mail.send();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::pipeline::request::{Verdict, fake};

    type Replies = oneshot::Receiver<Vec<Outcome>>;

    fn queue() -> Queue {
        Queue::new(BatchLimits {
            requests: 4,
            bytes: 100,
        })
    }

    fn push(queue: &mut Queue, bodies: &[&str]) -> Replies {
        let (to, replies) = oneshot::channel();
        queue.push(Submission {
            requests: bodies.iter().map(|body| fake::request("s", body)).collect(),
            deadline: Instant::now(),
            reply: Reply { to, by: None },
        });
        replies
    }

    fn bodies(batch: &Batch) -> Vec<&[u8]> {
        batch.requests.iter().map(|r| r.body.as_ref()).collect()
    }

    #[tokio::test]
    async fn nothing_waiting_is_no_batch() {
        assert!(queue().next_batch().is_none());
    }

    #[tokio::test]
    async fn submissions_stay_whole_and_in_order() {
        let mut queue = queue();
        let _replies = [
            push(&mut queue, &["a", "b"]),
            push(&mut queue, &["c"]),
            push(&mut queue, &["d", "e"]),
        ];
        assert_eq!(bodies(&queue.next_batch().unwrap()), [b"a", b"b", b"c"]);
        assert_eq!(bodies(&queue.next_batch().unwrap()), [b"d", b"e"]);
        assert!(queue.next_batch().is_none());
    }

    #[tokio::test]
    async fn bytes_bound_a_batch_and_an_oversized_submission_goes_alone() {
        let mut queue = queue();
        let (large, huge) = ("x".repeat(60), "x".repeat(500));
        let _replies = [
            push(&mut queue, &[&large]),
            push(&mut queue, &[&large]),
            push(&mut queue, &[&huge]),
            push(&mut queue, &["small"]),
        ];
        for expected in [60, 60, 500, 5] {
            let batch = queue.next_batch().unwrap();
            assert_eq!(batch.requests.len(), 1);
            assert_eq!(batch.requests[0].body.len(), expected);
        }
    }

    #[tokio::test]
    async fn a_caller_that_has_gone_is_passed_over() {
        let mut queue = queue();
        drop(push(&mut queue, &["gone"]));
        let _stays = push(&mut queue, &["stays"]);
        drop(push(&mut queue, &["gone too"]));
        assert_eq!(bodies(&queue.next_batch().unwrap()), [b"stays"]);
        assert!(queue.next_batch().is_none());
    }

    /// A submission whose caller waits longer may be before them.
    #[tokio::test]
    async fn those_who_have_gone_do_not_pile_up_while_no_batch_is_asked_for() {
        let mut queue = queue();
        let body = "x".repeat(100 << 10);
        let mut stay = Vec::new();
        for number in 0..1_000 {
            let replies = push(&mut queue, &[&body]);
            if number % 200 == 0 {
                stay.push(replies);
            }
            assert!(queue.waiting.len() <= stay.len() + 12, "at {number}");
        }
        let batches = std::iter::from_fn(|| queue.next_batch());
        assert_eq!(batches.count(), stay.len());
        assert_eq!(queue.bytes, 0);
    }

    #[tokio::test]
    async fn every_caller_gets_its_own_outcomes() {
        let mut queue = queue();
        let one = push(&mut queue, &["a"]);
        let two = push(&mut queue, &["b", "c"]);
        let accepted = Ok(fake::receipt(Verdict::Accepted));
        let malformed = Ok(fake::receipt(Verdict::Malformed));
        queue.next_batch().unwrap().callers.answer(vec![
            malformed.clone(),
            accepted.clone(),
            Err(Refusal::Busy),
        ]);
        assert_eq!(one.await.unwrap(), [malformed]);
        assert_eq!(two.await.unwrap(), [accepted, Err(Refusal::Busy)]);
    }
}
