//! What each fault is to a real client.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::*;
use crate::{
    faults::{Fault, Part},
    mix,
    ppoppo::ending::{Ending, Hint, How},
};

fn asking(faults: &[Fault]) -> Arc<Faults> {
    Faults::new(faults, &[mix::Provider::Ppoppo])
}

/// Streams that end so after this many events, one after the other.
async fn ending(endings: &[(u32, How)]) -> Provider {
    let endings: Vec<Ending> = endings
        .iter()
        .map(|&(after, how)| Ending {
            after,
            how,
            part: Some(Part::Goaway),
        })
        .collect();
    let manner = Manner {
        faults: asking(&[Fault::Exhausted]),
        ..Manner::default()
    };
    let provider = Provider::start_with(Endings::these(&endings), manner).await;
    provider.log.append(stories(1000).collect());
    provider
}

/// Reads to the end: how many events, and what came then.
async fn read_all(mut stream: Frames) -> (usize, Option<Status>) {
    let mut read = 0;
    loop {
        match stream.message().await {
            Ok(Some(_)) => read += 1,
            Ok(None) => return (read, None),
            Err(status) => return (read, Some(status)),
        }
    }
}

#[tokio::test]
async fn a_half_open_connection_is_silent_and_stays_open() {
    let provider = ending(&[(20, How::Silent)]).await;
    let endpoint = Channel::from_shared(provider.address.clone()).unwrap();
    // A client that pings finds out; nothing else tells it.
    let channel = endpoint
        .http2_keep_alive_interval(Duration::from_millis(300))
        // Until then the provider has to have said what it says before it is silent.
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .connect_lazy();
    let call = Call {
        client: MessageServiceClient::new(channel),
        ..provider.call("")
    };
    let pinging = tokio::spawn(async { read_all(call.start().await.unwrap()).await });
    let (read, status) = timeout(Duration::from_secs(20), pinging)
        .await
        .unwrap()
        .unwrap();
    assert!(read <= 20 && status.is_some(), "{read} {status:?}");
    // The next connection is well.
    assert_eq!(provider.call("").read(30).await.len(), 30);
}

#[tokio::test]
async fn a_silent_stream_says_nothing_to_who_does_not_ping() {
    let provider = ending(&[(20, How::Silent)]).await;
    let stream = provider.call("").start().await.unwrap();
    let waited = timeout(Duration::from_millis(300), read_all(stream)).await;
    assert!(waited.is_err(), "{waited:?}");
}

#[tokio::test]
async fn an_ending_that_is_not_met_is_another_streams() {
    let manner = Manner::default();
    let faults = Arc::clone(&manner.faults);
    let log = Log::new(Book::new("ppoppo"), manner);
    log.append(stories(1000).collect());
    let endings = Endings::these(&[Ending {
        after: 20,
        how: How::Clean,
        part: Some(Part::Goaway),
    }]);
    let none = Log::new(Book::new("channels"), Manner::default());
    let service = Service::new(
        Access::Token("token".to_owned()),
        faults,
        Feed::new(log, endings, KEEP_ALIVE),
        Feed::new(none, Endings::none(), KEEP_ALIVE),
        Arc::default(),
    );
    let follow = || {
        let request = StreamSendRequestEventsRequest {
            after_event_id: Some(BEGINNING.to_owned()),
            ..StreamSendRequestEventsRequest::default()
        };
        let request = shown("Bearer token", request);
        service.follow_requests(request).unwrap().take(100)
    };
    // A caller that leaves a silent stream.
    drop(follow());
    assert_eq!(follow().count().await, 20);
    assert_eq!(follow().count().await, 100);
}

#[tokio::test]
async fn goaway_lets_the_stream_go_on_and_no_other_begin() {
    let goes = How::GoAway { cut: false };
    let provider = ending(&[(20, goes), (20, How::GoAway { cut: true })]).await;
    let call = provider.call("");
    let mut second = Call {
        client: call.client.clone(),
        ..provider.call("")
    };
    let mut stream = call.start().await.unwrap();
    for _ in 0..25 {
        assert!(stream.message().await.unwrap().is_some());
    }
    // The same channel: told to go away, it opens another connection.
    second.request.after_event_id = Some(stories(1000).nth(500).unwrap().event_id);
    let torn = read_all(second.start().await.unwrap()).await;
    assert_eq!(read_all(stream).await.0, 5, "ten after GOAWAY");
    assert!(torn.0 <= 30 && torn.1.is_some(), "{torn:?}");
}

