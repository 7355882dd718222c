//! HTTP/2 in which every message is a DATA frame of its own, however small, for both
//! directions: a Pushwoosh and a Ppoppo that are written by hand.

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::future::poll_fn;
use h2::{RecvStream, SendStream, client, server};
use http::{Request, Response};
use prost::Message;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tidings_proto::pushwoosh::{Event, EventStatus};
use tokio::net::{TcpListener, TcpStream};

const METHOD: &str = "/pushwoosh.event_streaming.v1.EventStreaming/StreamEvents";

/// A message behind its prefix: a flag and a length.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend(
        u32::try_from(message.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    frame.extend(message);
    frame.into()
}

/// Sends a frame once there is room for the whole of it.
async fn send(stream: &mut SendStream<Bytes>, frame: Bytes) -> Result<()> {
    stream.reserve_capacity(frame.len());
    while stream.capacity() < frame.len() {
        let capacity = poll_fn(|context| stream.poll_capacity(context)).await;
        capacity.context("the stream has ended")??;
    }
    Ok(stream.send_data(frame, false)?)
}

/// A connection to the worker, whose streams have this window for replies.
pub(crate) async fn connect(at: SocketAddr, window: u32) -> Result<client::SendRequest<Bytes>> {
    let stream = TcpStream::connect(at).await?;
    stream.set_nodelay(true)?;
    let mut builder = client::Builder::new();
    builder.initial_window_size(window);
    let (requests, connection) = builder.handshake(stream).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("the connection ended: {error}");
        }
    });
    Ok(requests.ready().await?)
}

pub(crate) fn request(path: &str, authorization: &str) -> Result<Request<()>> {
    let request = Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", authorization);
    Ok(request.body(())?)
}

pub(crate) fn push(authorization: &str) -> Result<Request<()>> {
    request(METHOD, authorization)
}

/// Pushes the events, and returns the uuids that were answered `Success`. None may be
/// answered otherwise, or twice.
pub(super) async fn pushed(
    at: SocketAddr,
    authorization: &str,
    events: Vec<Event>,
    sent: Arc<AtomicUsize>,
) -> Result<BTreeSet<String>> {
    let mut requests = connect(at, 1 << 20).await?;
    let (response, mut stream) = requests.send_request(push(authorization)?, false)?;
    let sending = async {
        for event in &events {
            send(&mut stream, framed(event)).await?;
            sent.fetch_add(1, Ordering::SeqCst);
        }
        Ok(stream.send_data(Bytes::new(), true)?)
    };
    let reading = async {
        let mut body = response.await?.into_body();
        let mut successes = BTreeSet::new();
        let mut data = BytesMut::new();
        while let Some(part) = body.data().await {
            let part = part?;
            body.flow_control().release_capacity(part.len())?;
            data.extend_from_slice(&part);
            while let Some(message) = message(&mut data) {
                let reply = EventStatus::decode(message)?;
                ensure!(reply.status == "Success", "{reply:?}");
                ensure!(successes.insert(reply.uuid.clone()), "{reply:?} again");
            }
        }
        ended_well(&mut body).await?;
        Ok(successes)
    };
    let ((), successes) = tokio::try_join!(sending, reading)?;
    Ok(successes)
}

/// The first whole message.
fn message(data: &mut BytesMut) -> Option<Bytes> {
    let prefix: [u8; 5] = data.get(..5)?.try_into().ok()?;
    let [_, length @ ..] = prefix;
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    if data.len() < 5 + length {
        return None;
    }
    data.advance(5);
    Some(data.split_to(length).freeze())
}

async fn ended_well(body: &mut RecvStream) -> Result<()> {
    let trailers = body.trailers().await?.context("no trailers")?;
    let status = trailers.get("grpc-status").context("no status")?;
    ensure!(status == "0", "{trailers:?}");
    Ok(())
}

/// A Ppoppo with one connection at a time, which sends all events on the first stream.
#[derive(Debug)]
pub(super) struct Ppoppo {
    pub(super) at: SocketAddr,
    pub(super) connections: Arc<AtomicUsize>,
    pub(super) sent: Arc<AtomicUsize>,
}

impl Ppoppo {
    /// Serves these frames, on any free port, for as long as the runtime runs: the first at
    /// once, and the others when it is told to.
    pub(super) async fn serve(
        frames: Vec<Bytes>,
        begin: tokio::sync::watch::Receiver<bool>,
    ) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let ppoppo = Self {
            at: listener.local_addr()?,
            connections: Arc::default(),
            sent: Arc::default(),
        };
        let (connections, sent) = (ppoppo.connections.clone(), ppoppo.sent.clone());
        let frames = Arc::new(frames);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let answering = answer(stream, frames.clone(), begin.clone(), sent.clone());
                tokio::spawn(async move {
                    if let Err(error) = answering.await {
                        eprintln!("ppoppo's connection ended: {error:#}");
                    }
                });
            }
        });
        Ok(ppoppo)
    }
}

async fn answer(
    stream: TcpStream,
    frames: Arc<Vec<Bytes>>,
    begin: tokio::sync::watch::Receiver<bool>,
    sent: Arc<AtomicUsize>,
) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = server::handshake(stream).await?;
    while let Some(called) = connection.accept().await {
        let (request, mut respond) = called?;
        let head = Response::builder().header("content-type", "application/grpc");
        if !request.uri().path().ends_with("StreamSendRequestEvents") {
            // No such send request.
            respond.send_response(head.header("grpc-status", "5").body(())?, true)?;
            continue;
        }
        let mut body = respond.send_response(head.body(())?, false)?;
        let (frames, mut begin, sent) = (frames.clone(), begin.clone(), sent.clone());
        tokio::spawn(async move {
            let sending = async {
                for (number, frame) in frames.iter().enumerate() {
                    if number == 1 {
                        begin.wait_for(|begin| *begin).await?;
                    }
                    send(&mut body, frame.clone()).await?;
                    sent.fetch_add(1, Ordering::SeqCst);
                }
                // The stream stays open.
                poll_fn(|context| body.poll_reset(context)).await?;
                bail!("the worker has ended the stream")
            };
            let ended: Result<()> = sending.await;
            eprintln!("ppoppo's stream ended: {ended:?}");
        });
    }
    Ok(())
}
