use std::collections::VecDeque;

use futures_util::FutureExt;

use super::*;
use crate::pipeline::request::{Verdict, fake};

const PATIENCE: Duration = Duration::from_secs(20);

/// A lane that fails as told: first by the plan, then by the content; it notes each attempt.
#[derive(Default)]
struct Fake {
    plan: VecDeque<Next>,
    always: Option<Next>,
    /// The failure of every probe.
    probe: Option<Next>,
    takes: Duration,
    attempts: Vec<String>,
    probes: usize,
}

impl Ingest for Fake {
    async fn open(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    async fn ingest(&mut self, requests: &[Request]) -> Result<Vec<Receipt>, Failure> {
        let bodies = requests
            .iter()
            .map(|r| std::str::from_utf8(&r.body).unwrap());
        let bodies: String = bodies.collect();
        self.attempts.push(bodies.clone());
        if !self.takes.is_zero() {
            tokio::time::sleep(self.takes).await;
        }
        if let Some(next) = self.plan.pop_front().or(self.always) {
            return Err(Failure::new(next, "as planned"));
        }
        for (sign, next) in [('!', Next::Isolate), ('?', Next::Refuse)] {
            if bodies.contains(sign) {
                return Err(Failure::new(next, "odd"));
            }
        }
        Ok(vec![fake::receipt(Verdict::Accepted); requests.len()])
    }

    async fn probe(&mut self) -> Result<(), Failure> {
        self.probes += 1;
        match self.probe {
            Some(next) => Err(Failure::new(next, "probed")),
            None => Ok(()),
        }
    }
}

fn told() -> Told {
    Told {
        stored: Stored::default(),
        taking: Taking::trusting(),
    }
}

fn work(bodies: &[&str]) -> Work {
    Work::new(bodies.iter().map(|body| fake::request("s", body)).collect())
}

async fn settle_for(fake: &mut Fake, told: &Told, bodies: &[&str]) -> Vec<Outcome> {
    let mut work = work(bodies);
    let deadline = Instant::now() + PATIENCE;
    settle(fake, told, &mut work, deadline).await.unwrap();
    work.complete().unwrap()
}

async fn settle_all(fake: &mut Fake, bodies: &[&str]) -> Vec<Outcome> {
    settle_for(fake, &told(), bodies).await
}

fn accepted(outcomes: &[Outcome]) -> Vec<bool> {
    outcomes.iter().map(Result::is_ok).collect()
}

#[tokio::test(start_paused = true)]
async fn one_request_that_is_declined_fails_alone_and_in_its_place() {
    for odd in ["!", "?"] {
        let mut fake = Fake::default();
        let outcomes = settle_all(&mut fake, &["a", "b", odd, "d", "e"]).await;
        assert_eq!(accepted(&outcomes), [true, true, false, true, true]);
        assert_eq!(outcomes[2], Err(Refusal::Declined("odd".into())));
        let third = format!("{odd}de");
        assert_eq!(
            fake.attempts,
            [&format!("ab{third}"), "ab", &third, odd, "de"]
        );
        let probes = usize::from(odd == "?");
        assert_eq!(fake.probes, probes, "once is enough for a batch");
    }
}

/// The case of a typo in a trigger on tidings.event.
#[tokio::test(start_paused = true)]
async fn an_error_that_could_be_the_databases_is_one_requests_if_a_probe_passes() {
    let mut fake = Fake::default();
    let told = told();
    let outcomes = settle_for(&mut fake, &told, &["?", "?", "c", "d"]).await;
    assert_eq!(accepted(&outcomes), [false, false, true, true]);
    assert_eq!(outcomes[0], Err(Refusal::Declined("odd".into())));
    assert_eq!(fake.probes, 1);
    assert!(told.taking.is_taking());
}

#[tokio::test(start_paused = true)]
async fn what_a_probe_confirms_is_everybodys_and_costs_the_next_batches_one_attempt() {
    let mut fake = Fake {
        always: Some(Next::Refuse),
        probe: Some(Next::Refuse),
        ..Fake::default()
    };
    let told = told();
    let started = Instant::now();
    let bodies = ["a", "b", "c", "d"];
    let outcomes = settle_for(&mut fake, &told, &bodies).await;
    assert_eq!(outcomes, vec![Err(Refusal::Failed("probed".into())); 4]);
    assert_eq!(
        (&fake.attempts[..], fake.probes),
        (&["abcd".to_owned()][..], 1)
    );
    assert_eq!(started.elapsed(), COOL_DOWN);
    let reason = told.taking.trouble().unwrap().reason;
    assert_eq!(reason.as_ref(), "probed");
    for _ in 0..2 {
        fake.attempts.clear();
        settle_for(&mut fake, &told, &bodies).await;
        assert_eq!(fake.attempts, ["a"]);
    }
    // It is over: the first request says so.
    fake.attempts.clear();
    fake.always = None;
    let outcomes = settle_for(&mut fake, &told, &bodies).await;
    assert_eq!(accepted(&outcomes), [true; 4]);
    assert_eq!(fake.attempts, ["a", "bcd"]);
    assert!(told.taking.is_taking());
}

#[tokio::test(start_paused = true)]
async fn the_first_request_of_a_batch_does_not_keep_up_an_outage_that_is_over() {
    let mut fake = Fake::default();
    let told = told();
    told.taking.refused(&"as the test wants".into());
    let outcomes = settle_for(&mut fake, &told, &["?", "b", "c"]).await;
    assert_eq!(accepted(&outcomes), [false, true, true]);
    assert_eq!(fake.attempts, ["?", "bc"]);
    assert!(told.taking.is_taking());
}

#[tokio::test(start_paused = true)]
async fn halving_ends_at_the_deadline_too() {
    for next in [Next::Isolate, Next::Refuse] {
        let mut fake = Fake {
            always: Some(next),
            ..Fake::default()
        };
        let mut work = work(&["a", "b", "c", "d"]);
        let done = settle(&mut fake, &told(), &mut work, Instant::now()).await;
        assert!(done.is_ok());
        assert_eq!(work.complete().unwrap().len(), 4);
        assert_eq!(fake.attempts, ["abcd"]);
    }
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
async fn trying_again_ends_at_the_deadline_and_is_known_before() {
    let started = Instant::now();
    let mut fake = Fake {
        always: Some(Next::Reconnect),
        ..Fake::default()
    };
    let told = told();
    let stopped = async {
        told.taking.stopped().await;
        started.elapsed()
    };
    let settled = settle_for(&mut fake, &told, &["a", "b"]);
    let (outcomes, stopped) = tokio::join!(settled, stopped);
    assert_eq!(outcomes, vec![Err(Refusal::Failed("as planned".into())); 2]);
    assert_eq!(started.elapsed(), PATIENCE + COOL_DOWN);
    assert!(fake.attempts.len() > 5);
    assert!(stopped < PATIENCE / 4, "{stopped:?}");
}

#[tokio::test(start_paused = true)]
async fn a_commit_without_an_answer_is_known_before_it_ends() {
    let mut fake = Fake {
        takes: STALL * 2,
        ..Fake::default()
    };
    let told = told();
    let started = Instant::now();
    let stopped = async {
        told.taking.stopped().await;
        started.elapsed()
    };
    let settled = settle_for(&mut fake, &told, &["a"]);
    let (outcomes, stopped) = tokio::join!(settled, stopped);
    assert_eq!(accepted(&outcomes), [true]);
    assert_eq!((stopped, started.elapsed()), (STALL, STALL * 2));
    assert!(told.taking.is_taking(), "since it was stored");
}

#[tokio::test(start_paused = true)]
async fn a_lane_without_a_connection_gives_back_what_has_no_outcome() {
    let mut fake = Fake {
        plan: [Next::Isolate].into(),
        ..Fake::default()
    };
    let told = told();
    let mut work = work(&["a", "b", "c", "d"]);
    let deadline = Instant::now() + PATIENCE;
    fake.plan.extend([Next::Isolate, Next::Unconnected]);
    let failure = settle(&mut fake, &told, &mut work, deadline).await;
    assert_eq!(failure.unwrap_err().next, Next::Unconnected);
    assert_eq!(fake.attempts, ["abcd", "ab", "a"]);
    assert!(
        told.taking.is_taking(),
        "another lane may have a connection"
    );
    work.outcomes[1] = Some(Ok(fake::receipt(Verdict::Disabled)));
    fake.attempts.clear();
    settle(&mut fake, &told, &mut work, deadline).await.unwrap();
    assert_eq!(fake.attempts, ["a", "cd"], "what is known is not tried");
    let outcomes = work.complete().unwrap();
    assert_eq!(outcomes[1], Ok(fake::receipt(Verdict::Disabled)));
}

/// A lane that answers each attempt with one receipt, which stored so many events.
struct Stores(u32);

impl Ingest for Stores {
    async fn open(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    async fn ingest(&mut self, _: &[Request]) -> Result<Vec<Receipt>, Failure> {
        Ok(vec![Receipt {
            inserted: self.0,
            ..fake::receipt(Verdict::Accepted)
        }])
    }

    async fn probe(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

#[tokio::test]
async fn only_a_commit_that_stored_events_is_told_of() {
    for (inserted, is_told) in [(0, false), (3, true)] {
        let told = told();
        let deadline = Instant::now() + PATIENCE;
        let mut stores = Stores(inserted);
        for body in ["a", "b"] {
            let settled = settle(&mut stores, &told, &mut work(&[body]), deadline).await;
            assert!(settled.is_ok());
        }
        assert_eq!(told.stored.taken().now_or_never().is_some(), is_told);
        assert!(told.stored.taken().now_or_never().is_none(), "two are one");
    }
}
