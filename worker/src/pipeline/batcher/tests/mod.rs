mod lanes;
mod overload;

use std::sync::{Arc, Mutex};

use futures_util::future::{join, join_all, join3};
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
    type Result = ResponseFuture<Settled>;

    fn handle(&mut self, commit: Commit, _: &mut Self::Context) -> Self::Result {
        let takes = self.takes;
        let requests = &commit.work.requests;
        self.sizes.lock().unwrap().push(requests.len());
        assert_ne!(requests[0].body.as_ref(), b"panic", "as the test wants");
        Box::pin(async move {
            actix::clock::sleep(takes).await;
            let accepted = Ok(fake::receipt(Verdict::Accepted));
            let outcomes = vec![accepted; commit.work.requests.len()];
            Settled::whole(commit.work, outcomes)
        })
    }
}

impl Handler<Open> for Lane {
    type Result = Result<(), Failure>;

    fn handle(&mut self, _: Open, _: &mut Self::Context) -> Self::Result {
        Ok(())
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
        Lane { sizes, takes }.start().into()
    });
    let limits = BatchLimits {
        requests: 100,
        bytes: 1_000_000,
    };
    let vital = fatal.vital("the batcher");
    Fixture {
        pipeline: Batcher::spawn(
            limits,
            lanes.collect(),
            PATIENCE,
            Taking::trusting(),
            vital,
            &Arbiter::current(),
        ),
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
fn the_next_batch_gathers_while_a_lane_commits() {
    run(|| async {
        let fixture = fixture(2, COMMIT);
        let submit = |_| fixture.pipeline.submit(vec![fake::request("s", "body")]);
        let started = Instant::now();
        let outcomes = join_all((0..52).map(submit)).await;
        assert!(outcomes.iter().all(|outcomes| accepted(outcomes)));
        assert_eq!(*fixture.sizes.lock().unwrap(), [52]);
        assert_eq!(started.elapsed(), COMMIT);
    });
}

/// Submits a request after each of these times, and returns when each was answered.
async fn answered(fixture: &Fixture, at: &[Duration]) -> Vec<Duration> {
    let started = Instant::now();
    let submit = |at: &Duration| {
        let submitted = started + *at;
        async move {
            tokio::time::sleep_until(submitted).await;
            let request = fake::request("s", "body");
            assert!(accepted(&fixture.pipeline.submit(vec![request]).await));
            started.elapsed()
        }
    };
    join_all(at.iter().map(submit)).await
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_commit_that_ends_soon_is_waited_for_although_a_lane_is_idle() {
    run(|| async {
        let fixture = fixture(2, ms(4));
        let answered = answered(&fixture, &[ms(0), ms(1), ms(3), ms(5)]).await;
        assert_eq!(answered, [ms(4), ms(8), ms(8), ms(12)]);
        assert_eq!(*fixture.sizes.lock().unwrap(), [1, 2, 1]);
    });
}

#[test]
fn a_commit_that_takes_long_is_not_waited_for_if_a_lane_is_idle() {
    run(|| async {
        let fixture = fixture(2, ms(100));
        let answered = answered(&fixture, &[ms(0), ms(1), ms(3), ms(30), ms(150)]).await;
        assert_eq!(answered, [ms(100), ms(105), ms(105), ms(200), ms(250)]);
        assert_eq!(*fixture.sizes.lock().unwrap(), [1, 2, 1, 1]);
    });
}

#[test]
fn each_commit_that_takes_long_is_waited_for_no_longer_than_the_first() {
    run(|| async {
        let fixture = fixture(3, ms(100));
        let answered = answered(&fixture, &[ms(0), ms(1), ms(7)]).await;
        assert_eq!(answered, [ms(100), ms(105), ms(110)]);
    });
}

#[test]
fn no_commit_is_waited_for_if_much_waits_and_a_lane_is_idle() {
    run(|| async {
        let fixture = fixture(2, COMMIT);
        let large = || {
            let body = "x".repeat(LARGE / 2);
            fixture.pipeline.submit(vec![fake::request("s", &body)])
        };
        let one = || fixture.pipeline.submit(vec![fake::request("s", "body")]);
        let started = Instant::now();
        let later = async {
            actix::clock::sleep(ms(1)).await;
            join3(large(), large(), async {
                actix::clock::sleep(ms(1)).await;
                one().await
            })
            .await;
        };
        join(one(), later).await;
        assert_eq!(*fixture.sizes.lock().unwrap(), [1, 2, 1]);
        assert_eq!(started.elapsed(), COMMIT * 2);
    });
}

#[test]
fn the_batcher_is_told_of_one_submission_for_each_batch() {
    run(|| async {
        let fixture = fixture(1, COMMIT);
        let is_open = || fixture.pipeline.waiting.lock().tell_at == Some(0);
        assert!(is_open());
        let submit = || fixture.pipeline.submit(vec![fake::request("s", "body")]);
        let look = async {
            assert!(!is_open(), "told by the first one");
            tokio::task::yield_now().await;
            assert!(!is_open());
        };
        join3(submit(), submit(), look).await;
        assert!(is_open(), "for the next one");
    });
}

#[test]
fn the_batcher_is_told_of_much_alone_while_it_looks_again_by_itself() {
    run(|| async {
        let fixture = fixture(2, COMMIT);
        let tell_at = || fixture.pipeline.waiting.lock().tell_at;
        let submit = || fixture.pipeline.submit(vec![fake::request("s", "body")]);
        let look = async {
            tokio::time::sleep(ms(1)).await;
            assert_eq!(tell_at(), Some(LARGE));
        };
        join(submit(), look).await;
        assert_eq!(tell_at(), Some(0));
    });
}

#[test]
fn patience_ends_and_what_nobody_waits_for_is_not_written() {
    run(|| async {
        let fixture = fixture(1, PATIENCE * 3);
        let one = || fixture.pipeline.submit(vec![fake::request("s", "body")]);
        let started = Instant::now();
        let later = async {
            actix::clock::sleep(COMMIT).await;
            join(one(), one()).await
        };
        let (first, (second, third)) = join(one(), later).await;
        for outcomes in [first, second, third] {
            assert!(matches!(outcomes[..], [Err(Refusal::Late)]));
        }
        assert_eq!(started.elapsed(), PATIENCE + COMMIT);
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

/// The case of a synchronous standby that is down: Postgres sends no answer for minutes, and
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
