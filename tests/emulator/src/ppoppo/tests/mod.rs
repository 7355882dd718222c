//! A real client against the server: who may call, what is replayed, how streams end.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use ::http::Uri;
use tidings_proto::ppoppo::{
    ChannelMessageEvent, GetSendRequestStatusRequest, SendRequestEvent, SendRequestEventFrame,
    StreamSendRequestEventsRequest, message_service_client::MessageServiceClient,
    send_request_event_frame::Frame,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{Code, Request, Status, Streaming, transport::Channel};

use super::*;
use crate::{
    clock::{Clock, Time},
    draw::{Draw, Purpose},
    faults::Faults,
    ledger::Book,
    pace::Pace,
};

mod cursors;
mod faults;

/// A cursor before every event.
const BEGINNING: &str = "00000000000000000000000000";

const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Stops when dropped.
struct Provider {
    address: String,
    book: Arc<Book>,
    log: Arc<Log<SendRequestEvent>>,
    messages: Arc<Log<ChannelMessageEvent>>,
    requests: Arc<Requests>,
    faults: Arc<Faults>,
    task: JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Provider {
    async fn start(endings: Endings) -> Self {
        Self::start_with(endings, Manner::default()).await
    }

    async fn start_with(endings: Endings, manner: Manner) -> Self {
        let access = Access::Token("token".to_owned());
        Self::start_for(access, endings, manner).await
    }

    async fn start_for(access: Access, endings: Endings, manner: Manner) -> Self {
        let faults = Arc::clone(&manner.faults);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let book = Book::new("ppoppo");
        let log = Log::new(Arc::clone(&book), manner);
        let messages = Log::new(Book::new("channels"), Manner::default());
        let requests = Arc::new(Requests::default());
        let service = Service::new(
            access,
            Arc::clone(&faults),
            Feed::new(Arc::clone(&log), endings, KEEP_ALIVE),
            Feed::new(Arc::clone(&messages), Endings::none(), KEEP_ALIVE),
            Arc::clone(&requests),
        );
        let task = tokio::spawn(async { serve(listener, service).await.unwrap() });
        Self {
            address,
            book,
            log,
            messages,
            requests,
            faults,
            task,
        }
    }

    /// A call from the beginning, a cursor that expires only where there is a window.
    fn call(&self, prefix: &str) -> Call {
        let origin: Uri = format!("{}{prefix}", self.address).parse().unwrap();
        let channel = Channel::builder(origin.clone()).connect_lazy();
        let call = Call {
            client: MessageServiceClient::with_origin(channel, origin),
            token: "Bearer token".to_owned(),
            request: StreamSendRequestEventsRequest::default(),
        };
        call.after(BEGINNING)
    }
}

struct Call {
    client: MessageServiceClient<Channel>,
    token: String,
    request: StreamSendRequestEventsRequest,
}

impl Call {
    fn after(mut self, event_id: &str) -> Self {
        self.request.after_event_id = Some(event_id.to_owned());
        self
    }

    fn live(mut self) -> Self {
        self.request.after_event_id = None;
        self
    }

    async fn start(mut self) -> Result<Frames, Status> {
        let request = shown(&self.token, self.request);
        let response = self.client.stream_send_request_events(request).await?;
        Ok(Frames(response.into_inner()))
    }

    async fn read(self, events: usize) -> Vec<SendRequestEvent> {
        let mut stream = self.start().await.unwrap();
        let mut read = Vec::new();
        while read.len() < events {
            read.push(stream.message().await.unwrap().unwrap());
        }
        read
    }
}

struct Frames(Streaming<SendRequestEventFrame>);

impl Frames {
    async fn frame(&mut self) -> Result<Option<Frame>, Status> {
        let message = self.0.message().await?;
        Ok(message.map(|message| message.frame.unwrap()))
    }

    /// The next event. No other frame is expected.
    async fn message(&mut self) -> Result<Option<SendRequestEvent>, Status> {
        Ok(self.frame().await?.map(|frame| match frame {
            Frame::Event(event) => event,
            other => panic!("{other:?}"),
        }))
    }
}

fn shown<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let token = token.parse().unwrap();
    request.metadata_mut().insert("authorization", token);
    request
}

fn stories(events: u32) -> Stories {
    stories_into(events, Arc::default())
}

fn stories_into(events: u32, requests: Arc<Requests>) -> Stories {
    let draw = Draw::new(1, Purpose::Ppoppo);
    Stories::new(draw, Kinds::Published, time(), events, requests)
}

fn time() -> Time {
    // The steps are those of so many events, however many a test takes.
    let from = "2026-11-01T21:00:00Z".parse().unwrap();
    let draw = Draw::new(1, Purpose::Ppoppo);
    Time::Drawn(Clock::new(from, 20_000), Box::new(draw))
}

#[tokio::test]
async fn only_the_token_opens_a_stream() {
    let provider = Provider::start(Endings::none()).await;
    for token in ["Bearer other", "token", ""] {
        let call = Call {
            token: token.to_owned(),
            ..provider.call("")
        };
        assert_eq!(
            call.start().await.err().unwrap().code(),
            Code::Unauthenticated
        );
    }
    let call = provider.call("").after("no ulid");
    assert_eq!(
        call.start().await.err().unwrap().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn replay_is_exclusive_with_or_without_a_path_prefix() {
    let provider = Provider::start(Endings::none()).await;
    let events: Vec<_> = stories(500).collect();
    provider.log.append(events.clone());
    assert_eq!(provider.call("").read(500).await, events);
    let after = provider.call("/ext").after(&events[99].event_id);
    assert_eq!(after.read(400).await, events[100..]);
    let lines = provider.book.lines();
    assert_eq!((lines[99].emissions, lines[100].emissions), (1, 2));
}

#[tokio::test]
async fn the_filter_leaves_one_request() {
    let provider = Provider::start(Endings::none()).await;
    let events: Vec<_> = stories(2000).collect();
    provider.log.append(events.clone());
    let wanted = events[700].send_request_id.clone();
    let of_it = |event: &&SendRequestEvent| event.send_request_id == wanted;
    let expected: Vec<_> = events.iter().filter(of_it).cloned().collect();
    let mut call = provider.call("");
    call.request.send_request_id = Some(wanted.clone());
    assert_eq!(call.read(expected.len()).await, expected);
    let mut call = provider.call("").after(&expected[0].event_id);
    call.request.send_request_id = Some(wanted.clone());
    assert_eq!(call.read(expected.len() - 1).await, expected[1..]);
}

#[tokio::test]
async fn a_stream_goes_on_as_events_happen() {
    let provider = Provider::start(Endings::none()).await;
    // Far more than may wait unread: producing goes on only because it is followed. It
    // begins only when somebody follows, so that a stream without a cursor has all of it.
    let reading = tokio::spawn(provider.call("").live().read(9000));
    produce(stories(9000), &provider.log, &Pace::unlimited(), |_| {}).await;
    assert_eq!(reading.await.unwrap(), stories(9000).collect::<Vec<_>>());
    assert_eq!(provider.book.counts().acknowledged, 9000);
}

#[tokio::test]
async fn a_caller_who_resumes_gets_all_through_every_ending() {
    let provider = Provider::start(Endings::new(6, 3000, &Faults::default())).await;
    provider.log.append(stories(3000).collect());
    let mut read: Vec<SendRequestEvent> = Vec::new();
    let mut endings: BTreeMap<String, u32> = BTreeMap::new();
    while read.len() < 3000 {
        let mut call = provider.call("");
        if let Some(last) = read.last() {
            call = call.after(&last.event_id);
        }
        let ending = match call.start().await {
            Err(status) => format!("refused {:?}", status.code()),
            Ok(mut stream) => loop {
                match stream.message().await {
                    Ok(Some(event)) => read.push(event),
                    Ok(None) => break "clean".to_owned(),
                    Err(status) => break format!("{:?}", status.code()),
                }
                if read.len() == 3000 {
                    break "all".to_owned();
                }
            },
        };
        *endings.entry(ending).or_default() += 1;
    }
    assert_eq!(read, stories(3000).collect::<Vec<_>>());
    assert!(endings.len() >= 3, "{endings:?}");
    let keys: HashSet<String> = provider
        .book
        .lines()
        .into_iter()
        .map(|line| line.key)
        .collect();
    assert_eq!(keys.len(), 3000);
}

#[tokio::test]
async fn a_cut_connection_is_an_error_and_no_clean_end() {
    // The seed is searched for, not assumed: the first stream is to be cut.
    let cut = (0..).find(|&seed| {
        Endings::new(seed, 60_000, &Faults::default())
            .deal()
            .is_some_and(|ending| ending.how == ending::How::Cut)
    });
    let provider = Provider::start(Endings::new(cut.unwrap(), 60_000, &Faults::default())).await;
    provider.log.append(stories(20_000).collect());
    let mut stream = provider.call("").start().await.unwrap();
    let mut read = 0;
    let ended = loop {
        match stream.message().await {
            Ok(Some(_)) => read += 1,
            other => break other,
        }
    };
    assert!(ended.is_err(), "{ended:?} after {read}");
    // Torn in the middle: what was sent is more than what arrived.
    let sent = provider.book.counts().emitted;
    assert!((1..sent).contains(&read), "{read} of {sent}");
}
