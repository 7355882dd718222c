//! The HTTP transport: batches of 100 events and more, an Authorization header, retries
//! after 1, 3 and 8 seconds, then discarded.
//!
//! The page says both that a 5xx is retried and that "the response code and body are
//! ignored": only a 5xx or a missing answer is retried here, and whatever else is not
//! 2xx loses the batch, as it would there.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;

use super::{item, liberal, message::Events};
use crate::{
    deliver::Policy,
    draw::Draw,
    faults::{Fault, Faults, Part},
    lane::Call,
    ledger::Entry,
};

pub(crate) const POLICY: Policy = Policy {
    accepts: |status| status.is_success(),
    retries: |status| status.is_server_error(),
    delay: |failures| match failures {
        1 => Some(Duration::from_secs(1)),
        2 => Some(Duration::from_secs(3)),
        3 => Some(Duration::from_secs(8)),
        _ => None,
    },
};

/// Draws batches until the events are used up.
#[derive(Debug)]
pub(crate) struct Calls {
    events: Events,
    /// Draws the forms, where they are liberal.
    forms: Option<Draw>,
    duplicates: f64,
    faults: Arc<Faults>,
    number: u32,
}

impl Calls {
    pub(crate) fn new(
        draw: Draw,
        forms: Option<Draw>,
        from: Timestamp,
        events: u32,
        duplicates: f64,
        faults: Arc<Faults>,
    ) -> Self {
        Self {
            events: Events::new(draw, from, events),
            forms,
            duplicates,
            faults,
            number: 0,
        }
    }

    /// A single object: an hour passed with one event.
    fn single(&mut self) -> bool {
        self.events.draw().chance(0.03)
    }
}

impl Iterator for Calls {
    type Item = Call;

    fn next(&mut self) -> Option<Call> {
        if self.events.left() == 0 {
            return None;
        }
        let single = self.single();
        let size = if single {
            1
        } else {
            self.events.draw().between(100, 150)
        };
        let mut items = Vec::with_capacity(151);
        let mut opened = Vec::with_capacity(151);
        let mut numbers = Vec::with_capacity(151);
        for event in self.events.by_ref().take(usize::try_from(size).ok()?) {
            items.push(match &mut self.forms {
                None => item::write(&event).ok()?,
                Some(draw) => liberal::item(&event, draw),
            });
            opened.push(Entry::once(event.user_id));
            numbers.push(self.number);
            self.number += 1;
        }
        let again = self.events.draw().chance(self.duplicates);
        if single {
            let item = items.pop()?;
            let body = Bytes::from(match &mut self.forms {
                None => item,
                Some(draw) => liberal::single(item, draw),
            });
            return Some(Call {
                body,
                header: None,
                opened,
                numbers,
                again,
            });
        }
        let equal = self.events.draw().chance(self.duplicates);
        if equal || self.faults.asks(Fault::EqualEvents) {
            double(self.events.draw(), &mut items, &mut opened, &mut numbers);
            self.faults.happened(Part::EqualEvents);
        }
        let body = Bytes::from(match &mut self.forms {
            None => format!("[{}]", items.join(",")),
            Some(draw) => liberal::batch(&items, draw),
        });
        Some(Call {
            body,
            header: None,
            opened,
            numbers,
            again,
        })
    }
}

