//! Lanes that have no connection, beside others that have one; and probes.

use std::collections::HashMap;

use super::*;
use crate::postgres::failure;

/// The questions to each lane, in order, and its answers.
#[derive(Default)]
struct Desk {
    asked: Vec<(usize, &'static str)>,
    /// The time that the lane takes to be opened, and whether it cannot be.
    opens: HashMap<usize, (Duration, bool)>,
    /// The failure of probes.
    probe: Option<failure::Next>,
    /// True if the lane has lost its connection at the next commit.
    loses: HashMap<usize, bool>,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Desk>>);

impl Shared {
    fn count(&self, of: (usize, &str)) -> usize {
        let desk = self.0.lock().unwrap();
        desk.asked.iter().filter(|asked| **asked == of).count()
    }
}

struct Told {
    number: usize,
    desk: Shared,
}

impl Actor for Told {
    type Context = Context<Self>;
}

fn gone() -> Failure {
    Failure::new(failure::Next::Unconnected, "as the test wants")
}

impl Handler<Commit> for Told {
    type Result = ResponseFuture<Settled>;

    fn handle(&mut self, commit: Commit, _: &mut Self::Context) -> Self::Result {
        let lost = {
            let mut desk = self.desk.0.lock().unwrap();
            desk.asked.push((self.number, "commit"));
            desk.loses.remove(&self.number).unwrap_or_default()
        };
        Box::pin(async move {
            actix::clock::sleep(COMMIT).await;
            if lost {
                return Settled {
                    work: commit.work,
                    unconnected: Some(gone()),
                };
            }
            let accepted = Ok(fake::receipt(Verdict::Accepted));
            let outcomes = vec![accepted; commit.work.requests.len()];
            Settled::whole(commit.work, outcomes)
        })
    }
}

impl Handler<Open> for Told {
    type Result = ResponseFuture<Result<(), Failure>>;

