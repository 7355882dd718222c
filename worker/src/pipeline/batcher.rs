//! The batcher: natural batching between the receivers of requests and the lanes.

use std::time::Duration;

use actix::prelude::*;
use tokio::{sync::oneshot, time::Instant};

use super::{
    queue::{BatchLimits, Queue, Submission},
    request::{Outcome, Refusal, Request},
    store::Commit,
};
use crate::process::exit::Vital;

/// Owns the queue of submissions that wait for a commit, and knows which lanes are idle.
///
/// Promises:
/// - A request never waits for a batch to fill. If a lane is idle, the request is sent at
///   once; if every lane is committing, the next batch gathers until a lane is idle
///   again. The batches therefore grow with the load, and only with it.
/// - A lane commits one batch at a time, so that the number of lanes bounds the commits
///   in flight.
/// - A submission is answered as a whole, after the commit that contains it.
///
/// It does not bound what waits: the [`Budget`](crate::admission::budget::Budget) of the
/// entrances does, and each stream has one submission at a time. Whoever stops waiting
/// gives back what it took, and the queue forgets its submission.
#[derive(Debug)]
pub(crate) struct Batcher {
    queue: Queue,
    idle: Vec<Recipient<Commit>>,
    _vital: Vital,
}

impl Batcher {
    /// Starts the batcher. `mailbox` is the capacity of its mailbox, in submissions. The
    /// capacity is set when the context is created, because an actor that sets it when it
    /// has started is too late for the first submissions.
    pub(crate) fn spawn(
        limits: BatchLimits,
        lanes: Vec<Recipient<Commit>>,
        mailbox: usize,
        vital: Vital,
    ) -> Addr<Self> {
        Self::create(|ctx| {
            ctx.set_mailbox_capacity(mailbox);
            Self {
                queue: Queue::new(limits),
                idle: lanes,
                _vital: vital,
            }
        })
    }

    fn dispatch(&mut self, ctx: &mut Context<Self>) {
        while let Some(lane) = self.idle.pop() {
            let Some(batch) = self.queue.next_batch() else {
                self.idle.push(lane);
                return;
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
                        actor.idle.push(lane);
                        actor.dispatch(ctx);
                    }
                    // The lane panicked, which ends the process (see `Vital`).
                    Err(_) => callers.refuse(&Refusal::Stopping),
                }
            });
            ctx.spawn(commit);
        }
    }
}

impl Actor for Batcher {
    type Context = Context<Self>;
}

/// Requests to be committed together. The answer is sent over the submission's own
/// channel, so that the batcher notices when the caller stops waiting.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Submit(Submission);

impl Handler<Submit> for Batcher {
    type Result = ();

    fn handle(&mut self, Submit(submission): Submit, ctx: &mut Self::Context) {
        self.queue.push(submission);
        self.dispatch(ctx);
    }
}

/// A handle to the batcher, for every receiver of requests.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    batcher: Addr<Batcher>,
    patience: Duration,
}

impl Pipeline {
    /// `patience` is how long a request waits for its commit before it is refused.
    pub(crate) fn new(batcher: Addr<Batcher>, patience: Duration) -> Self {
        Self { batcher, patience }
    }

    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Commits the requests, and returns an outcome for each, in the same order: after
    /// the commit, or when the patience has ended.
    pub(crate) async fn submit(&self, requests: Vec<Request>) -> Vec<Outcome> {
        let count = requests.len();
        let deadline = Instant::now() + self.patience;
        let (reply, outcomes) = oneshot::channel();
        let submission = Submission {
            requests,
            deadline,
            reply,
        };
        let refusal = match self.batcher.try_send(Submit(submission)) {
            Ok(()) => match tokio::time::timeout_at(deadline, outcomes).await {
                Ok(Ok(outcomes)) => return outcomes,
                Ok(Err(_)) => Refusal::Stopping,
                Err(_) => Refusal::Late,
            },
            Err(SendError::Full(_)) => Refusal::Busy,
            Err(SendError::Closed(_)) => Refusal::Stopping,
        };
        vec![Err(refusal); count]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures_util::future::{join_all, join3};
    use tokio::time::timeout;

    use super::*;
    use crate::{
        pipeline::request::{Verdict, fake},
        process::exit::{Exit, Fatal},
    };

    const COMMIT: Duration = Duration::from_millis(10);
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Runs `test` in virtual time.
    fn run<F: Future>(test: impl FnOnce() -> F) -> F::Output {
        let system = System::with_tokio_rt(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .unwrap()
        });
        system.block_on(async { test().await })
    }

    /// A lane whose commits take a fixed time, and which records the sizes of its
    /// batches.
    struct Lane {
        sizes: Arc<Mutex<Vec<usize>>>,
        takes: Duration,
    }

    impl Actor for Lane {
        type Context = Context<Self>;
    }

    impl Handler<Commit> for Lane {
        type Result = ResponseFuture<Vec<Outcome>>;

