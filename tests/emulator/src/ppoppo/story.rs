//! What becomes of send requests and their recipients.

use std::collections::VecDeque;

use jiff::Timestamp;
use tidings_proto::ppoppo::{
    SendRequestEvent, SendRequestEventType as Type,
    send_request_event::{Recipient, Summary},
};

use crate::{clock::Clock, draw::Draw, ulid::Ulids};

/// How many requests are under way at once.
const OPEN: usize = 12;

/// The values are not documented.
const ERROR_CODES: &[&str] = &[
    "RECIPIENT_NOT_FOUND",
    "BLOCKED",
    "CONSENT_EXPIRED",
    "RATE_LIMITED",
];

#[derive(Debug)]
struct Step {
    event_type: Type,
    recipient: Option<Recipient>,
    summary: Option<Summary>,
}

#[derive(Debug)]
struct Request {
    id: String,
    steps: VecDeque<Step>,
}

/// Draws events until there are as many as asked for; requests still under way then stay
/// unfinished.
#[derive(Debug)]
pub(crate) struct Stories {
    draw: Draw,
    clock: Clock,
    ids: Ulids,
    request_ids: Ulids,
    left: u32,
    now: Timestamp,
    open: Vec<Request>,
}

impl Stories {
    pub(crate) fn new(draw: Draw, from: Timestamp, events: u32) -> Self {
        Self {
            draw,
            clock: Clock::new(from, events),
            ids: Ulids::default(),
            request_ids: Ulids::default(),
            left: events,
            now: from,
            open: Vec::new(),
        }
    }

    fn request(&mut self) -> Request {
        let draw = &mut self.draw;
        let recipients = match draw.between(0, 99) {
            0..60 => draw.between(1, 5),
            60..97 => draw.between(6, 40),
            _ => draw.between(100, 1000),
        };
        let mut stories: Vec<VecDeque<Step>> = (0..recipients).map(|_| recipient(draw)).collect();
        let mut steps = VecDeque::new();
        let mut polls = Vec::new();
        let mut summary = Summary::default();
        while !stories.is_empty() {
            let at = draw.index(stories.len());
            let Some(step) = stories.get_mut(at).and_then(VecDeque::pop_front) else {
                stories.swap_remove(at);
                continue;
            };
            match step.event_type {
                Type::RecipientDelivered => summary.delivered += 1,
                Type::RecipientFailed => summary.failed += 1,
                Type::PollResponseReceived => {
                    polls.push(step);
                    continue;
                }
                _ => {}
            }
            steps.push_back(step);
        }
        steps.push_back(Step {
            event_type: Type::RequestCompleted,
            recipient: None,
            summary: Some(summary),
        });
        // Polls are answered when their recipients like to.
        steps.extend(polls);
        Request {
            id: self.request_ids.next(self.now.as_millisecond(), draw),
            steps,
        }
    }

    /// The next step of a request under way, whichever.
    fn step(&mut self) -> Option<(String, Step)> {
        while self.open.len() < OPEN {
            let request = self.request();
            self.open.push(request);
        }
        let at = self.draw.index(self.open.len());
        let request = self.open.get_mut(at)?;
        let id = request.id.clone();
        let step = request.steps.pop_front()?;
        if request.steps.is_empty() {
            self.open.swap_remove(at);
        }
        Some((id, step))
    }
}

impl Iterator for Stories {
    type Item = SendRequestEvent;

    fn next(&mut self) -> Option<SendRequestEvent> {
        self.left = self.left.checked_sub(1)?;
        self.now = self.clock.tick(&mut self.draw);
        let (send_request_id, step) = self.step()?;
        let now = self.now;
        let digits = [0, 3, 6, 9].get(self.draw.index(4)).copied().unwrap_or(3);
        Some(SendRequestEvent {
            event_id: self.ids.next(now.as_millisecond(), &mut self.draw),
            send_request_id,
            event_type: step.event_type.into(),
            recipient: step.recipient,
            summary: step.summary,
            occurred_at: format!("{now:.digits$}"),
        })
    }
}

