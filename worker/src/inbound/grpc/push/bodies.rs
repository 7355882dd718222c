//! The bodies of a chunk's events, as they are submitted.
//!
//! Events that have a key go together, as one array with one receipt id: Postgres verifies,
//! reads and answers one request then, rather than hundreds. An accepted array means that
//! each of its events is kept. If Postgres takes the array for malformed, or declines it, one
//! event may be the cause, so that each is submitted alone.
//!
//! An event without a key, or one that cannot be decoded, is always alone, because only its
//! request tells it apart from others.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use tidings_core::wire::Decoded;
use uuid::Uuid;

use crate::{
    pipeline::{
        batcher::Pipeline,
        headers::Template,
        request::{Outcome, Refusal, Request, Verdict},
    },
    process::receipt,
};

/// The body of one event.
#[derive(Debug)]
struct Body {
    json: Bytes,
    is_together: bool,
    /// The receipt id of the request that has the body.
    receipt: Uuid,
}

/// The bodies of the events of a chunk, in their order.
#[derive(Debug)]
pub(super) struct Bodies {
    all: Vec<Body>,
    /// The array of the events that go together; empty if there is none.
    array: Bytes,
}

/// The common part of the requests of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope<'a> {
    pub(super) source: &'a Arc<str>,
    pub(super) headers: &'a Template,
}

impl Envelope<'_> {
    fn request(self, body: &Bytes, receipt: Uuid) -> Request {
        Request {
            source: self.source.clone(),
            body: body.clone(),
            headers: self.headers.with_receipt(receipt),
        }
    }
}

impl Bodies {
    /// Takes the JSON out of the events.
    pub(super) fn new(events: &mut [Decoded]) -> Self {
        let (array, places) = array(events);
        let bodies = events.iter_mut().zip(places).map(|(event, place)| {
            let json = std::mem::take(&mut event.json);
            Body {
                is_together: place.is_some(),
                json: match place {
                    Some(place) => array.slice(place),
                    None => json.into(),
                },
                receipt: receipt::id(),
            }
        });
        Self {
            all: bodies.collect(),
            array,
        }
    }

    /// Number of bytes of the requests, but for their headers.
    pub(super) fn len(&self) -> usize {
        let alone = self.all.iter().filter(|body| !body.is_together);
        self.array.len() + alone.map(|body| body.json.len()).sum::<usize>()
    }

    /// Submits the events, and returns the receipt id and the outcome of each.
    pub(super) async fn submit(
        self,
        pipeline: &Pipeline,
        envelope: Envelope<'_>,
    ) -> Vec<(Uuid, Outcome)> {
        let Self { mut all, array } = self;
        let requests = |all: &[Body], is_together| -> Vec<Request> {
            let bodies = all.iter().filter(|body| body.is_together == is_together);
            bodies
                .map(|body| envelope.request(&body.json, body.receipt))
                .collect()
        };
        let mut first = requests(&all, false);
        let receipt = receipt::id();
        if !array.is_empty() {
            first.push(envelope.request(&array, receipt));
        }
        let mut alone = pipeline.submit(first).await;
        let mut together = Vec::new();
        if !array.is_empty() {
            let outcome = alone.pop().unwrap_or(Err(Refusal::Stopping));
            if is_for_one(&outcome) {
                together = pipeline.submit(requests(&all, true)).await;
            } else {
                for body in all.iter_mut().filter(|body| body.is_together) {
                    body.receipt = receipt;
                    together.push(outcome.clone());
                }
            }
        }
        let (mut alone, mut together) = (alone.into_iter(), together.into_iter());
        let outcome = |body: Body| {
            let outcome = match body.is_together {
                true => together.next(),
                false => alone.next(),
            };
            (body.receipt, outcome.unwrap_or(Err(Refusal::Stopping)))
        };
        all.into_iter().map(outcome).collect()
    }
}

/// The array of the events that go together, and the place of each in it.
fn array(events: &[Decoded]) -> (Bytes, Vec<Option<Range<usize>>>) {
    let has_key = |event: &Decoded| {
        let key = event.key.as_ref().map_or(&[][..], |key| key.as_bytes());
        !key.is_empty() && event.error.is_none()
    };
    let several = events
        .iter()
        .filter(|event| has_key(event))
        .nth(1)
        .is_some();
    let mut array = Vec::new();
    let mut place = |event: &Decoded| {
        array.push(if array.is_empty() { b'[' } else { b',' });
        let start = array.len();
        array.extend_from_slice(&event.json);
        start..array.len()
    };
    let places = events
        .iter()
        .map(|event| (several && has_key(event)).then(|| place(event)))
        .collect();
    if several {
        array.push(b']');
    }
    (array.into(), places)
}