        fn handle(&mut self, commit: Commit, _: &mut Self::Context) -> Self::Result {
            let takes = self.takes;
            self.sizes.lock().unwrap().push(commit.requests.len());
            assert_ne!(
                commit.requests[0].body.as_ref(),
                b"panic",
                "as the test wants"
            );
            Box::pin(async move {
                actix::clock::sleep(takes).await;
                let accepted = Ok(fake::receipt(Verdict::Accepted));
                vec![accepted; commit.requests.len()]
            })
        }
    }

    struct Fixture {
        pipeline: Pipeline,
        sizes: Arc<Mutex<Vec<usize>>>,
        exits: tokio::sync::mpsc::Receiver<Exit>,
    }

    fn fixture(lanes: usize, takes: Duration) -> Fixture {
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let (fatal, exits) = Fatal::channel();
        let lanes = (0..lanes).map(|_| {
            let sizes = sizes.clone();
            Lane { sizes, takes }.start().recipient()
        });
        let limits = BatchLimits {
            requests: 100,
            bytes: 1_000_000,
        };
        let batcher = Batcher::spawn(limits, lanes.collect(), 1_000, fatal.vital("the batcher"));
        Fixture {
            pipeline: Pipeline::new(batcher, PATIENCE),
            sizes,
            exits,
        }
    }

    fn accepted(outcomes: &[Outcome]) -> bool {
        outcomes
            .iter()
            .all(|o| matches!(o, Ok(receipt) if receipt.verdict == Verdict::Accepted))
    }

    #[test]
    fn the_next_batch_gathers_while_every_lane_commits() {
        run(|| async {
            let fixture = fixture(2, COMMIT);
            let submit = |_| fixture.pipeline.submit(vec![fake::request("s", "body")]);
            let outcomes = join_all((0..52).map(submit)).await;
            assert!(outcomes.iter().all(|outcomes| accepted(outcomes)));
            assert_eq!(*fixture.sizes.lock().unwrap(), [1, 1, 50]);
        });
    }

    #[test]
    fn patience_ends_and_what_nobody_waits_for_is_not_written() {
        run(|| async {
            let fixture = fixture(1, PATIENCE * 3);
            let one = || fixture.pipeline.submit(vec![fake::request("s", "body")]);
            let started = Instant::now();
            let (first, second, third) = join3(one(), one(), one()).await;
            for outcomes in [first, second, third] {
                assert!(matches!(outcomes[..], [Err(Refusal::Late)]));
            }
            assert_eq!(started.elapsed(), PATIENCE);
            actix::clock::sleep(PATIENCE * 10).await;
            assert_eq!(*fixture.sizes.lock().unwrap(), [1]);
        });
    }

    /// A body of 100 KiB, which takes no memory, and counts itself.
    struct Counted(#[expect(dead_code, reason = "held, not read")] Arc<()>);

    impl AsRef<[u8]> for Counted {
        fn as_ref(&self) -> &[u8] {
            &[b' '; 100 << 10]
        }
    }

    /// As when a synchronous standby is down: Postgres sends no answer for minutes, and
    /// no caller waits so long.
    #[test]
    fn what_was_given_up_does_not_pile_up_while_no_lane_is_idle() {
        run(|| async {
            let fixture = fixture(2, PATIENCE * 60);
            let held = Arc::new(());
            let submit = |hold| {
                let mut request = fake::request("s", "");
                request.body = bytes::Bytes::from_owner(Counted(held.clone()));
                timeout(hold, fixture.pipeline.submit(vec![request]))
            };
            let most = 64;
            for round in 0..30 {
                // A webhook waits for its spool a shorter time.
                let hold = if round % 3 == 0 {
                    PATIENCE / 4
                } else {
                    PATIENCE * 2
                };
                for outcomes in join_all((0..most).map(|_| submit(hold))).await {
                    let refused = |outcomes: Vec<Outcome>| outcomes.iter().all(Result::is_err);
                    assert!(outcomes.is_ok_and(refused) || hold < PATIENCE);
                }
                let held = Arc::strong_count(&held) - 1;
                assert!(held <= 2 * most, "{held} in round {round}");
            }
        });
    }

    #[test]
    fn a_lane_that_panics_refuses_its_batch() {
        run(|| async {
            let fixture = fixture(1, COMMIT);
            let outcomes = fixture
                .pipeline
                .submit(vec![fake::request("s", "panic")])
                .await;
            assert_eq!(outcomes, [Err(Refusal::Stopping)]);
        });
    }

    #[test]
    fn a_batcher_that_panics_ends_the_process() {
        run(|| async {
            let mut fixture = fixture(1, COMMIT);
            #[derive(Message)]
            #[rtype(result = "()")]
            struct Break;
            impl Handler<Break> for Batcher {
                type Result = ();
                fn handle(&mut self, _: Break, _: &mut Self::Context) {
                    panic!("as the test wants");
                }
            }
            assert!(fixture.pipeline.batcher.send(Break).await.is_err());
            let exit = fixture.exits.recv().await.unwrap();
            assert_eq!(exit.reason, "the batcher stopped unexpectedly");
            let outcomes = fixture
                .pipeline
                .submit(vec![fake::request("s", "late")])
                .await;
            assert_eq!(outcomes, [Err(Refusal::Stopping)]);
        });
    }
}
