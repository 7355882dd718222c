//! A provider's calls over HTTP: drawn one after another, delivered side by side.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use ::http::{HeaderValue, header::HeaderName};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use crate::{
    deliver::{Policy, deliver},
    faults::{Faults, Part},
    http::{Caller, Loss},
    ledger::{Book, Entry},
    pace::Pace,
};

/// One HTTP request, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) body: Bytes,
    /// A header of this call only.
    pub(crate) header: Option<(HeaderName, HeaderValue)>,
    /// The events that become known with this call, in the order of their numbers.
    pub(crate) opened: Vec<Entry>,
    /// The number of each event in the body, as often as it stands there.
    pub(crate) numbers: Vec<u32>,
    /// Sent once more after its answer, as if that had been lost.
    pub(crate) again: bool,
}

#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) caller: Caller,
    pub(crate) policy: Policy,
    pub(crate) book: Arc<Book>,
    pub(crate) pace: Pace,
    /// How many calls may be under way at once.
    pub(crate) width: usize,
    /// What to lose answers for, if at all.
    pub(crate) losing: Option<(Arc<Faults>, Part)>,
}

/// One call in so many loses its answer.
const LOST_EVERY: usize = 5;

impl Lane {
    /// Returns when every call was accepted or given up.
    pub(crate) async fn drive(self, calls: impl Iterator<Item = Call>) {
        let lane = &self;
        let calls = calls.take_while(|_| !lane.pace.is_over());
        stream::iter(calls.enumerate())
            .for_each_concurrent(self.width, |(nth, mut call)| {
                // Here, not in the future: entries must be opened in the order drawn.
                lane.book.open(std::mem::take(&mut call.opened));
                let lost = lane.losing.is_some() && nth % LOST_EVERY == 0;
                lane.make(call, lost.then_some(nth / LOST_EVERY))
            })
            .await;
    }

    /// `lost` numbers the calls whose first answer gets lost.
    async fn make(&self, call: Call, lost: Option<usize>) {
        let attempts = AtomicU32::new(0);
        let send = async || {
            let first = attempts.fetch_add(1, Ordering::Relaxed) == 0;
            if let (Some(lost), Some((faults, part)), true) = (lost, &self.losing, first) {
                let loss = if lost % 2 == 0 {
                    Loss::Unread
                } else {
                    Loss::Unanswered
                };
                let (body, header) = (call.body.clone(), call.header.clone());
                let (outcome, succeeded) = self.caller.lose(body, header, loss).await;
                if succeeded {
                    faults.happened(*part);
                }
                return outcome;
            }
            self.caller
                .post(call.body.clone(), call.header.clone())
                .await
        };
        self.pace.take(call.numbers.len()).await;
        let accepted = deliver(&self.policy, &self.book, &call.numbers, send).await;
        if accepted && call.again {
            deliver(&self.policy, &self.book, &call.numbers, send).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{faults::Fault, http::Connections, mix::Provider, stdin::Stop, testing::Receiver};

    const POLICY: Policy = Policy {
        accepts: |status| status.as_u16() == 200,
        retries: |_| true,
        delay: |_| Some(Duration::ZERO),
    };

    fn call(number: u32, again: bool) -> Call {
        Call {
            body: Bytes::from(number.to_string()),
            header: None,
            opened: vec![Entry::once(number.to_string())],
            numbers: vec![number],
            again,
        }
    }

    fn lane(receiver: &Receiver) -> Lane {
        Lane {
            caller: Caller::new(receiver.uri("/hooks/s"), Connections::Kept),
            policy: POLICY,
            book: Book::new("s"),
            pace: Pace::unlimited(),
            width: 4,
            losing: None,
        }
    }

    #[tokio::test]
    async fn calls_that_fail_at_first_arrive_in_the_end() {
        let receiver = Receiver::start(|nth| match nth {
            0..5 => Some(503),
            5..8 => None,
            _ => Some(200),
        })
        .await;
        let lane = lane(&receiver);
        let book = Arc::clone(&lane.book);
        lane.drive((0..20).map(|number| call(number, false))).await;
        let counts = book.counts();
        assert_eq!((counts.emitted, counts.acknowledged), (20, 20));
        assert_eq!((counts.sent, counts.retried), (28, 8));
        let mut accepted: Vec<u32> = receiver
            .accepted()
            .iter()
            .map(|body| String::from_utf8_lossy(body).parse().unwrap())
            .collect();
        accepted.sort_unstable();
        assert_eq!(accepted, (0..20).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_stop_lets_what_is_under_way_arrive_and_draws_no_more() {
        let receiver = Receiver::start(|nth| (nth > 3).then_some(200)).await;
        let stop = Stop::default();
        let lane = Lane {
            pace: Pace::until(stop.clone()),
            ..lane(&receiver)
        };
        let book = Arc::clone(&lane.book);
        let calls = (0..1000).map(|number| {
            if number == 7 {
                stop.ask();
            }
            call(number, false)
        });
        lane.drive(calls).await;
        let counts = book.counts();
        assert_eq!((counts.emitted, counts.acknowledged), (7, 7));
        assert_eq!(receiver.accepted().len(), 7);
    }

    #[tokio::test]
    async fn a_lost_answer_sends_the_same_bytes_again() {
        let receiver = Receiver::start(|_| Some(200)).await;
        let lane = lane(&receiver);
        let book = Arc::clone(&lane.book);
        lane.drive([call(0, true)].into_iter()).await;
        assert_eq!(receiver.accepted(), ["0", "0"]);
        assert_eq!((book.counts().sent, book.counts().retried), (2, 0));
    }

    #[tokio::test]
    async fn a_call_whose_answer_is_lost_is_made_again() {
        let receiver = Receiver::start(|_| Some(200)).await;
        let faults = Faults::new(&[Fault::LostAnswers], &[Provider::Arpoone]);
        let lane = Lane {
            losing: Some((Arc::clone(&faults), Part::LostAnswer(Provider::Arpoone))),
            width: 1,
            ..lane(&receiver)
        };
        let book = Arc::clone(&lane.book);
        lane.drive((0..7).map(|number| call(number, false))).await;
        // The first answer came and was not read; of the sixth call nobody waited for one.
        let accepted = receiver.accepted();
        assert!(
            accepted.starts_with(&["0".into(), "0".into(), "1".into()]),
            "{accepted:?}"
        );
        assert_eq!((book.counts().acknowledged, book.counts().retried), (7, 2));
        assert!(faults.missing().is_empty());
    }
}