/// Whether the outcome may be that of one event of the array.
fn is_for_one(outcome: &Outcome) -> bool {
    match outcome {
        Ok(receipt) => receipt.verdict == Verdict::Malformed,
        Err(Refusal::Declined(_)) => true,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use tidings_proto::pushwoosh::Event;

    use super::*;
    use crate::{
        pipeline::{headers::Headers, request::fake},
        testing,
    };

    fn event(json: &str, key: &str, error: Option<&str>) -> Decoded {
        let message = Event {
            uuid: key.to_owned(),
            ..Event::default()
        };
        let schema = testing::schema("pushwoosh");
        let piece = schema.pieces(message.encode_to_vec().into()).next();
        Decoded {
            json: json.into(),
            error: error.map(str::to_owned),
            ..schema.decode(piece.unwrap())
        }
    }

    /// The bodies that were submitted, and the verdict of each event, where a body that
    /// contains `bad` has this outcome.
    async fn submitted(events: &[Decoded], bad: Outcome) -> (Vec<String>, Vec<Outcome>) {
        let answer = move |request: &Request| {
            let is_bad = request.body.windows(3).any(|bytes| bytes == b"bad");
            if is_bad { bad.clone() } else { accepted() }
        };
        let answers = move |requests: &[Request]| requests.iter().map(&answer).collect();
        let (pipeline, seen) = testing::pipeline_of_batches(answers, testing::PATIENCE);
        let source = "s".into();
        let envelope = Envelope {
            source: &source,
            headers: &Headers::default().template(),
        };
        let bodies = Bodies::new(&mut events.to_vec());
        let outcomes = bodies.submit(&pipeline, envelope).await;
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        let mut receipts = Vec::new();
        for request in &seen {
            receipts.push(request.headers.receipt().unwrap());
        }
        for (receipt, _) in &outcomes {
            assert!(receipts.contains(&receipt.to_string()), "as submitted");
        }
        let text = |request: &Request| String::from_utf8(request.body.to_vec()).unwrap();
        let outcomes = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
        (seen.iter().map(text).collect(), outcomes)
    }

    fn accepted() -> Outcome {
        Ok(fake::receipt(Verdict::Accepted))
    }

    #[actix::test]
    async fn events_with_a_key_go_together_and_all_others_alone() {
        let events = [
            event("1", "a", None),
            event("2", "", None),
            event("3", "b", Some("cut off")),
            event("4", "c", None),
        ];
        let (seen, outcomes) = submitted(&events, accepted()).await;
        assert_eq!(seen, ["2", "3", "[1,4]"]);
        assert_eq!(outcomes, vec![accepted(); 4]);
        let (seen, _) = submitted(&events[..3], accepted()).await;
        assert_eq!(seen, ["1", "2", "3"], "one makes no array");
        assert_eq!(submitted(&[], accepted()).await, (vec![], vec![]));
    }

    #[actix::test]
    async fn an_array_that_may_fail_because_of_one_event_is_submitted_again_one_by_one() {
        let events = ["1", "\"bad\"", "3"].map(|json| event(json, "key", None));
        for bad in [
            Ok(fake::receipt(Verdict::Malformed)),
            Err(Refusal::Declined("as the test wants".into())),
        ] {
            let (seen, outcomes) = submitted(&events, bad.clone()).await;
            assert_eq!(seen, ["[1,\"bad\",3]", "1", "\"bad\"", "3"]);
            assert_eq!(outcomes, [accepted(), bad, accepted()]);
        }
    }

    #[actix::test]
    async fn an_array_that_fails_as_a_whole_is_submitted_once() {
        let events = ["1", "\"bad\""].map(|json| event(json, "key", None));
        for bad in [
            Ok(fake::receipt(Verdict::Unauthorized)),
            Err(Refusal::Failed("as the test wants".into())),
        ] {
            let (seen, outcomes) = submitted(&events, bad.clone()).await;
            assert_eq!(seen, ["[1,\"bad\"]"]);
            assert_eq!(outcomes, vec![bad; 2]);
        }
    }
}