    fn handle(&mut self, open: Open, _: &mut Self::Context) -> Self::Result {
        let mut desk = self.desk.0.lock().unwrap();
        let what = if open.probes { "probe" } else { "open" };
        desk.asked.push((self.number, what));
        let (takes, fails) = desk.opens.get(&self.number).copied().unwrap_or_default();
        let probe = desk.probe.filter(|_| open.probes);
        Box::pin(async move {
            actix::clock::sleep(takes).await;
            match probe {
                _ if fails => Err(gone()),
                Some(next) => Err(Failure::new(next, "probed")),
                None => Ok(()),
            }
        })
    }
}

/// Lanes 1 to `count`, of which the first is used first.
fn pipeline(count: usize, desk: &Shared, taking: &Taking) -> Pipeline {
    let lanes = (1..=count).rev().map(|number| {
        let desk = desk.clone();
        Told { number, desk }.start().into()
    });
    let limits = BatchLimits {
        requests: 1,
        bytes: 1_000_000,
    };
    let (fatal, _) = Fatal::channel();
    let vital = fatal.vital("the batcher");
    let taking = taking.clone();
    Batcher::spawn(
        limits,
        lanes.collect(),
        PATIENCE,
        taking,
        vital,
        &Arbiter::current(),
    )
}

async fn stored(pipeline: &Pipeline, requests: usize) -> Vec<Duration> {
    let started = Instant::now();
    let submit = |_| async {
        let outcomes = pipeline.submit(vec![fake::request("s", "body")]).await;
        assert!(accepted(&outcomes), "{outcomes:?}");
        started.elapsed()
    };
    join_all((0..requests).map(submit)).await
}

#[test]
fn no_batch_waits_for_a_lane_that_cannot_connect() {
    run(|| async {
        for takes in [Duration::ZERO, PATIENCE] {
            let desk = Shared::default();
            desk.0.lock().unwrap().opens.insert(2, (takes, true));
            let taking = Taking::trusting();
            let pipeline = pipeline(2, &desk, &taking);
            let took = stored(&pipeline, 20).await;
            assert_eq!(took.last(), Some(&(COMMIT * 20)), "one after the other");
            assert!(desk.count((2, "open")) > 0, "it was tried");
            assert_eq!(desk.count((2, "commit")), 0);
            assert!(taking.is_taking());
        }
    });
}

#[test]
fn a_batch_whose_lane_has_lost_its_connection_goes_to_another_at_once() {
    run(|| async {
        let desk = Shared::default();
        let taking = Taking::trusting();
        let pipeline = pipeline(2, &desk, &taking);
        // Both have a connection; then the first loses its own.
        stored(&pipeline, 4).await;
        desk.0.lock().unwrap().asked.clear();
        for number in [1, 2] {
            let mut desk = desk.0.lock().unwrap();
            desk.loses.insert(number, number == 1);
            desk.opens.insert(1, (Duration::ZERO, true));
        }
        let took = stored(&pipeline, 3).await;
        assert!(took.iter().all(|took| *took <= COMMIT * 5), "{took:?}");
        assert!(taking.is_taking());
    });
}

#[test]
fn what_waits_for_a_connection_is_stored_when_there_is_one() {
    run(|| async {
        let desk = Shared::default();
        desk.0
            .lock()
            .unwrap()
            .opens
            .insert(1, (Duration::ZERO, true));
        let taking = Taking::trusting();
        let pipeline = pipeline(1, &desk, &taking);
        let back = async {
            taking.stopped().await;
            actix::clock::sleep(PATIENCE / 2).await;
            desk.0.lock().unwrap().opens.clear();
        };
        let (took, ()) = join(stored(&pipeline, 3), back).await;
        assert!(took.iter().all(|took| *took < PATIENCE), "{took:?}");
        let tries = desk.count((1, "open")) + desk.count((1, "probe"));
        assert!((3..40).contains(&tries), "{tries}");
        taking.begun().await;
    });
}

#[test]
fn a_batch_that_no_lane_takes_is_refused_when_its_time_is_over() {
    run(|| async {
        let desk = Shared::default();
        let taking = Taking::trusting();
        let pipeline = pipeline(1, &desk, &taking);
        stored(&pipeline, 1).await;
        {
            let mut desk = desk.0.lock().unwrap();
            desk.loses.insert(1, true);
            desk.opens.insert(1, (Duration::ZERO, true));
        }
        let started = Instant::now();
        let outcomes = pipeline.submit(vec![fake::request("s", "body")]).await;
        assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
        assert_eq!(started.elapsed(), PATIENCE);
        assert!(!taking.is_taking());
        actix::clock::sleep(PATIENCE).await;
        desk.0.lock().unwrap().asked.clear();
        desk.0.lock().unwrap().opens.clear();
        actix::clock::sleep(PATIENCE).await;
        assert_eq!(desk.count((1, "commit")), 0, "nobody waits for it");
        assert!(taking.is_taking(), "a probe found the connection");
    });
}

#[test]
fn without_a_request_probes_say_when_requests_are_taken_again() {
    run(|| async {
        let desk = Shared::default();
        let taking = Taking::unproven();
        let _pipeline = pipeline(2, &desk, &taking);
        taking.begun().await;
        assert_eq!(desk.count((1, "probe")), 1, "at the start");
        actix::clock::sleep(PATIENCE).await;
        assert_eq!(desk.0.lock().unwrap().asked.len(), 1, "and never again");

        desk.0.lock().unwrap().probe = Some(failure::Next::Refuse);
        taking.doubt(true);
        taking.stopped().await;
        assert_eq!(taking.trouble().unwrap().reason.as_ref(), "probed");
        taking.doubt(false);
        let before = desk.count((1, "probe"));
        actix::clock::sleep(PATIENCE * 3).await;
        let probes = desk.count((1, "probe")) - before;
        assert!((6..40).contains(&probes), "{probes} in a minute");
        desk.0.lock().unwrap().probe = None;
        taking.begun().await;
        assert_eq!(desk.count((1, "commit")), 0);
    });
}
