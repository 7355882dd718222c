//! Events that are read and not stored.

use super::*;
use crate::pipeline::request::{Outcome, Receipt, Request, Verdict};

fn receipt(duplicate: u32, rejected: u32) -> Outcome {
    Ok(Receipt {
        verdict: Verdict::Accepted,
        inserted: 0,
        duplicate,
        rejected,
        detail: (rejected > 0).then(|| "item 1: event_id is missing".to_owned()),
    })
}

fn rejects(_: &Request) -> Outcome {
    receipt(0, 100)
}

fn knows(_: &Request) -> Outcome {
    receipt(1, 99)
}

/// Ends each stream after 100 events that lie behind the cursor.
async fn ending() -> Chat {
    Chat::start(None, |_| Ok(events((8..108).map(id)))).await
}

/// What it says in its `n`th pause, and how long that still is.
async fn pause(
    fixture: &Fixture,
    chat: &Chat,
    n: usize,
) -> (crate::stream::report::Status, Duration) {
    fixture
        .until("pause", |f| {
            chat.called().len() >= n && f.status().state == State::Waiting
        })
        .await;
    let status = fixture.status();
    let until = status.next_try.unwrap();
    let left = until.duration_since(std::time::SystemTime::now());
    (status, left.unwrap_or_default())
}

#[actix::test]
async fn what_is_only_rejected_is_no_progress() {
    let chat = ending().await;
    let fixture = Fixture::answering(&chat, json!({}), &id(7), rejects).await;
    for n in 1..=2 {
        let (status, _) = pause(&fixture, &chat, n).await;
        // Far more than where it goes on at once; the error is told as the pause begins.
        let (begin, end) = (status.last_error_at.unwrap(), status.next_try.unwrap());
        let whole = end.duration_since(begin).unwrap();
        assert!(whole > Duration::from_millis(100), "{whole:?}");
        assert_eq!(status.failures, 0, "a clean end is none");
        assert_eq!(
            status.last_error.unwrap(),
            "none of its 100 events could be stored: item 1: event_id is missing; \
             the provider's schema may differ: tidings-worker check"
        );
    }
    assert!(chat.called().iter().all(|c| c.after == Some(id(7))));
    fixture.stop().await;
}

#[actix::test]
async fn what_fails_after_events_that_are_rejected_says_both() {
    let chat = Chat::start(None, |_| {
        let failure = stream::iter([Err(Status::unavailable("restart"))]);
        Ok(events([id(8)]).chain(failure).boxed())
    })
    .await;
    let fixture = Fixture::answering(&chat, json!({}), &id(7), rejects).await;
    fixture
        .until("failures", |f| f.status().failures >= 3)
        .await;
    let error = fixture.status().last_error.unwrap();
    assert!(
        error.starts_with("UNAVAILABLE: restart; none of its 1 events"),
        "{error}"
    );
}

#[actix::test]
async fn a_duplicate_is_progress() {
    let chat = ending().await;
    let fixture = Fixture::answering(&chat, json!({}), &id(7), knows).await;
    let (status, left) = pause(&fixture, &chat, 3).await;
    assert!(left <= Duration::from_millis(20), "{left:?}");
    assert_eq!(status.last_error, None);
}

fn fences(request: &Request) -> Outcome {
    let headers: serde_json::Value = serde_json::from_str(&request.headers.to_string()).unwrap();
    assert_eq!(headers["lease-epoch"], EPOCH.to_string());
    Ok(Receipt {
        verdict: Verdict::Fenced,
        detail: Some("another worker follows it".to_owned()),
        ..receipt(0, 0).unwrap()
    })
}

#[actix::test]
async fn what_another_worker_follows_since_ends_the_connection() {
    let chat = ending().await;
    let fixture = Fixture::answering(&chat, json!({}), &id(7), fences).await;
    let (status, _) = pause(&fixture, &chat, 1).await;
    assert_eq!(
        status.last_error.unwrap(),
        "its events are fenced: another worker follows it"
    );
    fixture.stop().await;
}
