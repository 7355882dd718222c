//! What ends when the drain begins, and what is waited for.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
};

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// What must not last until connections are looked after.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    let done = timeout(Duration::from_secs(30), what).await;
    done.expect("it does not end")
}

/// Calls over a connection of their own.
async fn calls(fixture: &Fixture) -> h2::client::SendRequest<Bytes> {
    let connection = TcpStream::connect(fixture.address).await.unwrap();
    let (calls, connection) = h2::client::handshake(connection).await.unwrap();
    tokio::spawn(connection);
    calls.ready().await.unwrap()
}

fn check() -> http::Request<()> {
    http::Request::post("http://localhost/grpc.health.v1.Health/Check")
        .header("content-type", "application/grpc")
        .body(())
        .unwrap()
}

fn status_of<B>(answer: &http::Response<B>) -> Code {
    Status::from_header_map(answer.headers()).unwrap().code()
}

#[actix::test]
async fn an_open_push_is_waited_for() {
    let fixture = fixture().await;
    let (_sender, events) = mpsc::channel(8);
    let request = authorized(ReceiverStream::new(events));
    let replies = fixture.client("").stream_events(request).await.unwrap();
    let mut replies = replies.into_inner();
    assert!(fixture.drain.finished().now_or_never().is_none());
    fixture.drain.begin();
    replies.message().await.unwrap_err();
    soon(fixture.drain.finished()).await;
}

#[actix::test]
async fn draining_ends_the_calls_that_would_never_end() {
    let fixture = fixture().await;
    let mut health = HealthClient::new(fixture.channel.clone());
    let request = HealthCheckRequest::default();
    let mut watched = health.watch(request).await.unwrap().into_inner();
    let first = watched.message().await.unwrap().unwrap();
    assert_eq!(first.status, ServingStatus::Serving as i32);

    let mut reflection = ServerReflectionClient::new(fixture.channel.clone());
    let questions = futures_util::stream::pending::<ServerReflectionRequest>();
    let reflected = reflection.server_reflection_info(questions).await.unwrap();
    let mut reflected = reflected.into_inner();

    // A question that is announced and never asked.
    let mut calls = calls(&fixture).await;
    let (asked, _question) = calls.send_request(check(), false).unwrap();
    // The worker has it when it answers the one behind it.
    let (whole, _) = calls.send_request(check(), true).unwrap();
    whole.await.unwrap();

    fixture.drain.begin();
    for status in [
        soon(watched.message()).await.unwrap_err(),
        soon(reflected.message()).await.unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::Unavailable, "{status}");
    }
    assert_eq!(status_of(&soon(asked).await.unwrap()), Code::Unavailable);
    soon(fixture.serving).await.unwrap();
}

#[actix::test]
async fn a_status_without_a_body_is_the_whole_answer() {
    let fixture = fixture().await;
    let (answer, _) = calls(&fixture).await.send_request(check(), true).unwrap();
    let answer = answer.await.unwrap();
    assert_ne!(status_of(&answer), Code::Ok);
    assert!(answer.body().is_end_stream());
}

#[actix::test]
async fn who_answers_nothing_does_not_hold_up_the_end() {
    let fixture = fixture().await;
    let mut silent = TcpStream::connect(fixture.address).await.unwrap();
    silent
        .write_all(&[PREFACE, SETTINGS].concat())
        .await
        .unwrap();
    // It is being served.
    silent.read_exact(&mut [0; SETTINGS.len()]).await.unwrap();
    fixture.drain.begin();
    soon(fixture.serving).await.unwrap();
}
