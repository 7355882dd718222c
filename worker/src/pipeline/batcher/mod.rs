//! The batcher: natural batching between the receivers of requests and the lanes.

mod probes;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix::prelude::*;
use tokio::{sync::oneshot, time::Instant};
use tracing::debug;

use self::probes::Probes;
use super::{
    courier::{Courier, Reply},
    lanes::{Closed, LARGE, Lanes, Next},
    outcomes,
    pace::Pace,
    queue::{BatchLimits, Callers, Queue, Submission},
    request::{Outcome, Refusal, Request},
    store::{Commit, LaneHandle, Open, Settled},
    taking::Taking,
    work::Work,
};
use crate::{postgres::failure::Failure, process::exit::Vital};

/// Hands batches of the submissions that wait for a commit to the lanes.
///
/// Promises:
/// - A request never waits for a batch to fill. If no commit is in flight, the request is
///   sent at once; otherwise the next batch gathers until a commit ends. If a lane is idle
///   it gathers no longer than until it is large, or until all commits in flight have taken
///   long. The batches therefore grow with the load, and only with it.
/// - A lane commits one batch at a time, so that the number of lanes bounds the commits
///   in flight. Only a lane that has a connection gets a batch, and a batch whose lane has
///   lost its connection goes to the next lane that has one.
/// - A submission is answered as a whole, after the commit that contains it.
/// - While Postgres takes no requests, it is probed over an idle lane, so that its return is
///   noticed without a request.
///
/// It does not bound what waits: the [`Budget`](crate::admission::budget::Budget) of the
/// entrances does, and each stream has one submission at a time. Whoever stops waiting
/// gives back what it took, and the queue forgets its submission.
#[derive(Debug)]
pub(crate) struct Batcher {
    waiting: Waiting,
    /// Batches that have come back from lanes without a connection.
    returned: VecDeque<Taken>,
    lanes: Lanes<LaneHandle>,
    pace: Pace,
    limit: Arc<AtomicUsize>,
    taking: Taking,
    probes: Probes,
    /// The time at which the batcher will look at the queue by itself.
    looks_at: Option<Instant>,
    _vital: Vital,
}

