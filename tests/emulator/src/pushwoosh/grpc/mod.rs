//! The gRPC transport: a bidirectional stream for each chunk; what is not answered
//! `Success` goes again on a later stream.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use ::http::{HeaderValue, Uri};
use futures_util::future::join_all;
use jiff::Timestamp;
use tonic::{metadata::AsciiMetadataValue, transport::Endpoint};

use self::{exchange::Exchange, peer::Peer};
use super::chunk::{Chunk, Chunks, LEAST, Parcel};
use crate::{
    deliver::patient,
    draw::Draw,
    faults::{Fault, Faults},
    ledger::Book,
    pace::Pace,
    schema::Schema,
};

mod exchange;
mod peer;

/// How many streams may be open at once.
const STREAMS: usize = 2;

/// One stream in so many loses its answers, if asked to.
const LOST_EVERY: u32 = 3;

/// Answers are waited for this long; then the stream counts as broken.
const IDLE: Duration = Duration::from_secs(30);

/// Who is called, and by which right.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// A path in it goes before the method's.
    pub(crate) address: Uri,
    pub(crate) authorization: HeaderValue,
}

/// What is played.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) draw: Draw,
    pub(crate) from: Timestamp,
    pub(crate) events: u32,
    pub(crate) duplicates: f64,
    pub(crate) faults: Arc<Faults>,
    pub(crate) schema: Schema,
}

/// Returns when every event was answered `Success`.
pub(crate) async fn drive(
    target: Target,
    plan: Plan,
    book: Arc<Book>,
    pace: Pace,
) -> anyhow::Result<()> {
    let endpoint = Endpoint::from(target.address.clone())
        .tcp_nodelay(true)
        .connect_timeout(IDLE);
    let authorization = AsciiMetadataValue::try_from(target.authorization.as_bytes())?;
    let peer = Peer::new(endpoint, target.address, authorization, plan.schema);
    let exchange = Exchange::new(peer, Arc::clone(&book), Arc::clone(&plan.faults));
    let streams = Streams {
        loses: plan.faults.asks(Fault::LostAnswers),
        begun: AtomicU32::new(0),
    };
    let chunks = Chunks::new(plan.draw, plan.from, plan.events, plan.duplicates);
    let chunks = Mutex::new(chunks);
    let senders = (0..STREAMS).map(|_| send(&exchange, &streams, &chunks, &book, &pace));
    join_all(senders).await;
    Ok(())
}

/// Which streams lose their answers.
struct Streams {
    loses: bool,
    begun: AtomicU32,
}

impl Streams {
    fn next_loses(&self) -> bool {
        let nth = self.begun.fetch_add(1, Ordering::Relaxed);
        self.loses && nth.is_multiple_of(LOST_EVERY)
    }
}

/// One stream after another, each with what the last ones left over.
async fn send(
    exchange: &Exchange,
    streams: &Streams,
    chunks: &Mutex<Chunks>,
    book: &Book,
    pace: &Pace,
) {
    let mut left_over: Vec<Parcel> = Vec::new();
    let mut failures = 0;
    loop {
        let mut closes_early = true;
        let mut parcels = std::mem::take(&mut left_over);
        // Enough is left over for a stream of its own: while nothing is answered,
        // nothing more piles up.
        if parcels.len() < LEAST
            && !pace.is_over()
            && let Some(chunk) = next(chunks, book)
        {
            pace.take(chunk.parcels.len()).await;
            closes_early = chunk.closes_early;
            parcels.extend(chunk.parcels);
        }
        if parcels.is_empty() {
            return;
        }
        let rest = if streams.next_loses() {
            exchange.lose(parcels).await
        } else {
            exchange.run(parcels, closes_early).await
        };
        left_over = rest.repeated;
        if rest.failed.is_empty() {
            failures = 0;
            continue;
        }
        left_over.extend(rest.failed);
        failures += 1;
        if let Some(delay) = patient(failures) {
            tokio::time::sleep(delay).await;
        }
    }
}

/// The next chunk, its events opened in the order drawn.
fn next(chunks: &Mutex<Chunks>, book: &Book) -> Option<Chunk> {
    let mut chunks = chunks.lock().unwrap_or_else(PoisonError::into_inner);
    let mut chunk = chunks.next()?;
    book.open(std::mem::take(&mut chunk.opened));
    Some(chunk)
}

#[cfg(test)]
mod tests;
