//! What a caller may have, at its edge.

use prost::Message;
use tokio::net::TcpStream;
use tonic_health::pb::health_client::HealthClient;

use super::*;

#[actix::test]
async fn a_message_beyond_the_limit_is_exhausted_and_those_before_it_are_answered() {
    let fixture = fixture().await;
    let named = |length| Event {
        event_name: "x".repeat(length),
        ..event("a")
    };
    let of_size = |bytes| {
        let mut events = (0..bytes).map(named);
        events.find(|event| event.encoded_len() == bytes).unwrap()
    };
    let request = authorized(tokio_stream::iter([of_size(1_000), of_size(1_001)]));
    let replies = fixture.client("").stream_events(request).await.unwrap();
    let mut replies = replies.into_inner();
    assert_eq!(replies.message().await.unwrap().unwrap().status, "Success");
    let status = replies.message().await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert_eq!(fixture.seen.lock().unwrap().len(), 1);
}

#[actix::test]
async fn a_question_to_health_is_short() {
    let fixture = fixture().await;
    let mut health = HealthClient::new(fixture.channel.clone());
    for (length, code) in [(4_000, Code::NotFound), (5_000, Code::ResourceExhausted)] {
        let service = "x".repeat(length);
        let status = health.check(HealthCheckRequest { service }).await;
        assert_eq!(status.unwrap_err().code(), code);
    }
}

#[actix::test]
async fn a_connection_is_told_how_many_calls_it_may_have() {
    let fixture = fixture().await;
    let stream = TcpStream::connect(fixture.address).await.unwrap();
    let (send, mut connection) = h2::client::handshake(stream).await.unwrap();
    // The server's settings are there when it answers a ping.
    let mut pings = connection.ping_pong().unwrap();
    let pong = pings.ping(h2::Ping::opaque());
    tokio::select! {
        pong = pong => { pong.unwrap(); }
        end = &mut connection => panic!("{end:?}"),
    }
    assert_eq!(connection.max_concurrent_send_streams(), 8);
    drop(send);
}

#[actix::test]
async fn what_is_never_finished_holds_room_until_the_call_ends() {
    let fixture = fixture().await;
    let stream = TcpStream::connect(fixture.address).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    let driving = tokio::spawn(connection);
    let mut send = send.ready().await.unwrap();
    let path = "http://localhost/pushwoosh.event_streaming.v1.EventStreaming/StreamEvents";
    let request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("authorization", "Bearer good")
        .body(())
        .unwrap();
    let (_answer, mut body) = send.send_request(request, false).unwrap();
    // Announces 1,000 bytes and sends 500.
    let mut begun = vec![0, 0, 0, 3, 232];
    begun.resize(505, 0);
    body.send_data(begun.into(), false).unwrap();
    until(&fixture.budget, 505).await;
    driving.abort();
    until(&fixture.budget, 0).await;
}

#[actix::test]
async fn a_connection_is_kept_for_its_calls() {
    let sources = [source("found", "pushwoosh")];
    let fixture = keeping(&sources, 1, Duration::from_secs(2)).await;
    let (sender, events) = mpsc::channel(8);
    let request = authorized(ReceiverStream::new(events));
    let replies = fixture.client("").stream_events(request).await.unwrap();
    let mut replies = replies.into_inner();

    let stream = TcpStream::connect(fixture.address).await.unwrap();
    let (_send, idle) = h2::client::handshake(stream).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), idle).await;
    ended.expect("an idle connection stays open").ok();

    sender.send(event("a")).await.unwrap();
    assert_eq!(replies.message().await.unwrap().unwrap().status, "Success");
}

#[actix::test]
async fn a_watch_of_the_health_outlasts_the_time_of_a_quiet_connection() {
    let sources = [source("found", "pushwoosh")];
    let keep_alive = Duration::from_millis(500);
    let fixture = keeping(&sources, 1, keep_alive).await;
    let mut health = HealthClient::new(fixture.channel.clone());
    let request = HealthCheckRequest::default();
    let mut changes = health.watch(request).await.unwrap().into_inner();
    let first = changes.message().await.unwrap().unwrap();
    assert_eq!(first.status, ServingStatus::Serving as i32);
    let ended = tokio::time::timeout(keep_alive * 5, changes.message()).await;
    assert!(ended.is_err(), "{ended:?}");
}

fn stream_events() -> http::Request<()> {
    let path = "http://localhost/pushwoosh.event_streaming.v1.EventStreaming/StreamEvents";
    http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("authorization", "Bearer good")
        .body(())
        .unwrap()
}

fn framed(event: &Event) -> Bytes {
    let message = event.encode_to_vec();
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    frame.into()
}

#[actix::test]
async fn a_call_whose_replies_are_not_read_ends_with_a_status_and_a_line() {
    let log = testing::Log::default();
    let _listening = log.listen();
    let fixture = fixture().await;
    let stream = TcpStream::connect(fixture.address).await.unwrap();
    let mut builder = h2::client::Builder::new();
    // There is no room for a reply.
    let (send, connection) = builder
        .initial_window_size(0)
        .handshake::<_, Bytes>(stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut send = send.ready().await.unwrap();
    let (answer, mut body) = send.send_request(stream_events(), false).unwrap();
    let event = framed(&event("a"));
    body.send_data(event, false).unwrap();
    let mut answer = answer.await.unwrap().into_body();
    assert!(answer.data().await.is_none());
    let trailers = answer.trailers().await.unwrap().unwrap();
    let status = Status::from_header_map(&trailers).unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let receipt = status.metadata().get("tidings-receipt").unwrap();
    let text = log.text();
    let line = text.lines().find(|l| l.contains(receipt.to_str().unwrap()));
    let line = line.expect("no line");
    for part in ["WARN", "replies_unread", r#"source="found""#] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert_eq!(fixture.seen.lock().unwrap().len(), 1, "the event is kept");
    until(&fixture.budget, 0).await;
}

#[actix::test]
async fn a_reply_repeats_a_bounded_part_of_a_key_and_its_event_is_kept() {
    let fixture = fixture().await;
    let uuid = "u".repeat(900);
    let replies = fixture.push("", &[&uuid]).await.unwrap();
    assert_eq!(replies, [format!("{} Success", "u".repeat(256))]);
    let seen = fixture.seen.lock().unwrap();
    let [request] = &seen[..] else {
        panic!("{} requests", seen.len());
    };
    let body = std::str::from_utf8(&request.body).unwrap();
    assert!(body.contains(&uuid), "the whole key is kept");
}

async fn until(budget: &Budget, bytes: usize) {
    let taken = async {
        while budget.taken().1 != bytes {
            tokio::task::yield_now().await;
        }
    };
    let taken = tokio::time::timeout(Duration::from_secs(30), taken).await;
    taken.unwrap_or_else(|_| panic!("{:?} are taken", budget.taken()));
}
