use tokio::sync::oneshot;

use super::*;
use crate::pipeline::request::{Verdict, fake};

const PATIENCE: Duration = Duration::from_secs(20);

type Replies = oneshot::Receiver<Vec<Outcome>>;

fn queue() -> Queue {
    let limits = BatchLimits {
        requests: 4,
        bytes: 100,
    };
    Queue::new(limits, PATIENCE)
}

impl Queue {
    fn cut(&mut self) -> Option<Batch> {
        self.next_batch(Instant::now(), usize::MAX)
    }
}

fn push(queue: &mut Queue, bodies: &[&str]) -> Replies {
    submit(queue, bodies, false)
}

fn offer(queue: &mut Queue, body: &str) -> Replies {
    submit(queue, &[body], true)
}

fn submit(queue: &mut Queue, bodies: &[&str], is_sheddable: bool) -> Replies {
    let (to, replies) = oneshot::channel();
    queue.push(Submission {
        requests: bodies.iter().map(|body| fake::request("s", body)).collect(),
        arrived: Instant::now(),
        deadline: Instant::now(),
        is_sheddable,
        reply: Reply { to, by: None },
    });
    replies
}

fn bodies(batch: &Batch) -> Vec<&[u8]> {
    batch.requests.iter().map(|r| r.body.as_ref()).collect()
}

#[tokio::test]
async fn nothing_waiting_is_no_batch() {
    assert!(queue().cut().is_none());
}

#[tokio::test]
async fn submissions_stay_whole_and_in_order() {
    let mut queue = queue();
    let _replies = [
        push(&mut queue, &["a", "b"]),
        push(&mut queue, &["c"]),
        push(&mut queue, &["d", "e"]),
    ];
    assert_eq!(bodies(&queue.cut().unwrap()), [b"a", b"b", b"c"]);
    assert_eq!(bodies(&queue.cut().unwrap()), [b"d", b"e"]);
    assert!(queue.cut().is_none());
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
        let batch = queue.cut().unwrap();
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
    assert_eq!(bodies(&queue.cut().unwrap()), [b"stays"]);
    assert!(queue.cut().is_none());
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
        assert!(queue.others.len() <= stay.len() + 12, "at {number}");
    }
    let batches = std::iter::from_fn(|| queue.cut());
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
    queue.cut().unwrap().callers.answer(vec![
        malformed.clone(),
        accepted.clone(),
        Err(Refusal::Busy),
    ]);
    assert_eq!(one.await.unwrap(), [malformed]);
    assert_eq!(two.await.unwrap(), [accepted, Err(Refusal::Busy)]);
}

#[tokio::test(start_paused = true)]
async fn webhooks_and_others_go_in_order_of_arrival() {
    let mut queue = queue();
    let mut replies = Vec::new();
    for body in ["a", "b", "c", "d"] {
        replies.push(submit(&mut queue, &[body], matches!(body, "a" | "d")));
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    assert_eq!(bodies(&queue.cut().unwrap()), [b"a", b"b", b"c", b"d"]);
    assert_eq!(queue.bytes, 0);
}

/// Offers one more of each and cuts a batch of two, each half second for so long.
async fn overloaded(queue: &mut Queue, seconds: u64) -> (Vec<Replies>, Vec<Vec<u8>>) {
    let (mut replies, mut cut) = (Vec::new(), Vec::new());
    for number in 0..seconds * 2 {
        for part in 0..4 {
            replies.push(offer(queue, &format!("w{number}.{part}")));
        }
        replies.push(push(queue, &[&format!("o{number}")]));
        let batch = queue.next_batch(Instant::now(), 2).unwrap();
        cut = bodies(&batch).into_iter().map(<[u8]>::to_vec).collect();
        let stored = vec![Ok(fake::receipt(Verdict::Accepted)); batch.requests.len()];
        batch.callers.answer(stored);
        tokio::time::advance(Duration::from_millis(500)).await;
    }
    (replies, cut)
}

#[tokio::test(start_paused = true)]
async fn in_an_overload_the_newest_webhooks_go_first_and_old_ones_are_refused() {
    let mut queue = queue();
    let (mut replies, _) = overloaded(&mut queue, 10).await;
    let mut refused = 0;
    for reply in &mut replies {
        if let Ok(outcomes) = reply.try_recv() {
            refused += usize::from(outcomes == [Err(Refusal::Overloaded)]);
        }
    }
    assert!(refused >= 30, "{refused}");
    assert!(queue.webhooks.len() <= 4 * 5, "{}", queue.webhooks.len());
    // Every other batch begins with the oldest of the others, which are all kept.
    let one = queue.next_batch(Instant::now(), 2).unwrap();
    let two = queue.next_batch(Instant::now(), 2).unwrap();
    let (one, two) = (bodies(&one), bodies(&two));
    let is_webhook = |batch: &[&[u8]]| batch.iter().all(|body| body.starts_with(b"w"));
    let is_other = |batch: &[&[u8]]| batch.iter().all(|body| body.starts_with(b"o"));
    assert!(is_webhook(&one) != is_webhook(&two), "{one:?} {two:?}");
    assert!(is_other(&one) != is_other(&two), "{one:?} {two:?}");
    let newest = if is_webhook(&one) { one } else { two };
    assert!(
        newest.iter().all(|body| body.starts_with(b"w19")),
        "{newest:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_waited_for_a_lock_is_stored_in_order_when_the_lock_is_gone() {
    let mut queue = queue();
    let mut replies: Vec<_> = (0..8).map(|n| offer(&mut queue, &n.to_string())).collect();
    tokio::time::advance(PATIENCE / 2).await;
    for expected in ["0123", "4567"] {
        assert_eq!(bodies(&queue.cut().unwrap()).concat(), expected.as_bytes());
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    assert!(replies.iter_mut().all(|reply| reply.try_recv().is_err()));
    assert_eq!(queue.behind_since, None);
}

#[test]
fn the_documents_state_the_times_of_an_overload() {
    use crate::testing::documents::{MANUAL, states};

    let Times { standing, waited } = Times::of(PATIENCE);
    assert_eq!((standing * 20, waited * 10), (PATIENCE, PATIENCE));
    states(MANUAL, "has waited for a tenth of --patience");
    let waited = waited.as_secs();
    let page = "docs/outages.md";
    states(page, &format!("for {waited} s, a tenth of `--patience`"));
    states(
        page,
        &format!("those that have waited for {waited} s are spooled"),
    );
    states(
        "ARCHITECTURE.md",
        "leave webhooks behind for a twentieth of `--patience`",
    );
    states("ARCHITECTURE.md", "have waited for a tenth of it");
}
