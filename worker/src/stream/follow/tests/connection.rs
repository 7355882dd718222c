//! Connections that break, fall silent, or are told to go away.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::{TcpListener, TcpStream},
};

use super::*;

/// Passes bytes on between a stream and its server, until it is told otherwise.
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    muted: watch::Sender<bool>,
    cut: watch::Sender<usize>,
}

impl Relay {
    pub(super) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Self {
            address: listener.local_addr().unwrap(),
            muted: watch::Sender::new(false),
            cut: watch::Sender::new(0),
        };
        let (muted, cut) = (relay.muted.subscribe(), relay.cut.subscribe());
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(server).await.unwrap();
                tokio::spawn(pass(client, server, muted.clone(), cut.clone()));
            }
        });
        relay
    }

    /// Nothing more comes from the server, on any connection, and none is closed.
    pub(super) fn mute(&self) {
        self.muted.send_replace(true);
    }

    pub(super) fn unmute(&self) {
        self.muted.send_replace(false);
    }

    /// Cuts the connections that there are.
    fn cut(&self) {
        self.cut.send_modify(|cut| *cut += 1);
    }
}

async fn pass(
    mut client: TcpStream,
    mut server: TcpStream,
    mut muted: watch::Receiver<bool>,
    mut cut: watch::Receiver<usize>,
) {
    let _ = cut.borrow_and_update();
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let back = async {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            let told = muted.wait_for(|muted| !muted).await.is_ok();
            if !told || to_client.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        () = back => {}
        _ = cut.changed() => {}
    }
}

fn two_steps(called: &Called) -> Result<Events, Status> {
    let last = if called.number == 1 { 2 } else { 4 };
    Ok(open(behind(called, last)))
}

async fn relayed(options: serde_json::Value) -> (Fixture, Relay, Chat) {
    let chat = Chat::start(None, two_steps).await;
    let relay = Relay::start(chat.address).await;
    let fixture = Fixture::at(relay.address, options).await;
    fixture
        .until("events", |f| f.events().starts_with(&[id(1), id(2)]))
        .await;
    (fixture, relay, chat)
}

async fn ends(fixture: &Fixture) {
    let all: Vec<_> = (1..=4).map(id).collect();
    fixture.until("the others", |f| f.events() == all).await;
}

#[actix::test]
async fn a_half_open_connection_is_noticed_by_pings() {
    let (fixture, relay, _chat) = relayed(json!({"keepalive": 1, "idle_limit": 0})).await;
    // The first connection may have failed too.
    let before = fixture.status().failures;
    relay.mute();
    fixture
        .until("failure", |f| f.status().failures > before)
        .await;
    relay.unmute();
    ends(&fixture).await;
}

#[actix::test]
async fn a_half_open_connection_is_noticed_by_silence() {
    let (fixture, relay, _chat) = relayed(json!({"keepalive": 0, "idle_limit": 1})).await;
    relay.mute();
    fixture.until("a new one", |f| f.asked() > 1).await;
    relay.unmute();
    ends(&fixture).await;
    assert_eq!(fixture.status().failures, 0, "silence alone is no failure");
}

#[actix::test]
async fn a_cut_connection_is_opened_again() {
    let (fixture, relay, _chat) = relayed(json!({})).await;
    relay.cut();
    ends(&fixture).await;
    let error = fixture.status().last_error.unwrap();
    assert!(error.starts_with("the connection broke: "), "{error}");
}

/// A server that says goodbye, for `reason`, on its first connection.
async fn goodbye(reason: h2::Reason) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 1.. {
            let (stream, _) = listener.accept().await.unwrap();
            let (near, far) = tokio::io::duplex(1 << 16);
            tokio::spawn(answer(near, (number == 1).then_some(reason)));
            tokio::spawn(last_words(stream, far));
        }
    });
    address
}

/// Passes on what a server says until it has ended, and goes on listening: a socket
/// that is closed with bytes unread takes back what it has said.
async fn last_words(stream: TcpStream, server: DuplexStream) {
    let (mut from_client, mut to_client) = stream.into_split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let saying = async {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    let listening = async {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
            let _ = to_server.write_all(&buffer[..read]).await;
        }
    };
    tokio::join!(saying, listening);
}

/// One event on each stream of a connection, which is then kept open or ended.
async fn answer(stream: DuplexStream, goodbye: Option<h2::Reason>) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let mut bodies = Vec::new();
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let response = http::Response::builder().header("content-type", "application/grpc");
        let response = response.body(()).unwrap();
        let mut body = respond.send_response(response, false).unwrap();
        let number = if goodbye.is_some() { 1 } else { 2 };
        let event = crate::testing::chat::event(&id(number));
        let mut frame = vec![0];
        frame.extend(u32::try_from(event.len()).unwrap().to_be_bytes());
        frame.extend(event);
        body.send_data(frame.into(), false).unwrap();
        bodies.push(body);
        if let Some(reason) = goodbye {
            connection.abrupt_shutdown(reason);
        }
    }
}

#[actix::test]
async fn a_server_that_goes_away_is_dialed_again() {
    for reason in [h2::Reason::NO_ERROR, h2::Reason::INTERNAL_ERROR] {
        let fixture = Fixture::at(goodbye(reason).await, json!({})).await;
        fixture
            .until("the other", |f| f.events().last() == Some(&id(2)))
            .await;
        let error = fixture.status().last_error.unwrap();
        assert!(error.starts_with("the connection broke: "), "{error}");
    }
}

#[actix::test]
async fn pings_that_are_taken_for_abuse_become_fewer() {
    let server = goodbye(h2::Reason::ENHANCE_YOUR_CALM).await;
    let fixture = Fixture::at(server, json!({"keepalive": 100})).await;
    fixture
        .until("the other", |f| f.events().last() == Some(&id(2)))
        .await;
    let error = fixture.status().last_error.unwrap();
    assert!(error.contains("keepalive raised to 200 s"), "{error}");
}

/// A server whose first connection has more empty frames than the library of the worker
/// takes, so that the worker ends it.
async fn empty_frames() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 1.. {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            tokio::spawn(async move {
                let mut bodies = Vec::new();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let head = http::Response::builder().header("content-type", "application/grpc");
                    let mut body = respond
                        .send_response(head.body(()).unwrap(), false)
                        .unwrap();
                    let event = crate::testing::chat::event(&id(number));
                    let mut frame = vec![0];
                    frame.extend(u32::try_from(event.len()).unwrap().to_be_bytes());
                    frame.extend(event);
                    body.send_data(frame.into(), false).unwrap();
                    for _ in 0..1_000 * u32::from(number == 1) {
                        body.send_data(bytes::Bytes::new(), false).unwrap();
                    }
                    bodies.push(body);
                }
            });
        }
    });
    address
}

#[actix::test]
async fn a_connection_that_the_worker_ends_is_not_the_servers_word() {
    let fixture = Fixture::at(empty_frames().await, json!({"keepalive": 100})).await;
    fixture
        .until("the other", |f| f.events().last() == Some(&id(2)))
        .await;
    let error = fixture.status().last_error.unwrap();
    assert!(error.contains("this worker ended it"), "{error}");
    assert!(
        !error.contains("server") && !error.contains("keepalive"),
        "{error}"
    );
}
