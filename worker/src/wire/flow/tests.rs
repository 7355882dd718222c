//! Streams over a pair of pipes: a sender that knows no mercy, and a reader that waits.

use std::{future::poll_fn, pin::pin, time::Duration};

use bytes::Bytes;
use h2::{
    SendStream,
    client::{self, SendRequest},
    server,
};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, duplex},
    task::JoinHandle,
    time::timeout,
};

use super::{ration::RATION, *};

const WINDOW: u32 = 64 << 10;
const SOON: Duration = Duration::from_secs(30);

/// Sends data in frames of so many bytes, all that there is capacity for at once, until none
/// is left. Returns how much it has sent.
async fn flood(stream: &mut SendStream<Bytes>, frame: usize) -> usize {
    let mut sent = 0;
    loop {
        stream.reserve_capacity(frame);
        let capacity = timeout(Duration::from_millis(500), async {
            while stream.capacity() < frame {
                poll_fn(|context| stream.poll_capacity(context))
                    .await
                    .unwrap()
                    .unwrap();
            }
        });
        if capacity.await.is_err() {
            return sent;
        }
        stream
            .send_data(Bytes::from(vec![b'x'; frame]), false)
            .unwrap();
        sent += frame;
    }
}

/// A server whose calls nobody reads until the test does, with this budget of the library.
fn served(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    budget: usize,
) -> (
    tokio::sync::mpsc::Receiver<Inlet>,
    JoinHandle<Result<(), h2::Error>>,
) {
    let (calls, called) = tokio::sync::mpsc::channel(8);
    let serving = tokio::spawn(async move {
        let ration = Ration::new();
        let mut connection: server::Connection<_, Bytes> = server::Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .data_frame_budget(budget)
            .handshake(Rationed::new(io, ration.clone()))
            .await?;
        let mut pumps = Pumps::new(ration);
        let mut held = Vec::new();
        poll_fn(|context| {
            loop {
                let polled = connection.poll_accept(context);
                let has_more = pumps.poll(context);
                match polled {
                    Poll::Ready(Some(accepted)) => {
                        let (request, respond) = match accepted {
                            Ok(accepted) => accepted,
                            Err(error) => return Poll::Ready(Err(error)),
                        };
                        held.push(respond);
                        let (pump, inlet) = inlet(request.into_body());
                        pumps.push(pump);
                        calls.try_send(inlet).unwrap();
                    }
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending if !has_more => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
        })
        .await
    });
    (called, serving)
}

async fn client(io: DuplexStream) -> SendRequest<Bytes> {
    let (send, connection) = client::handshake(io).await.unwrap();
    tokio::spawn(async move { connection.await.ok() });
    send.ready().await.unwrap()
}

fn post() -> http::Request<()> {
    http::Request::post("http://localhost/").body(()).unwrap()
}

/// Within this budget the library can hold the frames of two rations, each with a byte of
/// data, and no more.
const TWO_RATIONS: usize = 2 * (RATION / 10 + 1) * 255;

#[tokio::test]
async fn the_smallest_frames_fill_the_window_and_then_their_sender_waits() {
    for frame in [1, 5, 100] {
        let (near, far) = duplex(1 << 20);
        let (mut called, serving) = served(far, TWO_RATIONS);
        let mut send = client(near).await;
        let (_response, mut stream) = send.send_request(post(), false).unwrap();
        let sent = flood(&mut stream, frame).await;
        let window = WINDOW as usize;
        assert!(window - frame < sent && sent <= window, "{frame}: {sent}");
        assert!(!serving.is_finished(), "{frame}: the connection is closed");

        // All that was sent is there, and reading it makes room for as much.
        let mut inlet = called.recv().await.unwrap();
        let mut read = 0;
        while read < sent {
            let frame = timeout(SOON, inlet.frame())
                .await
                .unwrap()
                .unwrap()
                .unwrap();
            read += frame.into_data().unwrap().len();
        }
        let again = flood(&mut stream, frame).await;
        assert!(again > window / 2, "{frame}: {again}");
        serving.abort();
    }
}

#[tokio::test]
async fn calls_that_nobody_reads_any_more_cost_the_connection_nothing() {
    let (near, far) = duplex(1 << 20);
    let (mut called, serving) = served(far, FRAME_BUDGET);
    let mut send = client(near).await;
    for _ in 0..40 {
        let (_response, mut stream) = send.send_request(post(), false).unwrap();
        stream.send_data("x".into(), false).unwrap();
        drop(timeout(SOON, called.recv()).await.unwrap().unwrap());
        // What comes for it afterwards is thrown away, and is no debt of the connection.
        for _ in 0..200 {
            if stream.send_data("x".into(), false).is_err() {
                break;
            }
        }
        send = send.ready().await.unwrap();
    }
    let (_response, mut stream) = send.send_request(post(), false).unwrap();
    assert!(flood(&mut stream, 100).await > WINDOW as usize / 2);
    assert!(!serving.is_finished());
    serving.abort();
}

#[tokio::test]
async fn a_body_ends_as_it_was_sent() {
    let (near, far) = duplex(1 << 20);
    let (mut called, _serving) = served(far, TWO_RATIONS);
    let mut send = client(near).await;
    let (_response, mut stream) = send.send_request(post(), false).unwrap();
    stream.send_data("abc".into(), false).unwrap();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("a", "b".parse().unwrap());
    stream.send_trailers(trailers.clone()).unwrap();
    let inlet = called.recv().await.unwrap();
    let whole = timeout(SOON, inlet.collect()).await.unwrap().unwrap();
    assert_eq!(whole.trailers(), Some(&trailers));
    assert_eq!(whole.to_bytes(), "abc");

    let (_response, _) = send.send_request(post(), true).unwrap();
    let inlet = called.recv().await.unwrap();
    assert!(http_body::Body::is_end_stream(&inlet));
    assert!(inlet.collect().await.unwrap().to_bytes().is_empty());

    let (_response, mut stream) = send.send_request(post(), false).unwrap();
    stream.send_data("abc".into(), false).unwrap();
    let mut inlet = called.recv().await.unwrap();
    let data = timeout(SOON, inlet.frame())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(data.into_data().unwrap(), "abc");
    stream.send_reset(h2::Reason::INTERNAL_ERROR);
    let error = timeout(SOON, inlet.frame())
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR));
    assert!(error.is_remote());
}