/// What happens to one recipient, in order.
fn recipient(draw: &mut Draw) -> VecDeque<Step> {
    let ppnum = format!("123{:08}", draw.between(0, 99_999_999));
    let message_id = format!("msg_{}", draw.object_id());
    let about = |error_code: Option<&str>, message_id: Option<&String>| {
        Some(Recipient {
            ppnum: ppnum.clone(),
            error_code: error_code.map(str::to_owned),
            message_id: message_id.cloned(),
        })
    };
    let step = |event_type, recipient| Step {
        event_type,
        recipient,
        summary: None,
    };
    let delivered = step(Type::RecipientDelivered, about(None, Some(&message_id)));
    // The page says "present for per-recipient events"; the SDK's consent and poll events
    // carry no ppnum.
    let named = draw.chance(0.8);
    let consent = |event_type| step(event_type, named.then(|| about(None, None)).flatten());
    let pending = step(Type::RecipientPendingConsent, about(None, None));
    let mut steps = match draw.between(0, 99) {
        0..55 => vec![delivered],
        55..70 => {
            let code = draw.word(ERROR_CODES);
            vec![step(Type::RecipientFailed, about(Some(code), None))]
        }
        70..85 => vec![pending, consent(Type::ConsentGranted), delivered],
        85..95 => vec![pending, consent(Type::ConsentDenied)],
        _ => vec![pending],
    };
    let reached = steps
        .last()
        .is_some_and(|step| step.event_type == Type::RecipientDelivered);
    if reached && draw.chance(0.15) {
        steps.push(consent(Type::PollResponseReceived));
    }
    steps.into()
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;
    use crate::{draw::Purpose, ulid::decode};

    fn events(seed: u64) -> Vec<SendRequestEvent> {
        let from = "2026-11-01T21:00:00Z".parse().unwrap();
        Stories::new(Draw::new(seed, Purpose::Ppoppo), from, 20_000).collect()
    }

    #[test]
    fn a_seed_gives_the_same_events() {
        assert_eq!(events(1), events(1));
        assert_ne!(events(1), events(2));
    }

    #[test]
    fn ids_are_increasing_ulids_and_every_type_happens() {
        let events = events(1);
        assert_eq!(events.len(), 20_000);
        assert!(events.is_sorted_by(|a, b| a.event_id < b.event_id));
        assert!(events.iter().all(|event| decode(&event.event_id).is_some()));
        let types: HashSet<Type> = events.iter().map(SendRequestEvent::event_type).collect();
        assert_eq!(types.len(), 7, "{types:?}");
        for event in &events {
            let at: Timestamp = event.occurred_at.parse().unwrap();
            assert_eq!(
                at.as_second() / 86_400 / 3,
                "2026-11-01T21:00:00Z"
                    .parse::<Timestamp>()
                    .unwrap()
                    .as_second()
                    / 86_400
                    / 3
            );
        }
    }

    #[test]
    fn summaries_count_what_happened_before() {
        let mut seen: HashMap<String, (i64, i64)> = HashMap::new();
        let mut completed = 0;
        for event in events(2) {
            let counts = seen.entry(event.send_request_id.clone()).or_default();
            match event.event_type() {
                Type::RecipientDelivered => counts.0 += 1,
                Type::RecipientFailed => {
                    counts.1 += 1;
                    assert!(event.recipient.unwrap().error_code.is_some());
                }
                Type::RequestCompleted => {
                    let summary = event.summary.unwrap();
                    assert_eq!((summary.delivered, summary.failed), *counts);
                    assert!(event.recipient.is_none());
                    completed += 1;
                }
                Type::RecipientPendingConsent => assert!(event.recipient.is_some()),
                _ => {}
            }
        }
        assert!(completed > 100);
    }

    #[test]
    fn consent_comes_before_what_follows_from_it() {
        let mut asked = HashSet::new();
        let mut granted = HashSet::new();
        for event in events(3) {
            let Some(recipient) = &event.recipient else {
                continue;
            };
            let who = (event.send_request_id.clone(), recipient.ppnum.clone());
            match event.event_type() {
                Type::RecipientPendingConsent => assert!(asked.insert(who)),
                Type::ConsentGranted => {
                    assert!(asked.contains(&who));
                    granted.insert(who);
                }
                Type::ConsentDenied => assert!(asked.contains(&who)),
                _ => {}
            }
        }
        assert!(!granted.is_empty());
    }
}
