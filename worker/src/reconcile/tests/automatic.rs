//! What a worker does by itself beside a stream.

use tokio::{sync::Notify, task::yield_now};

use super::{super::automatic::*, *};

/// Runs it beside the test, until this is true.
async fn follow_until(chat: &Chat, books: &Books, done: impl AsyncFnOnce(&Notify)) {
    let (pipeline, _) = pipeline(|_| Ok(fake::receipt(Verdict::Accepted)), PATIENCE);
    let way = Way {
        dial: dial(chat.address),
        question: question(),
    };
    let reported = Notify::new();
    let following = follow("chat".into(), &way, books.clone(), &pipeline, &reported);
    tokio::select! {
        () = following => {}
        () = done(&reported) => {}
    }
}

async fn until(is: impl Fn() -> bool) {
    while !is() {
        yield_now().await;
    }
}

#[actix::test]
async fn an_expired_cursor_is_followed_by_questions() {
    let chat = Chat::start(None, answered).await;
    let books = Books::new(&["r1"], &[(1, "cursor_expired"), (2, "moved_by_hand")]);
    follow_until(&chat, &books, async |_| {
        until(|| books.kept().rests == 1).await;
    })
    .await;
    let closed: Vec<_> = books.closed().into_iter().map(|(id, _)| id).collect();
    assert_eq!(closed, [1, 2]);
}

#[actix::test]
async fn a_gap_of_another_cause_waits_for_the_stream_to_report() {
    let chat = Chat::start(None, answered).await;
    let books = Books::new(&["r1"], &[(1, "started_at_live_edge")]);
    follow_until(&chat, &books, async |reported| {
        until(|| books.kept().rests == 1).await;
        assert_eq!(chat.called().len(), 0);
        // The cursor expires before the first event, which extends the gap.
        reported.notify_one();
        until(|| books.kept().rests == 2).await;
    })
    .await;
    assert_eq!((chat.called().len(), books.closed().len()), (1, 1));
}

#[actix::test]
async fn a_failure_is_tried_again_when_a_gap_is_reported_or_later() {
    let chat = Chat::start(None, |called| match called.number {
        1 => Err(Status::permission_denied("suspended")),
        _ => answered(called),
    })
    .await;
    let books = Books::new(&["r1"], &[(1, "cursor_expired")]);
    follow_until(&chat, &books, async |reported| {
        until(|| books.kept().rests == 1).await;
        assert_eq!(books.closed(), []);
        reported.notify_one();
        until(|| books.kept().rests == 2).await;
    })
    .await;
    assert_eq!((chat.called().len(), books.closed().len()), (2, 1));
}

#[actix::test]
async fn a_request_that_becomes_known_later_is_asked_about_once() {
    let chat = Chat::start(None, answered).await;
    let books = Books::new(&["r1"], &[(1, "cursor_expired")]);
    follow_until(&chat, &books, async |reported| {
        until(|| books.kept().rests == 1).await;
        books.kept().requests.insert("r2".to_owned(), 0);
        // As the end of a pause does.
        for looks in 2..=3 {
            reported.notify_one();
            until(|| books.kept().rests == looks).await;
        }
        books.kept().old = true;
        books.kept().requests.insert("r3".to_owned(), 0);
        reported.notify_one();
        until(|| books.kept().rests == 4).await;
    })
    .await;
    let called = chat.called();
    let ids: Vec<_> = called.iter().map(asked).collect();
    assert_eq!(ids, ["r1", "r2"]);
    assert_eq!(books.closed().len(), 1);
}

#[test]
fn the_documents_state_how_long_it_goes_on() {
    use crate::testing::documents::states;

    let (minutes, hours) = (LEAST_PAUSE.as_secs() / 60, LATER.as_secs() / 3600);
    let least = format!("tries again after {minutes} minute, and later after up to an hour");
    states("docs/outages.md", &least);
    states(
        "docs/outages.md",
        &format!("for {hours} hours after a gap was closed"),
    );
    assert_eq!(GREATEST_PAUSE, Duration::from_secs(3600));
}

#[actix::test]
async fn pauses_grow_from_a_minute_to_an_hour() {
    tokio::time::pause();
    let books = Books::new(&[], &[]);
    books.kept().failing = Some("Postgres is away".to_owned());
    let (pipeline, _) = pipeline(|_| Ok(fake::receipt(Verdict::Accepted)), PATIENCE);
    let way = Way {
        dial: Dial::new("ppoppo", &json!({})).unwrap(),
        question: question(),
    };
    let reported = Notify::new();
    let following = follow("chat".into(), &way, books.clone(), &pipeline, &reported);
    let hour = Duration::from_secs(3600);
    let _ = tokio::time::timeout(24 * hour, following).await;
    let rests = books.kept().rests;
    assert!((24..=24 + 8).contains(&rests), "{rests}");
}
