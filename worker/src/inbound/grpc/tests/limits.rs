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

async fn until(budget: &Budget, bytes: usize) {
    let taken = async {
        while budget.taken().1 != bytes {
            tokio::task::yield_now().await;
        }
    };
    let taken = tokio::time::timeout(Duration::from_secs(30), taken).await;
    taken.unwrap_or_else(|_| panic!("{:?} are taken", budget.taken()));
}
