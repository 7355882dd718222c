//! A stream against servers over real sockets.

mod connection;
mod fixture;
mod gaps;
mod plain;
mod stored;

use std::{fs, sync::Mutex};

use futures_util::{StreamExt, stream};
use serde_json::json;
use tidings_core::Ulid;
use tonic::{Code, Status, metadata::MetadataMap};

use self::fixture::{EPOCH, Fixture, SECRET};
use super::*;
use crate::testing::{
    chat::{Called, Chat, Events, events, open},
    endpoint::TokenEndpoint,
};

fn id(n: u64) -> String {
    Ulid::at(1_800_000_000_000 + n * 1_000).unwrap().to_string()
}

/// The events behind a cursor, of those with the numbers `1..=last`.
fn behind(called: &Called, last: u64) -> Vec<String> {
    let after = called.after.clone().unwrap_or_default();
    (1..=last).map(id).filter(|id| *id > after).collect()
}

fn refused(code: Code) -> impl Fn(&Called) -> Result<Events, Status> {
    move |_| Err(Status::new(code, "no"))
}

#[actix::test]
async fn ppoppo_auth_and_full_grpc_path() {
    let chat = Chat::start(None, |_| Ok(open([id(1)]))).await;
    let options = json!({"send_request_id": "r1"});
    let fixture = Fixture::start(&chat, options).await;
    fixture.until("events", |f| f.events() == [id(1)]).await;
    assert_eq!(
        chat.called(),
        [Called {
            number: 1,
            path: "/ext/pcs.external.v1.MessageService/StreamSendRequestEvents".to_owned(),
            authorization: format!("Bearer {SECRET}"),
            after: None,
            send_request_id: Some("r1".to_owned()),
        }]
    );
    assert_eq!(fixture.status().state, State::Connected);
    fixture.stop().await;
}

#[actix::test]
async fn ppoppo_end_of_stream() {
    let chat = Chat::start(None, |called| {
        let next: Vec<_> = behind(called, 1_000).into_iter().take(100).collect();
        Ok(if next.is_empty() {
            open(next)
        } else {
            events(next)
        })
    })
    .await;
    // It ends cleanly every 100 events, fewer than the overlap holds.
    let fixture = Fixture::start(&chat, json!({"overlap": 300})).await;
    let all: Vec<_> = (1..=1_000).map(id).collect();
    let read = |f: &Fixture| {
        let mut read = f.events();
        read.sort_unstable();
        read.dedup();
        read
    };
    fixture.until("events", |f| read(f) == all).await;
    // It got there, with little read again on the way.
    let calls = chat.called().len();
    assert!(calls <= 40, "{calls} calls");
    let status = fixture.status();
    assert_eq!((status.failures, status.last_error), (0, None));
}

#[actix::test]
async fn a_failure_is_followed_by_one_re_read() {
    let chat = Chat::start(None, |called| {
        let next = behind(called, 100).into_iter();
        Ok(match called.number {
            1 => events(next.take(50)),
            2 | 3 => {
                let failure = stream::iter([Err(Status::unavailable("restart"))]);
                events(next.take(10)).chain(failure).boxed()
            }
            _ => open(next),
        })
    })
    .await;
    let fixture = Fixture::start(&chat, json!({"overlap": 20})).await;
    fixture
        .until("events", |f| f.events().last() == Some(&id(100)))
        .await;
    let after: Vec<_> = chat.called().into_iter().map(|c| c.after).collect();
    // 1 to 50, then on to 60; back to 20 s before the first end, and only to 40: no
    // further back.
    let expected = [None, Some(id(50)), Some(id(30)), Some(id(40))];
    assert_eq!(after, expected);
}

#[actix::test]
async fn ppoppo_token_endpoint_expiry_in_mid_stream() {
    let tokens = TokenEndpoint::start(|asked| {
        let body = json!({"access_token": format!("token-{}", asked.number), "expires_in": 3600});
        (200, body.to_string())
    })
    .await;
    let chat = Chat::start(None, |called| {
        let expired = stream::iter([Err(Status::unauthenticated("expired"))]);
        match called.authorization.as_str() {
            "Bearer token-1" => Ok(events([id(1), id(2)]).chain(expired).boxed()),
            "Bearer token-2" => Ok(open(behind(called, 4))),
            _ => Err(Status::unauthenticated("no such token")),
        }
    })
    .await;
    let options = json!({"token_url": tokens.url, "client_id": "app", "scope": "messaging"});
    let fixture = Fixture::start(&chat, options).await;
    let all: Vec<_> = (1..=4).map(id).collect();
    fixture.until("events", |f| f.events() == all).await;
    assert_eq!(tokens.asked().len(), 2);
    let error = fixture.status().last_error.unwrap();
    assert!(error.starts_with("UNAUTHENTICATED: expired"), "{error}");
}

