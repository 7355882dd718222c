//! More webhooks than can be stored, from senders that give up long before the patience ends.

use std::cell::Cell;

use super::*;

/// Each request costs so much: 50 are stored in a second.
const COST: Duration = Duration::from_millis(20);
const CAPACITY: u64 = 50;
/// 80 are offered in a second.
const EVERY: Duration = Duration::from_micros(12_500);
/// Time for which a sender waits.
const SENDER: Duration = Duration::from_secs(5);
const MINUTES: u64 = 2;
const WINDOW: u64 = 10;

/// A lane whose commits cost by what is in them.
struct Costly(Arc<Mutex<Vec<usize>>>);

impl Actor for Costly {
    type Context = Context<Self>;
}

impl Handler<Commit> for Costly {
    type Result = AtomicResponse<Self, Settled>;

    fn handle(&mut self, commit: Commit, _: &mut Self::Context) -> Self::Result {
        let count = commit.work.requests.len();
        self.0.lock().unwrap().push(count);
        let takes = COST * u32::try_from(count).unwrap();
        let done = async move {
            actix::clock::sleep(takes).await;
            let accepted = Ok(fake::receipt(Verdict::Accepted));
            Settled::whole(commit.work, vec![accepted; count])
        };
        AtomicResponse::new(Box::pin(done.into_actor(self)))
    }
}

impl Handler<Open> for Costly {
    type Result = Result<(), Failure>;

    fn handle(&mut self, _: Open, _: &mut Self::Context) -> Self::Result {
        Ok(())
    }
}

fn costly() -> (Pipeline, Arc<Mutex<Vec<usize>>>) {
    let sizes = Arc::default();
    let lane = Costly(Arc::clone(&sizes)).start().into();
    let limits = BatchLimits {
        requests: 1_000,
        bytes: 8 << 20,
    };
    let (fatal, _) = Fatal::channel();
    let vital = fatal.vital("the batcher");
    let taking = Taking::trusting();
    let thread = Arbiter::current();
    let pipeline = Batcher::spawn(limits, vec![lane], PATIENCE, taking, vital, &thread);
    (pipeline, sizes)
}

#[derive(Default)]
struct Seen {
    /// Number of webhooks that were stored while their senders waited, by the second of their
    /// answer.
    good: Vec<Cell<u64>>,
    overloaded: Cell<u64>,
    late: Cell<u64>,
    others: Cell<u64>,
}

/// Offers webhooks for two minutes, and submits one other request after another if told so.
async fn offer(pipeline: &Pipeline, has_others: bool) -> Seen {
    let seconds = MINUTES * 60;
    let seen = Seen {
        good: (0..seconds + 60).map(|_| Cell::new(0)).collect(),
        ..Seen::default()
    };
    let started = Instant::now();
    let count = seconds * 1_000_000 / u64::try_from(EVERY.as_micros()).unwrap();
    let sender = |number: u64| {
        let (seen, at) = (&seen, started + EVERY * u32::try_from(number).unwrap());
        async move {
            tokio::time::sleep_until(at).await;
            let offered = pipeline.offer(fake::request("s", "body"));
            let counted = match timeout(SENDER, offered).await {
                Ok(Ok(_)) => {
                    let second = usize::try_from(started.elapsed().as_secs()).unwrap();
                    &seen.good[second]
                }
                Ok(Err(Refusal::Overloaded)) => &seen.overloaded,
                Ok(Err(_)) | Err(_) => &seen.late,
            };
            counted.set(counted.get() + 1);
        }
    };
    let others = async {
        while has_others && started.elapsed() < Duration::from_secs(seconds) {
            let size = 20.min(pipeline.limit());
            let outcomes = pipeline
                .submit(vec![fake::request("s", "other"); size])
                .await;
            assert!(accepted(&outcomes), "flow control, and no refusal");
            seen.others.set(seen.others.get() + size as u64);
        }
    };
    join(join_all((0..count).map(sender)), others).await;
    seen
}

impl Seen {
    /// The least number that was stored in a second, over each window.
    fn least(&self) -> u64 {
        let seconds = usize::try_from(MINUTES * 60).unwrap();
        let windows = self.good[..seconds].chunks(usize::try_from(WINDOW).unwrap());
        let sums = windows.map(|window| window.iter().map(Cell::get).sum::<u64>());
        sums.min().unwrap() / WINDOW
    }
}

#[test]
fn an_overload_of_1_6_times_the_capacity_keeps_four_fifths_of_it() {
    run(|| async {
        let (pipeline, sizes) = costly();
        let seen = offer(&pipeline, false).await;
        let least = seen.least();
        println!(
            "{least}/s at least, {} refused, {} late, batches of {} at most",
            seen.overloaded.get(),
            seen.late.get(),
            sizes.lock().unwrap().iter().max().unwrap()
        );
        assert!(least * 5 >= CAPACITY * 4, "{least}/s");
        let offered = 80 * MINUTES * 60;
        assert!(seen.late.get() * 100 <= offered, "{} late", seen.late.get());
    });
}

#[test]
fn neither_webhooks_nor_what_has_flow_control_starve_in_an_overload() {
    run(|| async {
        let (pipeline, _) = costly();
        let seen = offer(&pipeline, true).await;
        let (webhooks, others) = (seen.least(), seen.others.get() / (MINUTES * 60));
        println!("{webhooks}/s webhooks at least, {others}/s others");
        assert!(webhooks >= CAPACITY / 4, "{webhooks}/s");
        assert!(others >= CAPACITY / 4, "{others}/s");
        assert!(webhooks + others >= CAPACITY * 3 / 4);
    });
}
