//! Where a stream begins and what it says of its cursor, and the other calls.

use futures_util::StreamExt as _;
use tidings_proto::ppoppo::{
    SendRequestStatus, StreamChannelEventsRequest, channel_event_frame,
    channel_service_client::ChannelServiceClient,
};

use super::*;
use crate::{
    ppoppo::ending::{Ending, How},
    ulid,
};

/// How many of the newest events can be replayed.
const WINDOW: u32 = 100;

async fn with_window(endings: Endings) -> (Provider, Vec<SendRequestEvent>) {
    let manner = Manner {
        window: Some(WINDOW),
        ..Manner::default()
    };
    let provider = Provider::start_with(endings, manner).await;
    let events: Vec<_> = stories(500).collect();
    provider.log.append(events.clone());
    (provider, events)
}

/// The id after this one, which no event has.
fn next(id: &str) -> String {
    ulid::encode(ulid::decode(id).unwrap() + 1)
}

#[tokio::test]
async fn without_a_cursor_a_stream_begins_at_the_live_edge() {
    let provider = Provider::start(Endings::none()).await;
    let events: Vec<_> = stories(300).collect();
    provider.log.append(events[..200].to_vec());
    let mut stream = provider.call("").live().start().await.unwrap();
    provider.log.append(events[200..].to_vec());
    for event in &events[200..] {
        assert_eq!(stream.message().await.unwrap().as_ref(), Some(event));
    }
}

#[tokio::test]
async fn an_expired_cursor_is_said_first_and_the_stream_goes_on_from_the_live_edge() {
    let (provider, events) = with_window(Endings::none()).await;
    // The last one that is replayed from: all after it are in the window.
    let call = provider.call("").after(&events[399].event_id);
    assert_eq!(call.read(100).await, events[400..]);
    for cursor in [&next(&events[398].event_id), BEGINNING] {
        let mut stream = provider.call("").after(cursor).start().await.unwrap();
        let first = stream.frame().await.unwrap().unwrap();
        assert!(matches!(first, Frame::CursorExpired(_)), "{first:?}");
        let more: Vec<_> = stories(501).skip(500).collect();
        if cursor == BEGINNING {
            provider.log.append(more.clone());
            assert_eq!(stream.message().await.unwrap().as_ref(), more.first());
        }
    }
}

/// A worker without a cursor resumes from the time at which it began to follow.
#[tokio::test]
async fn a_cursor_that_is_no_event_is_compared() {
    let (provider, events) = with_window(Endings::none()).await;
    let call = provider.call("").after(&next(&events[399].event_id));
    assert_eq!(call.read(100).await, events[400..]);
    let later: Vec<_> = stories(900).skip(500).collect();
    // Newer than everything so far, and than some of what follows.
    let [now, soon] = [&events[499], &later[9]].map(|event| next(&event.event_id));
    let mut from_now = provider.call("").after(&now).start().await.unwrap();
    let mut from_soon = provider.call("").after(&soon).start().await.unwrap();
    provider.log.append(later.clone());
    for (stream, expected) in [(&mut from_now, &later[0]), (&mut from_soon, &later[10])] {
        assert_eq!(stream.message().await.unwrap().as_ref(), Some(expected));
    }
    let newest = next(&later[399].event_id);
    let mut stream = provider.call("").after(&newest).start().await.unwrap();
    let more: Vec<_> = stories(901).skip(900).collect();
    provider.log.append(more.clone());
    assert_eq!(stream.message().await.unwrap().as_ref(), more.first());
}

#[tokio::test]
async fn what_was_not_confirmed_before_an_expired_cursor_need_not_be_there() {
    // The first stream is over when it has sent what is looked at.
    let ending = Ending {
        after: 100,
        how: How::Clean,
        part: None,
    };
    let (provider, events) = with_window(Endings::these(&[ending])).await;
    let cursor = &events[399].event_id;
    let mut stream = provider.call("").after(cursor).start().await.unwrap();
    while stream.message().await.unwrap().is_some() {}
    assert_eq!(provider.book.counts().acknowledged, 100);
    provider.log.append(stories(700).skip(500).collect());
    // Fifty were confirmed; what was sent of the others may be lost.
    let expired = provider.call("").after(&events[449].event_id);
    let frame = expired.start().await.unwrap().frame().await;
    assert!(matches!(frame, Ok(Some(Frame::CursorExpired(_)))));
    let lines = provider.book.lines();
    let owed = lines.iter().filter(|line| line.acknowledged > 0);
    assert_eq!((lines.len(), owed.count()), (100, 50));
}