#[actix::test]
async fn a_refused_token_stops_the_stream_until_there_is_another() {
    let chat = Chat::start(None, |called| match called.authorization.as_str() {
        "Bearer new" => Ok(open([id(1)])),
        _ => Err(Status::unauthenticated("no")),
    })
    .await;
    let fixture = Fixture::start(&chat, json!({})).await;
    fixture
        .until("stop", |f| f.status().state == State::Stopped)
        .await;
    let status = fixture.status();
    assert_eq!(status.failures, 2);
    let error = status.last_error.unwrap();
    assert!(error.contains("tidings.rotate_secret"), "{error}");
    assert!(error.contains("twice in a row"), "{error}");
    // Somebody else's change is no reason to try again.
    fixture.wake.notify_one();
    fixture.until("a look", |f| f.asked() > 2).await;
    fixture.set_secret("new");
    fixture.wake.notify_one();
    fixture.until("events", |f| f.events() == [id(1)]).await;
    assert_eq!(chat.called().len(), 3);
}

#[actix::test]
async fn a_changed_token_file_ends_a_stop() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "old").unwrap();
    let chat = Chat::start(None, |called| match called.authorization.as_str() {
        "Bearer new" => Ok(open([id(1)])),
        _ => Err(Status::permission_denied("suspended")),
    })
    .await;
    let options = json!({"token_file": file.path().to_str().unwrap()});
    let fixture = Fixture::without_secret(&chat, options).await;
    fixture
        .until("stop", |f| f.status().state == State::Stopped)
        .await;
    fs::write(file.path(), "new\n").unwrap();
    fixture.until("events", |f| f.events() == [id(1)]).await;
    assert_eq!(chat.called().len(), 2);
}

#[actix::test]
async fn ppoppo_status_table_stops() {
    for code in [
        Code::PermissionDenied,
        Code::NotFound,
        Code::InvalidArgument,
        Code::FailedPrecondition,
        Code::Unimplemented,
    ] {
        let chat = Chat::start(None, refused(code)).await;
        let fixture = Fixture::start(&chat, json!({})).await;
        fixture
            .until("stop", |f| f.status().state == State::Stopped)
            .await;
        assert!(fixture.status().next_try.is_some(), "{code:?}");
        assert_eq!(chat.called().len(), 1, "{code:?}");
        fixture.stop().await;
    }
}

#[actix::test]
async fn ppoppo_status_table_waits() {
    for code in [
        Code::Unavailable,
        Code::Internal,
        Code::Unknown,
        Code::Aborted,
        Code::DeadlineExceeded,
        Code::Cancelled,
        Code::DataLoss,
        Code::ResourceExhausted,
        // A provider that still has the connection of a worker that was cut off.
        Code::AlreadyExists,
    ] {
        let chat = Chat::start(None, refused(code)).await;
        let fixture = Fixture::start(&chat, json!({})).await;
        let called = || chat.called().len();
        fixture.until("tries", |_| called() >= 2).await;
        fixture
            .until("pause", |f| f.status().state == State::Waiting)
            .await;
        fixture.stop().await;
    }
}

#[actix::test]
async fn ppoppo_status_table_hint() {
    let chat = Chat::start(None, |called| {
        let mut metadata = MetadataMap::new();
        metadata.insert("retry-after-ms", "120000".parse().unwrap());
        match called.number {
            1 => Err(Status::with_metadata(
                Code::ResourceExhausted,
                "slow",
                metadata,
            )),
            _ => Err(Status::unavailable("too early")),
        }
    })
    .await;
    let fixture = Fixture::start(&chat, json!({})).await;
    fixture
        .until("pause", |f| f.status().state == State::Waiting)
        .await;
    let next_try = fixture.status().next_try.unwrap();
    let pause = next_try
        .duration_since(std::time::SystemTime::now())
        .unwrap();
    assert!(pause > Duration::from_secs(100) && pause <= Duration::from_secs(120));
}

