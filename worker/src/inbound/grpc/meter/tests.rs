use std::task::Waker;

use futures_util::StreamExt;
use http_body::Body as _;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::*;
use crate::admission::budget::Limits;

const BOUNDS: Bounds = Bounds {
    message: 100,
    time: Duration::from_secs(20),
};

fn message(length: usize) -> Bytes {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
    bytes.resize(PREFIX + length, b'x');
    bytes.into()
}

/// A body that is fed by hand, over a budget of so many bytes.
fn metered(bytes: u32) -> (mpsc::Sender<Bytes>, Metered, Meter, Budget) {
    let budget = Budget::new(Limits {
        requests: 1,
        bytes,
        share: 100,
        wire: bytes,
        message: 0,
    });
    let meter = Meter::new(budget.clone());
    meter.assign(Payer::Wire("a".into()));
    let (feed, fed) = mpsc::channel(64);
    let frames = ReceiverStream::new(fed).map(|data| Ok::<_, Status>(Frame::data(data)));
    let body = Metered::new(Body::new(StreamBody::new(frames)), meter.clone(), BOUNDS);
    (feed, body, meter, budget)
}

async fn next(body: &mut Metered) -> Result<usize, Code> {
    let frame = body.frame().await.unwrap();
    frame
        .map(|frame| frame.into_data().unwrap().len())
        .map_err(|status| status.code())
}

#[test]
fn messages_are_followed_however_they_are_cut() {
    let all: Vec<u8> = [message(3), message(0), message(100)].concat();
    for step in 1..=all.len() {
        let mut framing = Framing::default();
        let mut between = 0;
        for part in all.chunks(step) {
            framing.advance(part, 100).unwrap();
            between += usize::from(framing.is_between());
        }
        assert!(framing.is_between(), "{step}");
        assert!(step > 1 || between == 3, "{between}");
    }
    let behind = [message(7), message(101)].concat();
    let large = Framing::default().advance(&behind, 100).unwrap_err();
    assert_eq!((large.at, large.length), (12, 101));
}

#[tokio::test(start_paused = true)]
async fn what_has_come_is_taken_until_its_message_is_dropped() {
    let (feed, mut body, meter, budget) = metered(1_000);
    for _ in 0..2 {
        feed.send(message(50)).await.unwrap();
        assert_eq!(next(&mut body).await, Ok(55));
    }
    assert_eq!(budget.taken(), (0, 110));
    let first = meter.release(50).unwrap();
    drop(first);
    assert_eq!(budget.taken(), (0, 55));
    drop((body, meter));
    assert_eq!(budget.taken(), (0, 0), "and not beyond the call");
}

#[tokio::test(start_paused = true)]
async fn without_room_nothing_is_read_until_there_is() {
    let (feed, mut body, meter, _) = metered(80);
    feed.send(message(50)).await.unwrap();
    feed.send(message(50)).await.unwrap();
    assert_eq!(next(&mut body).await, Ok(55));
    let mut context = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut body).poll_frame(&mut context).is_pending());
    drop(meter.release(50));
    assert_eq!(next(&mut body).await, Ok(55));
}

#[tokio::test(start_paused = true)]
async fn without_room_in_time_the_call_ends() {
    let (feed, mut body, _meter, _) = metered(80);
    feed.send(message(50)).await.unwrap();
    feed.send(message(50)).await.unwrap();
    assert_eq!(next(&mut body).await, Ok(55));
    assert_eq!(next(&mut body).await, Err(Code::ResourceExhausted));
}

#[tokio::test(start_paused = true)]
async fn an_unfinished_message_has_its_time_and_a_quiet_call_has_not() {
    let (feed, mut body, _meter, _) = metered(1_000);
    let whole = message(50);
    feed.send(whole.clone()).await.unwrap();
    assert_eq!(next(&mut body).await, Ok(55));
    let quiet = tokio::time::timeout(BOUNDS.time * 10, body.frame()).await;
    assert!(quiet.is_err(), "between messages");
    for byte in whole.iter().take(10) {
        feed.send(Bytes::copy_from_slice(&[*byte])).await.unwrap();
        assert_eq!(next(&mut body).await, Ok(1));
    }
    assert_eq!(next(&mut body).await, Err(Code::DeadlineExceeded));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_was_away_does_not_blame_the_sender() {
    let (feed, mut body, _meter, _) = metered(1_000);
    let whole = message(50);
    feed.send(whole.slice(..30)).await.unwrap();
    assert_eq!(next(&mut body).await, Ok(30));
    tokio::time::advance(BOUNDS.time * 2).await;
    let mut context = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut body).poll_frame(&mut context).is_pending());
    feed.send(whole.slice(30..)).await.unwrap();
    assert_eq!(next(&mut body).await, Ok(25));
}
