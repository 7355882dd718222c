//! The batcher: natural batching between the receivers of requests and the lanes.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix::prelude::*;
use tokio::{sync::oneshot, time::Instant};

use super::{
    courier::{Courier, Reply},
    lanes::{LARGE, Lanes, Next},
    queue::{BatchLimits, Queue, Submission},
    request::{Outcome, Refusal, Request},
    store::Commit,
};
use crate::process::exit::Vital;

/// Hands batches of the submissions that wait for a commit to the lanes.
///
/// Promises:
/// - A request never waits for a batch to fill. If no commit is in flight, the request is
///   sent at once; otherwise the next batch gathers until a commit ends. If a lane is idle
///   it gathers no longer than until it is large, or until all commits in flight have taken
///   long. The batches therefore grow with the load, and only with it.
/// - A lane commits one batch at a time, so that the number of lanes bounds the commits
///   in flight.
/// - A submission is answered as a whole, after the commit that contains it.
///
/// It does not bound what waits: the [`Budget`](crate::admission::budget::Budget) of the
/// entrances does, and each stream has one submission at a time. Whoever stops waiting
/// gives back what it took, and the queue forgets its submission.
#[derive(Debug)]
pub(crate) struct Batcher {
    waiting: Waiting,
    lanes: Lanes<Recipient<Commit>>,
    /// Whether it will look at the queue at a later time by itself.
    is_timed: bool,
    _vital: Vital,
}

/// The submissions that wait for a commit. Those who submit put them here themselves, and
/// send the batcher a message only if it has a lane for them: one for each batch rather than
/// for each submission.
#[derive(Clone, Debug)]
struct Waiting(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    queue: Queue,
    /// The batcher is to be told when so many bytes wait; never if `None`.
    tell_at: Option<usize>,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batcher {
    /// Starts the batcher in this thread, and returns a handle to it. `patience` is how long a request
    /// waits for its commit before it is refused.
    pub(crate) fn spawn(
        limits: BatchLimits,
        lanes: Vec<Recipient<Commit>>,
        patience: Duration,
        vital: Vital,
        thread: &ArbiterHandle,
    ) -> Pipeline {
        let waiting = Waiting(Arc::new(Mutex::new(State {
            queue: Queue::new(limits),
            tell_at: Some(0),
        })));
        let batcher = Self {
            waiting: waiting.clone(),
            lanes: Lanes::new(lanes),
            is_timed: false,
            _vital: vital,
        };
        Pipeline {
            batcher: Self::start_in_arbiter(thread, |_| batcher),
            waiting,
            patience,
            courier: None,
        }
    }

    fn dispatch(&mut self, ctx: &mut Context<Self>) {
        loop {
            let now = Instant::now();
            let (next, batch) = {
                let mut waiting = self.waiting.lock();
                let next = self.lanes.next(now, waiting.queue.bytes());
                let batch = match next {
                    Next::Now => waiting.queue.next_batch(),
                    Next::At(_) | Next::Later => None,
                };
                waiting.tell_at = match next {
                    Next::Now => Some(0),
                    Next::At(_) => Some(LARGE),
                    Next::Later => None,
                };
                (next, batch)
            };
            if let Next::At(then) = next {
                self.look_again(then.saturating_duration_since(now), ctx);
            }
            let Some(batch) = batch else { return };
            let Some(lane) = self.lanes.take(now) else {
                return batch.callers.refuse(&Refusal::Stopping);
            };
            let callers = batch.callers;
            let commit = lane.send(Commit {
                requests: batch.requests,
                deadline: batch.deadline,
            });
            let commit = commit.into_actor(self).map(move |outcomes, actor, ctx| {
                match outcomes {
                    Ok(outcomes) => {
                        callers.answer(outcomes);
                        actor.lanes.put_back(lane, now);
                        actor.dispatch(ctx);
                    }
                    // The lane panicked, which ends the process (see `Vital`).
                    Err(_) => callers.refuse(&Refusal::Stopping),
                }
            });
            ctx.spawn(commit);
        }
    }

    /// Looks at the queue after this time, if it is not going to look before.
    fn look_again(&mut self, after: Duration, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.is_timed, true) {
            ctx.run_later(after, |actor, ctx| {
                actor.is_timed = false;
                actor.dispatch(ctx);
            });
        }
    }
}

impl Actor for Batcher {
    type Context = Context<Self>;
}

/// There is a submission, and a lane for it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Look;

impl Handler<Look> for Batcher {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Self::Context) {
        self.dispatch(ctx);
    }
}

/// A handle to the batcher, for every receiver of requests.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    batcher: Addr<Batcher>,
    waiting: Waiting,
    patience: Duration,
    courier: Option<Courier>,
}

impl Pipeline {
    /// The handle for requests of this thread, if it has a runtime of its own.
    pub(crate) fn for_this_thread(&self) -> Self {
        Self {
            courier: Some(Courier::start()),
            ..self.clone()
        }
    }

    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Commits the requests, and returns an outcome for each, in the same order: after
    /// the commit, or when the patience has ended.
    pub(crate) async fn submit(&self, requests: Vec<Request>) -> Vec<Outcome> {
        let count = requests.len();
        let deadline = Instant::now() + self.patience;
        let (to, outcomes) = oneshot::channel();
        let by = self.courier.clone();
        self.push(Submission {
            requests,
            deadline,
            reply: Reply { to, by },
        });
        let refusal = match tokio::time::timeout_at(deadline, outcomes).await {
            Ok(Ok(outcomes)) => return outcomes,
            Ok(Err(_)) => Refusal::Stopping,
            Err(_) => Refusal::Late,
        };
        vec![Err(refusal); count]
    }

    /// Puts a submission into the queue, unless the batcher has ended.
    fn push(&self, submission: Submission) {
        if !self.batcher.connected() {
            return;
        }
        let is_due = {
            let mut waiting = self.waiting.lock();
            waiting.queue.push(submission);
            let bytes = waiting.queue.bytes();
            waiting.tell_at.take_if(|least| bytes >= *least).is_some()
        };
        if is_due {
            // There is one such message at a time, so that the mailbox is never full. If
            // the batcher has ended meanwhile, the process ends.
            let _ = self.batcher.try_send(Look);
        }
    }
}

#[cfg(test)]
mod tests;