/// Puts one of the events into the batch a second time, byte for byte: two events that
/// happen to be equal, which the HTTP transport gives no id to tell apart.
fn double(draw: &mut Draw, items: &mut Vec<String>, opened: &mut [Entry], numbers: &mut Vec<u32>) {
    let at = draw.index(items.len());
    let (Some(item), Some(entry), Some(&number)) =
        (items.get(at).cloned(), opened.get_mut(at), numbers.get(at))
    else {
        return;
    };
    entry.copies = 2;
    let place = draw.index(items.len());
    items.insert(place, item);
    numbers.push(number);
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::Value;

    use super::*;
    use crate::{draw::Purpose, mix::Provider};

    fn calls(seed: u64, duplicates: f64) -> Vec<Call> {
        let from = "2026-11-01T21:00:00Z".parse().unwrap();
        let draw = Draw::new(seed, Purpose::Pushwoosh);
        Calls::new(draw, None, from, 5000, duplicates, Arc::default()).collect()
    }

    #[test]
    fn a_seed_gives_the_same_bytes() {
        assert_eq!(calls(1, 0.1), calls(1, 0.1));
        assert_ne!(calls(1, 0.1), calls(2, 0.1));
    }

    #[test]
    fn pushwoosh_batching_by_http() {
        let calls = calls(1, 0.3);
        let mut seen: HashMap<String, u32> = HashMap::new();
        let mut singles = 0;
        for (nth, call) in calls.iter().enumerate() {
            let body: Value = serde_json::from_slice(&call.body).unwrap();
            let items = match body {
                Value::Array(items) => {
                    let last = nth + 1 == calls.len();
                    assert!(last || items.len() >= 100);
                    items
                }
                single => {
                    singles += 1;
                    vec![single]
                }
            };
            assert_eq!(items.len(), call.numbers.len());
            for item in items {
                assert!(item["event_name"].is_string());
                assert!(item["timestamp"].as_i64().unwrap() > 1_700_000_000);
                assert!(item.get("uuid").is_none());
                let whole = item.get("message_code").is_some();
                assert!(whole != item.get("live_activity_id").is_some());
                let key = item["user_id"].as_str().unwrap().to_owned();
                *seen.entry(key).or_default() += 1;
            }
        }
        assert!(singles > 0);
        let opened: Vec<&Entry> = calls.iter().flat_map(|call| &call.opened).collect();
        assert_eq!(opened.len(), 5000);
        assert!(opened.iter().any(|entry| entry.copies == 2));
        for entry in opened {
            assert_eq!(seen[&entry.key], entry.copies, "{}", entry.key);
        }
        assert!(calls.iter().any(|call| call.again));
    }

    #[test]
    fn pushwoosh_body_shape() {
        let from = "2026-11-01T21:00:00Z".parse().unwrap();
        let draw = Draw::new(1, Purpose::Pushwoosh);
        let forms = Some(Draw::new(1, Purpose::Forms(Provider::Pushwoosh)));
        let calls = Calls::new(draw, forms, from, 20_000, 0.1, Arc::default());
        let mut seen: HashMap<String, u32> = HashMap::new();
        let mut shapes: HashMap<&str, u32> = HashMap::new();
        let mut opened = Vec::new();
        for call in calls {
            opened.extend(call.opened);
            let values: Vec<Value> = serde_json::Deserializer::from_slice(&call.body)
                .into_iter()
                .collect::<Result<_, _>>()
                .unwrap();
            let (shape, items) = match values.as_slice() {
                [Value::Array(items)] => ("array", items.clone()),
                [Value::Object(members)] if !members.contains_key("event_name") => {
                    let inner = members.values().find_map(Value::as_array);
                    ("wrapper", inner.unwrap().clone())
                }
                [_] => ("object", values),
                _ if call.body.contains(&b'\n') => ("lines", values),
                _ => ("concatenated", values),
            };
            *shapes.entry(shape).or_default() += 1;
            assert_eq!(items.len(), call.numbers.len(), "{shape}");
            for item in items {
                assert!(item["event_name"].is_string());
                let user = &item["user_id"];
                let key = user
                    .as_str()
                    .map_or_else(|| user.to_string(), str::to_owned);
                *seen.entry(key).or_default() += 1;
            }
        }
        assert_eq!(opened.len(), 20_000);
        for entry in opened {
            assert_eq!(seen[&entry.key], entry.copies, "{}", entry.key);
        }
        assert_eq!(shapes.len(), 5, "{shapes:?}");
    }

    #[test]
    fn equal_events_stand_in_each_batch_that_is_asked_for() {
        let from = "2026-11-01T21:00:00Z".parse().unwrap();
        let draw = Draw::new(1, Purpose::Pushwoosh);
        let faults = Faults::new(&[Fault::EqualEvents], &[Provider::Pushwoosh]);
        let calls = Calls::new(draw, None, from, 2000, 0.0, Arc::clone(&faults));
        let doubled = calls
            .filter(|call| call.numbers.len() > call.opened.len())
            .count();
        assert!(doubled > 10);
        assert_eq!(faults.counts()["equal-events"], doubled as u64);
    }

    #[test]
    fn no_duplicates_are_none() {
        let calls = calls(1, 0.0);
        assert!(calls.iter().all(|call| !call.again));
        assert!(
            calls
                .iter()
                .flat_map(|call| &call.opened)
                .all(|entry| entry.copies == 1)
        );
    }
}
