//! The queue for the lanes: submissions in order of arrival, cut into batches.
//!
//! - A submission is never divided, so that its caller gets one answer for all of it.
//! - A batch is the longest run of submissions within the limits, and at least one.
//! - A submission whose caller no longer waits is not written, because it was never
//!   acknowledged. It is not kept either, because its caller has returned its share of
//!   the budget. Even if no lane is idle for a long time, the queue therefore holds
//!   little more than the budget allows.
//! - Overload: if more webhooks come than can be stored, a queue that serves the oldest
//!   first serves only those whose senders have given up. So once batches have left
//!   webhooks behind for a while, the newest go first, and those that have waited for long
//!   are refused. (The ideas are CoDel's, as services use it, and adaptive LIFO: see Maurer,
//!   "Fail at scale", ACM Queue 2015.) Only webhooks are refused, because their senders wait
//!   for a time of their own and send again. Everything else has flow control, keeps its
//!   order, and has every other batch during an overload.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{
    courier::{Mail, Reply},
    request::{Outcome, Refusal, Request},
};

#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) requests: Vec<Request>,
    pub(crate) arrived: Instant,
    /// The time at which the caller stops waiting for the outcome.
    pub(crate) deadline: Instant,
    /// True if it may be refused because too much waits.
    pub(crate) is_sheddable: bool,
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

/// Times of an overload. They are parts of the patience, which says how long a request may
/// wait at most.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// Time for which batches leave webhooks behind before it is an overload.
    standing: Duration,
    /// Time that a webhook may have waited in an overload.
    waited: Duration,
}

impl Times {
    fn of(patience: Duration) -> Self {
        Self {
            standing: patience / 20,
            waited: patience / 10,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Queue {
    /// The submissions that may be refused, and the others, both in order of arrival.
    webhooks: VecDeque<Submission>,
    others: VecDeque<Submission>,
    limits: BatchLimits,
    times: Times,
    /// Bytes of all submissions in the queue.
    bytes: usize,
    /// Bytes of the submissions since the last sweep.
    unswept: usize,
    /// Time since which each batch has left webhooks behind.
    behind_since: Option<Instant>,
    /// True if webhooks go first in the next batch of an overload.
    favors_webhooks: bool,
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
    pub(crate) fn new(limits: BatchLimits, patience: Duration) -> Self {
        Self {
            webhooks: VecDeque::new(),
            others: VecDeque::new(),
            limits,
            times: Times::of(patience),
            bytes: 0,
            unswept: 0,
            behind_since: None,
            favors_webhooks: true,
        }
    }

    pub(crate) fn push(&mut self, submission: Submission) {
        let bytes = submission.bytes();
        self.bytes += bytes;
        self.unswept += bytes;
        let queue = match submission.is_sheddable {
            true => &mut self.webhooks,
            false => &mut self.others,
        };
        queue.push_back(submission);
        if self.unswept > SWEEP.max(self.bytes / 4) {
            self.sweep();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.webhooks.is_empty() && self.others.is_empty()
    }

    /// Bytes of all that waits.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops submissions whose callers no longer wait. They are in no particular order,
    /// because some callers wait for a shorter time.
    fn sweep(&mut self) {
        self.unswept = 0;
        for queue in [&mut self.webhooks, &mut self.others] {
            queue.retain(|waiting| {
                let gone = waiting.reply.to.is_closed();
                if gone {
                    self.bytes -= waiting.bytes();
                }
                !gone
            });
        }
    }

    /// The next batch, of at most so many requests or one submission; `None` when nothing
    /// waits.
    pub(crate) fn next_batch(&mut self, now: Instant, most: usize) -> Option<Batch> {
        let most = most.min(self.limits.requests);
        let order = self.order(now, most);
        if order != Order::OfArrival {
            self.shed(now);
        }
        let mut requests = Vec::new();
        let mut bytes = 0;
        let mut callers = Callers::default();
        let mut deadline = None;
        while let Some(end) = self.next(order) {
            let Some(next) = self.at(end) else { break };
            let (size, gone) = (next.bytes(), next.reply.to.is_closed());
            let fits =
                requests.len() + next.requests.len() <= most && bytes + size <= self.limits.bytes;
            if !gone && !fits && !callers.0.is_empty() {
                break;
            }
            let Some(next) = self.take(end) else { break };
            self.bytes -= size;
            if gone {
                continue;
            }
            bytes += size;
            deadline = deadline.max(Some(next.deadline));
            callers.0.push((next.requests.len(), next.reply));
            requests.extend(next.requests);
        }
        self.behind_since = match self.webhooks.is_empty() {
            true => None,
            false => self.behind_since.or(Some(now)),
        };
        Some(Batch {
            requests,
            deadline: deadline?,
            callers,
        })
    }

    /// The order in which a batch takes submissions.
    fn order(&mut self, now: Instant, most: usize) -> Order {
        let standing = self.times.standing;
        let stands = |since: Instant| now.duration_since(since) > standing;
        if self.webhooks.len() <= most || !self.behind_since.is_some_and(stands) {
            return Order::OfArrival;
        }
        let favored = self.favors_webhooks;
        self.favors_webhooks = !favored;
        match favored {
            true => Order::WebhooksFirst,
            false => Order::OthersFirst,
        }
    }

    /// The end of the queue that the next submission comes from.
    fn next(&self, order: Order) -> Option<End> {
        let (webhook, other) = (self.webhooks.front(), self.others.front());
        Some(match (webhook, other, order) {
            (None, None, _) => return None,
            (Some(webhook), Some(other), Order::OfArrival) => match webhook.arrived < other.arrived
            {
                true => End::OldestWebhook,
                false => End::Other,
            },
            (Some(_), None, Order::OfArrival) => End::OldestWebhook,
            (Some(_), _, Order::WebhooksFirst) | (Some(_), None, Order::OthersFirst) => {
                End::NewestWebhook
            }
            (None, Some(_), _) | (Some(_), Some(_), Order::OthersFirst) => End::Other,
        })
    }

    fn at(&self, end: End) -> Option<&Submission> {
        match end {
            End::OldestWebhook => self.webhooks.front(),
            End::NewestWebhook => self.webhooks.back(),
            End::Other => self.others.front(),
        }
    }

    fn take(&mut self, end: End) -> Option<Submission> {
        match end {
            End::OldestWebhook => self.webhooks.pop_front(),
            End::NewestWebhook => self.webhooks.pop_back(),
            End::Other => self.others.pop_front(),
        }
    }

    /// Refuses the webhooks that have waited for too long in an overload.
    fn shed(&mut self, now: Instant) {
        let mut mail = Mail::default();
        let waited = self.times.waited;
        let is_old = |oldest: &mut Submission| now.duration_since(oldest.arrived) > waited;
        while let Some(old) = self.webhooks.pop_front_if(is_old) {
            self.bytes -= old.bytes();
            let refused = vec![Err(Refusal::Overloaded); old.requests.len()];
            mail.add(old.reply, refused);
        }
        mail.send();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    OfArrival,
    /// The order of an overload, in which the newest webhooks go first.
    WebhooksFirst,
    OthersFirst,
}

#[derive(Clone, Copy, Debug)]
enum End {
    OldestWebhook,
    NewestWebhook,
    Other,
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
mod tests;
