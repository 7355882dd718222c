//! The drawn events keep the provider's rules.

use std::collections::{HashMap, HashSet};

use tidings_proto::ppoppo::{
    RecipientDeliveryStatus as Delivery, SendRequestEventType as Type, SendRequestStatus as Status,
};

use super::*;
use crate::{clock, draw::Purpose, ppoppo::requests::count, ulid::decode};

fn drawn(seed: u64, kinds: Kinds) -> (Vec<SendRequestEvent>, Arc<Requests>) {
    let from = "2026-11-01T21:00:00Z".parse().unwrap();
    let draw = Draw::new(seed, Purpose::Ppoppo);
    let clock = Clock::Drawn(clock::Clock::new(from, 20_000), Box::new(draw.clone()));
    let requests = Arc::new(Requests::default());
    let stories = Stories::new(draw, kinds, clock, 20_000, Arc::clone(&requests));
    (stories.collect(), requests)
}

fn events(seed: u64) -> Vec<SendRequestEvent> {
    drawn(seed, Kinds::Published).0
}

#[test]
fn a_seed_gives_the_same_events() {
    assert_eq!(events(1), events(1));
    assert_ne!(events(1), events(2));
}

#[test]
fn ids_are_increasing_ulids_and_every_type_happens() {
    let types = |kinds| {
        let (events, _) = drawn(1, kinds);
        assert_eq!(events.len(), 20_000);
        assert!(events.is_sorted_by(|a, b| a.event_id < b.event_id));
        assert!(events.iter().all(|event| decode(&event.event_id).is_some()));
        let first = events[0].occurred_at.unwrap().seconds;
        let last = events[19_999].occurred_at.unwrap().seconds;
        assert!((5 * 3600..7 * 3600).contains(&(last - first)));
        let types: HashSet<i32> = events.iter().map(|event| event.event_type).collect();
        let mut types: Vec<i32> = types.into_iter().collect();
        types.sort_unstable();
        types
    };
    assert_eq!(types(Kinds::Published), [1, 2, 3, 6, 8]);
    assert_eq!(types(Kinds::Page), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn summaries_count_what_happened_before() {
    let (events, requests) = drawn(2, Kinds::Published);
    let mut ended = HashMap::new();
    for event in &events {
        requests.tell(event);
        let Some(summary) = &event.summary else {
            assert!(event.recipient.is_some());
            continue;
        };
        assert!(event.recipient.is_none());
        let known = requests.status(&event.send_request_id).unwrap();
        assert_eq!(known.request.as_ref(), Some(summary));
        let counts = count(&known.recipients);
        assert_eq!(summary.total_recipients, counts.total_recipients);
        let processed = counts.delivered + counts.failed + counts.pending_consent;
        let all = processed == counts.total_recipients;
        assert_eq!(all, event.event_type() == Type::RequestCompleted);
        let times: &mut u32 = ended.entry(summary.status()).or_default();
        *times += 1;
    }
    assert!(ended[&Status::Completed] > 100, "{ended:?}");
    assert!(ended[&Status::Failed] > 10, "{ended:?}");
}

#[test]
fn who_is_held_reports_once_and_some_after_the_request_is_completed() {
    let mut held = HashSet::new();
    let mut over = HashSet::new();
    let mut codes = HashMap::new();
    let (mut late, mut settled) = (0, HashSet::new());
    for event in events(3) {
        let Some(recipient) = &event.recipient else {
            assert!(over.insert(event.send_request_id));
            continue;
        };
        let who = (event.send_request_id.clone(), recipient.ppnum.clone());
        assert!(recipient.ppnum.len() == 11 || recipient.ppnum.len() == 15);
        match recipient.status() {
            Delivery::PendingConsent => assert!(held.insert(who)),
            Delivery::Delivered | Delivery::Failed => {
                late += u32::from(over.contains(&event.send_request_id));
                let code = recipient.error_code.clone().unwrap_or_default();
                let consent = code.starts_with("consent_");
                assert!(!consent || held.contains(&who), "{event:?}");
                *codes.entry(code).or_insert(0) += 1;
                assert!(settled.insert(who));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(late > 100, "{late}");
    assert!(held.iter().any(|who| !settled.contains(who)));
    assert!(codes["consent_denied"] > 10 && codes["consent_expired"] > 10);
}