#[tokio::test]
async fn a_cursor_expires_by_a_fault_whatever_its_age() {
    let ending = Ending {
        after: 20,
        how: How::Expires,
        part: Some(crate::faults::Part::CursorExpired),
    };
    let manner = Manner {
        faults: Faults::new(
            &[crate::faults::Fault::CursorExpired],
            &[crate::mix::Provider::Ppoppo],
        ),
        ..Manner::default()
    };
    let provider = Provider::start_with(Endings::these(&[ending]), manner).await;
    provider.log.append(stories(100).collect());
    let mut stream = provider.call("").start().await.unwrap();
    let mut last = String::new();
    while let Some(event) = stream.message().await.unwrap() {
        last = event.event_id;
    }
    assert_eq!(provider.faults.missing(), ["cursor-expired"], "not met yet");
    let mut next = provider.call("").after(&last).start().await.unwrap();
    let frame = next.frame().await.unwrap().unwrap();
    assert!(matches!(frame, Frame::CursorExpired(_)), "{frame:?}");
    assert!(provider.faults.missing().is_empty());
    assert_eq!(provider.call("").after(&last).read(80).await.len(), 80);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_shows_that_it_lives() {
    let provider = Provider::start(Endings::none()).await;
    let mut stream = provider.call("").live().start().await.unwrap();
    for _ in 0..3 {
        let began = tokio::time::Instant::now();
        let frame = stream.frame().await.unwrap().unwrap();
        assert!(matches!(frame, Frame::KeepAlive(_)), "{frame:?}");
        assert_eq!(began.elapsed().as_secs(), KEEP_ALIVE.as_secs());
    }
    provider.log.append(stories(1).collect());
    assert!(stream.message().await.unwrap().is_some());
}

#[tokio::test]
async fn a_send_request_is_told_with_all_its_recipients() {
    let provider = Provider::start(Endings::none()).await;
    let following = provider.call("").live().start().await.unwrap();
    let requests = Arc::clone(&provider.requests);
    let stories = stories_into(2000, Arc::clone(&requests));
    let read = tokio::spawn(async move {
        let mut following = following;
        let mut read = Vec::new();
        while read.len() < 2000 {
            read.extend(following.message().await.unwrap());
        }
        read
    });
    let tell = |event: &SendRequestEvent| requests.tell(event);
    produce(stories, &provider.log, &Pace::unlimited(), tell).await;
    let events = read.await.unwrap();
    let completed = events
        .iter()
        .rfind(|event| event.summary.is_some())
        .unwrap();
    let mut client = provider.call("").client;
    let mut ask = async |token: &str, id: &str| {
        let id = id.to_owned();
        let request = shown(token, GetSendRequestStatusRequest { id });
        client.get_send_request_status(request).await
    };
    let id = &completed.send_request_id;
    let status = ask("Bearer token", id).await.unwrap().into_inner();
    let (request, summary) = (status.request.unwrap(), completed.summary.clone().unwrap());
    assert_eq!(request.id, *id);
    assert_eq!(request.total_recipients, summary.total_recipients);
    let total = usize::try_from(summary.total_recipients).unwrap();
    assert_eq!(status.recipients.len(), total);
    for known in &status.recipients {
        let told = events.iter().rev().find_map(|event| {
            let of_it = event.send_request_id == *id;
            event
                .recipient
                .as_ref()
                .filter(|one| of_it && one.id == known.id)
        });
        assert!(told.is_none_or(|told| told == known));
        let stopped = request.status() == SendRequestStatus::Failed;
        assert!(told.is_some() || stopped, "{known:?}");
    }
    let refused = ask("Bearer other", id).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let unknown = ask("Bearer token", BEGINNING).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

#[tokio::test]
async fn a_grant_without_the_scope_reads_nothing() {
    let terms = Terms {
        client: "c".to_owned(),
        secret: "s".to_owned(),
        lifetime: Duration::from_secs(3600),
        events: None,
        resource: String::new(),
        scope: "chat.send chat.reader".to_owned(),
    };
    let tokens = Tokens::new(terms, Draw::new(1, Purpose::Tokens), Arc::default());
    let access = Access::Issued(Arc::clone(&tokens));
    let provider = Provider::start_for(access, Endings::none(), Manner::default()).await;
    let call = Call {
        token: format!("Bearer {}", tokens.issue()),
        ..provider.call("")
    };
    let refused = call.start().await.err().unwrap();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("chat.read"), "{refused}");
}

#[tokio::test]
async fn the_second_stream_has_the_messages_of_the_channels_asked_for() {
    let provider = Provider::start(Endings::none()).await;
    let chats = Chats::new(Draw::new(1, Purpose::PpoppoChannels), time(), 400);
    let events: Vec<ChannelMessageEvent> = chats.collect();
    provider.messages.append(events.clone());
    let origin: Uri = format!("{}/ext", provider.address).parse().unwrap();
    let channel = Channel::builder(origin.clone()).connect_lazy();
    let client = ChannelServiceClient::with_origin(channel, origin);
    let read = async |channel_ids: Vec<String>, cursor: &str, count: usize| {
        let request = StreamChannelEventsRequest {
            channel_ids,
            after_message_id: Some(cursor.to_owned()),
        };
        let mut client = client.clone();
        let stream = client.stream_channel_events(shown("Bearer token", request));
        let stream = stream.await.unwrap().into_inner();
        let frames: Vec<_> = stream.take(count).collect().await;
        let event = |frame: Result<_, Status>| match frame {
            Ok(tidings_proto::ppoppo::ChannelEventFrame {
                frame: Some(channel_event_frame::Frame::Event(event)),
            }) => event,
            other => panic!("{other:?}"),
        };
        frames.into_iter().map(event).collect::<Vec<_>>()
    };
    let cursor = &events[99].message.as_ref().unwrap().id;
    assert_eq!(read(Vec::new(), cursor, 300).await, events[100..]);
    let id = events[0].channel_id.clone();
    let of_it = events.iter().filter(|event| event.channel_id == id);
    let expected: Vec<_> = of_it.cloned().collect();
    let some = read(vec![id, "unknown".to_owned()], BEGINNING, expected.len()).await;
    assert_eq!(some, expected);
}