#[tokio::test]
async fn the_end_of_the_connections_task_ends_the_body() {
    let (near, far) = duplex(1 << 20);
    let (mut called, serving) = served(far, TWO_RATIONS);
    let mut send = client(near).await;
    let (_response, mut stream) = send.send_request(post(), false).unwrap();
    stream.send_data("abc".into(), false).unwrap();
    let mut inlet = called.recv().await.unwrap();
    serving.abort();
    let ended = timeout(SOON, async {
        while let Some(Ok(_)) = inlet.frame().await {}
    });
    ended.await.expect("it waits for ever");
}

#[tokio::test]
async fn a_ration_is_read_and_no_more() {
    let (mut near, far) = duplex(4 * RATION);
    let ration = Ration::new();
    let mut rationed = Rationed::new(far, ration.clone());
    tokio::io::AsyncWriteExt::write_all(&mut near, &vec![0; 3 * RATION])
        .await
        .unwrap();
    for _ in 0..2 {
        let mut read = vec![0; RATION];
        rationed.read_exact(&mut read).await.unwrap();
        let mut one = [0];
        let mut more = pin!(rationed.read(&mut one));
        let is_pending = poll_fn(|context| Poll::Ready(more.as_mut().poll(context).is_pending()));
        assert!(is_pending.await);
        assert!(ration.renew(), "it was used up");
    }
    assert!(!ration.renew());
}