#[actix::test]
async fn another_cursor_ends_a_stop() {
    let chat = Chat::start(None, |called| match &called.after {
        Some(after) if *after == id(7) => Ok(open([id(8)])),
        _ => Err(Status::out_of_range("the event has expired")),
    })
    .await;
    let fixture = Fixture::resuming(&chat, json!({}), &id(3)).await;
    fixture
        .until("stop", |f| f.status().state == State::Stopped)
        .await;
    let error = fixture.status().last_error.unwrap();
    assert!(
        error.contains("tidings.set_stream_cursor('chat', ..)"),
        "{error}"
    );
    fixture.set_cursor(&id(7));
    fixture.wake.notify_one();
    fixture.until("events", |f| f.events() == [id(8)]).await;
}

#[actix::test]
async fn sighup_ends_a_stop() {
    let chat = Chat::start(None, |called| match called.number {
        1 => Err(Status::permission_denied("no")),
        _ => Ok(open([id(1)])),
    })
    .await;
    let fixture = Fixture::start(&chat, json!({})).await;
    fixture
        .until("stop", |f| f.status().state == State::Stopped)
        .await;
    fixture.reload.ask();
    fixture.until("events", |f| f.events() == [id(1)]).await;
}

#[actix::test]
async fn without_postgres_it_waits_and_its_return_is_news() {
    let chat = Chat::start(None, |_| Ok(open([id(1)]))).await;
    let fixture = Fixture::without_postgres(&chat, json!({})).await;
    fixture.until("attempts", |f| f.status().failures > 2).await;
    fixture.set_secret("s");
    fixture.wake.notify_one();
    fixture.until("events", |f| f.events() == [id(1)]).await;
}

#[actix::test]
async fn a_plan_that_cannot_be_is_reported() {
    let fixture = Fixture::of(Err("its schema cannot be used".to_owned())).await;
    fixture
        .until("stop", |f| f.status().state == State::Stopped)
        .await;
    let error = fixture.status().last_error.unwrap();
    assert_eq!(error, "its schema cannot be used");
    fixture.stop().await;
}

#[actix::test]
async fn a_server_that_says_nothing_before_the_first_event_is_connected() {
    let chat = Chat::start(None, |_| Ok(open([id(1)]))).await;
    // Nothing comes through, not even the answer to the call.
    let relay = connection::Relay::start(chat.address).await;
    relay.mute();
    let fixture = Fixture::at(relay.address, json!({"idle_limit": 4})).await;
    fixture
        .until("connection", |f| f.status().state == State::Connected)
        .await;
    relay.unmute();
    fixture.until("events", |f| f.events() == [id(1)]).await;
}

#[actix::test]
async fn ppoppo_security_page() {
    let log = crate::testing::Log::default();
    let _guard = log.listen();

    // Servers that repeat what they are sent.
    let tokens = TokenEndpoint::start(|asked| match asked.number {
        1 => (
            400,
            json!({"error": "invalid_scope", "error_description": format!("{SECRET} may not")})
                .to_string(),
        ),
        _ => (200, json!({"access_token": "ey.granted"}).to_string()),
    })
    .await;
    let chat = Chat::start(None, |called| match called.number {
        1 => {
            let refusal = format!("{} of {SECRET} is not known", called.authorization);
            let refusal = stream::iter([Err(Status::unauthenticated(refusal))]);
            Ok(events([id(1)]).chain(refusal).boxed())
        }
        _ => Ok(open(behind(called, 2))),
    })
    .await;
    let options = json!({"token_url": tokens.url, "client_id": "app"});
    let fixture = Fixture::start(&chat, options).await;
    fixture
        .until("events", |f| f.events() == [id(1), id(2)])
        .await;
    fixture.stop().await;

    let log = log.text();
    for said in ["UNAUTHENTICATED: Bearer (hidden)", "(hidden) may not"] {
        assert!(log.contains(said), "{log}");
    }
    let reports = format!("{:?}", fixture.reports());
    assert!(reports.contains("(hidden)"), "{reports}");
    for said in [log, reports] {
        assert!(!said.contains(SECRET), "{said}");
        assert!(!said.contains("ey.granted"), "{said}");
    }
    // The cursor is Postgres's: each connection asks for it.
    assert!(fixture.asked() >= 3);
}