/// A batch on its way.
#[derive(Debug)]
struct Taken {
    work: Work,
    deadline: Instant,
    callers: Callers,
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
        lanes: Vec<LaneHandle>,
        patience: Duration,
        taking: Taking,
        vital: Vital,
        thread: &ArbiterHandle,
    ) -> Pipeline {
        let waiting = Waiting(Arc::new(Mutex::new(State {
            queue: Queue::new(limits, patience),
            tell_at: Some(0),
        })));
        let limit = Arc::new(AtomicUsize::new(limits.requests));
        let batcher = Self {
            waiting: waiting.clone(),
            returned: VecDeque::new(),
            lanes: Lanes::new(lanes),
            pace: Pace::new(limits.requests),
            limit: limit.clone(),
            taking,
            probes: Probes::new(),
            looks_at: None,
            _vital: vital,
        };
        Pipeline {
            batcher: Self::start_in_arbiter(thread, |_| batcher),
            waiting,
            patience,
            limit,
            courier: None,
        }
    }

    fn dispatch(&mut self, ctx: &mut Context<Self>) {
        self.expire();
        loop {
            let now = Instant::now();
            let (next, batch) = self.next(now);
            match next {
                Next::At(then) | Next::OpenAt(then) => self.look_again(then, ctx),
                Next::Open => return self.open(now, ctx),
                Next::Now | Next::Later => {}
            }
            let Some(batch) = batch else { return };
            let Some(lane) = self.lanes.take(now) else {
                return batch.callers.refuse(&Refusal::Stopping);
            };
            self.commit(batch, lane, now, ctx);
        }
    }

    /// The next step, and the batch if one is to be committed.
    fn next(&mut self, now: Instant) -> (Next, Option<Taken>) {
        let limit = self.pace.limit();
        let mut waiting = self.waiting.lock();
        // A batch that has come back is worth a further lane.
        let bytes = match self.returned.is_empty() {
            true => waiting.queue.bytes(),
            false => LARGE,
        };
        let next = self.lanes.next(now, bytes);
        if next == Next::Open && self.returned.is_empty() && waiting.queue.is_empty() {
            // Nothing waits, so that no lane is opened for it.
            waiting.tell_at = Some(0);
            return (Next::Later, None);
        }
        waiting.tell_at = match next {
            Next::Now => Some(0),
            Next::At(_) => Some(LARGE),
            Next::Open | Next::OpenAt(_) | Next::Later => None,
        };
        if next != Next::Now {
            return (next, None);
        }
        let returned = self.returned.pop_front();
        let batch = returned.or_else(|| {
            let batch = waiting.queue.next_batch(now, limit)?;
            Some(Taken {
                work: Work::new(batch.requests),
                deadline: batch.deadline,
                callers: batch.callers,
            })
        });
        (next, batch)
    }

    fn commit(&mut self, batch: Taken, lane: LaneHandle, began: Instant, ctx: &mut Context<Self>) {
        let Taken {
            work,
            deadline,
            callers,
        } = batch;
        let commit = lane.commit.send(Commit { work, deadline });
        let commit = commit.into_actor(self).map(move |settled, actor, ctx| {
            match settled {
                Ok(settled) => {
                    actor.settled(settled, lane, (callers, deadline), began);
                    actor.dispatch(ctx);
                }
                // The lane panicked, which ends the process (see `Vital`).
                Err(_) => callers.refuse(&Refusal::Stopping),
            }
        });
        ctx.spawn(commit);
    }

    fn settled(
        &mut self,
        settled: Settled,
        lane: LaneHandle,
        (callers, deadline): (Callers, Instant),
        began: Instant,
    ) {
        let now = Instant::now();
        let Settled { work, unconnected } = settled;
        match unconnected {
            None => self.lanes.put_back(lane, began),
            Some(failure) => {
                self.lanes.put_back_closed(lane, began, now);
                self.unconnected(&failure);
            }
        }
        match work.complete() {
            Ok(outcomes) => {
                let took = now.duration_since(began);
                self.pace.learn(outcomes.len(), took, now);
                self.limit.store(self.pace.limit(), Ordering::Relaxed);
                callers.answer(outcomes);
            }
            Err(work) => self.returned.push_back(Taken {
                work,
                deadline,
                callers,
            }),
        }
    }

    /// Refuses what has come back and whose time is over.
    fn expire(&mut self) {
        let now = Instant::now();
        let is_over = |batch: &mut Taken| batch.deadline <= now;
        while let Some(batch) = self.returned.pop_front_if(is_over) {
            let Taken {
                mut work, callers, ..
            } = batch;
            for outcome in &mut work.outcomes {
                outcome
                    .get_or_insert_with(|| Err(Refusal::Failed("there is no connection".into())));
            }
            outcomes::count(&work.requests, &work.outcomes);
            callers.answer(work.outcomes.into_iter().flatten().collect());
        }
    }

    /// Notes that a lane has no connection.
    fn unconnected(&self, failure: &Failure) {
        if !self.lanes.has_connection() {
            self.taking.lost(&failure.reason);
        }
    }

    /// Opens a lane.
    fn open(&mut self, now: Instant, ctx: &mut Context<Self>) {
        if let Some(closed) = self.lanes.open(now) {
            let opened = closed.lane.open.send(Open { probes: false });
            let opened = opened.into_actor(self).map(move |opened, actor, ctx| {
                // A lane that panicked has ended the process.
                if let Ok(opened) = opened {
                    actor.opened(opened, closed);
                    actor.dispatch(ctx);
                }
            });
            ctx.spawn(opened);
        }
    }

    fn opened(&mut self, opened: Result<(), Failure>, closed: Closed<LaneHandle>) {
        match opened {
            Ok(()) => self.lanes.opened(closed),
            Err(failure) => {
                self.lanes.unopened(closed, Instant::now());
                self.unconnected(&failure);
                debug!(reason = %failure.reason, "a connection cannot be opened");
            }
        }
    }

    /// Looks at the queue then, if it is not going to look before.
    fn look_again(&mut self, then: Instant, ctx: &mut Context<Self>) {
        if self.looks_at.is_some_and(|looks_at| looks_at <= then) {
            return;
        }
        self.looks_at = Some(then);
        let after = then.saturating_duration_since(Instant::now());
        ctx.run_later(after, move |actor, ctx| {
            actor.looks_at.take_if(|looks_at| *looks_at == then);
            actor.dispatch(ctx);
        });
    }
}

impl Actor for Batcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.watch(ctx);
    }
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
    limit: Arc<AtomicUsize>,
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

    /// Limit on the requests of a batch at present.
    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Commits the requests, and returns an outcome for each, in the same order: after
    /// the commit, or when the patience has ended.
    pub(crate) async fn submit(&self, requests: Vec<Request>) -> Vec<Outcome> {
        self.wait_for(requests, false).await
    }

    /// The same as [`Pipeline::submit`], for one request that is refused early if more
    /// requests come than can be stored.
    pub(crate) async fn offer(&self, request: Request) -> Outcome {
        let outcome = self.wait_for(vec![request], true).await.pop();
        outcome.unwrap_or(Err(Refusal::Stopping))
    }

    async fn wait_for(&self, requests: Vec<Request>, is_sheddable: bool) -> Vec<Outcome> {
        let count = requests.len();
        let arrived = Instant::now();
        let deadline = arrived + self.patience;
        let (to, outcomes) = oneshot::channel();
        let by = self.courier.clone();
        self.push(Submission {
            requests,
            arrived,
            deadline,
            is_sheddable,
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
