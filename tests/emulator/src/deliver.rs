//! One call from its first attempt to the answer that ends it.

use std::time::Duration;

use ::http::StatusCode;
use tokio::time::sleep;

use crate::{
    http::Outcome,
    ledger::{Book, Sending},
};

/// A provider's rules for its calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// Which answer acknowledges.
    pub(crate) accepts: fn(StatusCode) -> bool,
    /// Which other answer is worth another attempt; a missing one always is.
    pub(crate) retries: fn(StatusCode) -> bool,
    /// How long to wait after this many failures (1 is the first), or give up.
    pub(crate) delay: fn(u32) -> Option<Duration>,
}

/// Sends until accepted or given up; true when accepted.
pub(crate) async fn deliver(
    policy: &Policy,
    book: &Book,
    numbers: &[u32],
    send: impl AsyncFn() -> Outcome,
) -> bool {
    let mut failures = 0;
    loop {
        let sending = if failures == 0 {
            Sending::Own
        } else {
            Sending::Retry
        };
        book.emit(numbers, sending);
        match send().await {
            Outcome::Answered(status) if (policy.accepts)(status) => {
                book.acknowledge(numbers);
                return true;
            }
            Outcome::Answered(status) => {
                if is_refusal(status) {
                    book.refuse(numbers);
                }
                if !(policy.retries)(status) {
                    return false;
                }
            }
            Outcome::Unanswered => {}
            Outcome::Unreachable => book.withdraw(numbers, sending),
        }
        failures += 1;
        let Some(delay) = (policy.delay)(failures) else {
            return false;
        };
        sleep(delay).await;
    }
}

/// Whether it says that the call is wrong: not that it is too much, or too slow.
fn is_refusal(status: StatusCode) -> bool {
    const LIMITS: [StatusCode; 3] = [
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::PAYLOAD_TOO_LARGE,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    status.is_client_error() && !LIMITS.contains(&status)
}

/// For the providers that document retries but no schedule: 100 ms, doubled up to 2 s,
/// without end.
pub(crate) fn patient(failures: u32) -> Option<Duration> {
    let factor = 1_u32 << failures.saturating_sub(1).min(10);
    let delay = Duration::from_millis(100).saturating_mul(factor);
    Some(delay.min(Duration::from_secs(2)))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::time::Instant;

    use super::*;
    use crate::{arpoone, ledger::Entry, pushpushgo, pushwoosh};

    /// Plays these outcomes, the last one for ever; gives the seconds of each attempt.
    async fn play(policy: &Policy, outcomes: &[Outcome]) -> (bool, Vec<f32>, (u32, u32)) {
        let book = Book::new("s");
        book.open(vec![Entry::once("k".to_owned())]);
        let start = Instant::now();
        let attempts = RefCell::new(Vec::new());
        let send = async || {
            let mut attempts = attempts.borrow_mut();
            attempts.push(start.elapsed().as_secs_f32());
            *outcomes
                .get(attempts.len() - 1)
                .or(outcomes.last())
                .unwrap()
        };
        let accepted = deliver(policy, &book, &[0], send).await;
        let tally = book
            .lines()
            .first()
            .map_or((0, 0), |line| (line.emissions, line.acknowledged));
        (accepted, attempts.into_inner(), tally)
    }

    fn answer(status: u16) -> Outcome {
        Outcome::Answered(StatusCode::from_u16(status).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn pushwoosh_response_5xx_or_none_is_retried_after_1_3_and_8_seconds() {
        for failure in [answer(500), answer(503), Outcome::Unanswered] {
            let (accepted, at, tally) = play(&pushwoosh::http::POLICY, &[failure]).await;
            assert!(!accepted);
            assert_eq!(at, [0.0, 1.0, 4.0, 12.0], "{failure:?}");
            assert_eq!(tally, (4, 0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pushwoosh_response_of_any_other_kind_is_the_end() {
        let refused = play(&pushwoosh::http::POLICY, &[answer(401)]).await;
        assert_eq!(refused, (false, vec![0.0], (1, 0)));
        let accepted = play(&pushwoosh::http::POLICY, &[answer(500), answer(200)]).await;
        assert_eq!(accepted, (true, vec![0.0, 1.0], (2, 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn arpoone_ack_is_exactly_200() {
        let outcomes = [answer(202), answer(204), answer(404), answer(200)];
        let (accepted, at, tally) = play(&arpoone::POLICY, &outcomes).await;
        assert!(accepted);
        assert_eq!(at.len(), 4);
        assert_eq!(tally, (4, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_is_no_refusal() {
        for (status, refused) in [(401, 2), (404, 2), (408, 0), (413, 0), (429, 0), (503, 0)] {
            let book = Book::new("s");
            let attempts = RefCell::new(0);
            let send = async || {
                *attempts.borrow_mut() += 1;
                answer(if *attempts.borrow() == 1 { status } else { 200 })
            };
            assert!(deliver(&arpoone::POLICY, &book, &[0, 1], send).await);
            assert_eq!(book.counts().refused, refused, "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pushpushgo_retried_until_2xx() {
        let outcomes = [answer(401), Outcome::Unanswered, answer(202)];
        let (accepted, at, tally) = play(&pushpushgo::POLICY, &outcomes).await;
        assert!(accepted);
        assert_eq!(at, [0.0, 0.1, 0.3]);
        assert_eq!(tally, (3, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_without_a_connection_is_no_emission() {
        let outcomes = [Outcome::Unreachable, Outcome::Unreachable, answer(200)];
        let (accepted, _, tally) = play(&arpoone::POLICY, &outcomes).await;
        assert!(accepted);
        assert_eq!(tally, (1, 1));
    }

    #[test]
    fn patience_grows_and_is_bounded() {
        let delays: Vec<u128> = [1, 2, 3, 4, 5, 6, 60]
            .iter()
            .filter_map(|&failures| patient(failures))
            .map(|delay| delay.as_millis())
            .collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 2000, 2000]);
    }
}