// However long the second call takes, it comes too early.
#[tokio::test(start_paused = true)]
async fn a_hint_stands_in_trailers_or_message_and_is_watched_over() {
    let provider = ending(&[
        (0, How::Exhausted(Hint::Seconds)),
        (0, How::Exhausted(Hint::Trailers)),
        (20, How::Exhausted(Hint::Message)),
    ])
    .await;
    let refused = provider.call("").start().await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.metadata().get("retry-after").unwrap(), "2");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let refused = provider.call("").start().await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let hint = refused.metadata().get("retry-after-ms").unwrap();
    let hint: u64 = hint.to_str().unwrap().parse().unwrap();
    let early = provider.call("").start().await.err().unwrap();
    assert_eq!(early.code(), Code::ResourceExhausted);
    assert!(early.metadata().contains_key("retry-after"));
    assert_eq!(provider.faults.counts()["too early"], 1);
    tokio::time::sleep(Duration::from_millis(hint)).await;
    let (read, status) = read_all(provider.call("").start().await.unwrap()).await;
    assert_eq!(read, 20);
    assert!(status.unwrap().message().contains("retry-after-ms: 1500"));
    assert_eq!(provider.faults.counts()["too early"], 1);
}

#[tokio::test]
async fn tokens_end_by_turns_in_the_stream_and_at_the_next_call() {
    let faults = asking(&[Fault::TokenExpiry]);
    let terms = Terms {
        client: "c".to_owned(),
        secret: "s".to_owned(),
        lifetime: Duration::from_secs(3600),
        events: Some(50),
        resource: String::new(),
        scope: "chat.read".to_owned(),
    };
    let draw = Draw::new(1, Purpose::Tokens);
    let tokens = Tokens::new(terms, draw, Arc::clone(&faults));
    let manner = Manner {
        faults: Arc::clone(&faults),
        ..Manner::default()
    };
    let access = Access::Issued(Arc::clone(&tokens));
    let provider = Provider::start_for(access, Endings::none(), manner).await;
    provider.log.append(stories(1000).collect());
    let call = |token: &str| Call {
        token: format!("Bearer {token}"),
        ..provider.call("")
    };
    let unauthenticated = |status: Option<Status>| {
        assert_eq!(status.unwrap().code(), Code::Unauthenticated);
    };
    unauthenticated(provider.call("").start().await.err());
    let first = tokens.issue();
    let (read, status) = read_all(call(&first).start().await.unwrap()).await;
    assert_eq!(read, 50);
    unauthenticated(status);
    let second = tokens.issue();
    let (read, status) = read_all(call(&second).start().await.unwrap()).await;
    assert_eq!((read, status.is_none()), (50, true));
    unauthenticated(call(&second).start().await.err());
    assert!(faults.missing().is_empty(), "{:?}", faults.counts());
}

#[tokio::test]
async fn a_late_event_is_seen_only_by_who_looks_back() {
    let faults = asking(&[Fault::Disorder]);
    let manner = Manner {
        late_of: Some(1000),
        faults: Arc::clone(&faults),
        ..Manner::default()
    };
    let provider = Provider::start_with(Endings::none(), manner).await;
    let events: Vec<_> = stories(1000).collect();
    provider.log.append(events.clone());
    let (read, status) = read_all(provider.call("").start().await.unwrap()).await;
    // The event at 100 has not come yet; ten later the stream ends well.
    assert_eq!((read, status.is_none()), (110, true));
    let exact = provider.call("").after(&events[110].event_id);
    assert_eq!(exact.read(1).await, events[111..112]);
    assert!(faults.missing().is_empty());
    let back = provider.call("").after(&events[90].event_id);
    assert_eq!(back.read(20).await, events[91..111]);
    // Who does not look back misses it, and the ledger says so.
    let lines = provider.book.lines();
    assert!(lines.iter().any(|line| line.key == events[100].event_id));
}

#[tokio::test]
async fn ids_in_any_form_are_cursors() {
    let manner = Manner {
        forms: Some(Draw::new(1, Purpose::Forms(mix::Provider::Ppoppo))),
        ..Manner::default()
    };
    let provider = Provider::start_with(Endings::none(), manner).await;
    provider.log.append(stories(500).collect());
    let events = provider.call("").read(500).await;
    let forms: [fn(&str) -> bool; 4] = [
        |id| id.starts_with("evt_"),
        |id| id.contains('-'),
        |id| id.bytes().any(|byte| byte.is_ascii_lowercase()) && id.len() == 26,
        |id| id.bytes().all(|byte| !byte.is_ascii_lowercase()) && id.len() == 26,
    ];
    for form in forms {
        let at = events
            .iter()
            .position(|event| form(&event.event_id))
            .unwrap();
        let rest = provider.call("").after(&events[at].event_id);
        assert_eq!(rest.read(499 - at).await, events[at + 1..]);
    }
    let ids: HashSet<&String> = events.iter().map(|event| &event.event_id).collect();
    assert_eq!(ids.len(), 500);
    assert!(events.iter().any(|event| event.event_type == 42));
}
