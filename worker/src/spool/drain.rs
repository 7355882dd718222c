//! The drain: what is in the spool goes through the same pipeline as any request, oldest
//! first, a batch at a time, and is deleted after its commit.

use std::{collections::BTreeMap, time::Duration};

use metrics::counter;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tracing::{error, info, warn};

use super::{Batch, Depth, Entry, ReadLimits, Spool, SpoolError};
use crate::{
    pipeline::{
        batcher::Pipeline,
        queue::BatchLimits,
        request::{Outcome, Refusal, Request, Verdict},
    },
    process::{backoff::Backoff, metric},
    sources::source::Snapshot,
};

/// Limits of one batch.
pub(crate) const LIMITS: ReadLimits = ReadLimits {
    requests: 500,
    bytes: 4 << 20,
};
/// While nothing passes.
const LEAST_PAUSE: Duration = Duration::from_millis(250);
const GREATEST_PAUSE: Duration = Duration::from_secs(5);
/// Before what stays is tried again, such as the requests of a disabled source.
pub(super) const LEAST_REST: Duration = Duration::from_secs(5);
pub(super) const GREATEST_REST: Duration = Duration::from_secs(60);

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is done with: committed, or refused for good.
    Done(Done),
    /// It may pass later: it was acknowledged, so nothing but a verdict ends it.
    Stays,
    /// Nothing is known of it: Postgres takes nothing at present, or one beside it is slow.
    Untried,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Done {
    Accepted,
    /// `tidings.rejected` has it.
    Unauthorized,
    /// `tidings.rejected` has it.
    Malformed,
    /// Its source was dropped: nobody is left to keep it for.
    UnknownSource,
}

impl Done {
    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Unauthorized => "unauthorized",
            Self::Malformed => "malformed",
            Self::UnknownSource => "unknown_source",
        }
    }
}

/// `is_told`: whether a source that is unknown now is dropped, and not yet restored.
fn fate(outcome: &Outcome, is_told: bool) -> Fate {
    match outcome {
        Ok(receipt) => match receipt.verdict {
            Verdict::Accepted => Fate::Done(Done::Accepted),
            Verdict::Unauthorized => Fate::Done(Done::Unauthorized),
            Verdict::Malformed => Fate::Done(Done::Malformed),
            Verdict::UnknownSource if is_told => Fate::Done(Done::UnknownSource),
            Verdict::UnknownSource => Fate::Untried,
            Verdict::Disabled | Verdict::Fenced => Fate::Stays,
        },
        Err(Refusal::Declined(_)) => Fate::Stays,
        Err(Refusal::Late | Refusal::Failed(_) | Refusal::Busy | Refusal::Stopping) => {
            Fate::Untried
        }
    }
}

/// How one batch went.
#[derive(Debug, PartialEq, Eq)]
enum Went {
    /// Nothing is left after this key.
    Through,
    /// The last key that was tried; how many were done with, and how many stay.
    On(u64, usize, usize),
    /// Nothing passed: the first is next again. The last key, and how many there are.
    Blocked(u64, usize),
}

/// Brings the oldest entries after a key to Postgres, and deletes those that are done.
async fn batch(
    spool: &Spool,
    pipeline: &Pipeline,
    after: Option<u64>,
    limits: ReadLimits,
    is_told: impl Fn() -> bool,
) -> Result<Went, SpoolError> {
    let Batch { entries, last, .. } = spool.read(after, limits).await?;
    let Some(last) = last else {
        return Ok(Went::Through);
    };
    // What is damaged is stepped over.
    if entries.is_empty() {
        return Ok(Went::On(last, 0, 0));
    }
    let requests = entries.iter().map(|(_, entry)| request(entry));
    let outcomes = pipeline.submit(requests.collect()).await;
    // Now, for it may be another database than the one that it was sent to.
    let is_told = is_told();
    let mut done = Vec::new();
    let mut counts = BTreeMap::<Done, u64>::new();
    let (mut tried, mut stays) = (None, 0);
    for ((key, entry), outcome) in entries.iter().zip(&outcomes) {
        match fate(outcome, is_told) {
            Fate::Done(word) => {
                done.push(*key);
                *counts.entry(word).or_default() += 1;
                tell(word, entry);
            }
            Fate::Stays => stays += 1,
            // It is next. One behind it that was committed meets itself.
            Fate::Untried => break,
        }
        tried = Some(*key);
    }
    let Some(tried) = tried else {
        return Ok(Went::Blocked(last, entries.len()));
    };
    spool.set_stalled(false);
    let drained = done.len();
    if drained > 0 {
        spool.delete(done).await?;
    }
    for (word, count) in counts {
        counter!(metric::SPOOL_DRAINED, "outcome" => word.as_str()).increment(count);
    }
    Ok(Went::On(tried, drained, stays))
}

/// The request that this entry keeps, as it arrived.
fn request(entry: &Entry) -> Request {
    Request {
        source: entry.source.clone(),
        body: entry.body.clone(),
        headers: entry.headers.clone().into(),
    }
}

/// What nothing else keeps is at least in the log.
fn tell(word: Done, entry: &Entry) {
    if word == Done::UnknownSource {
        let (source, received, bytes) = (&entry.source, entry.received, entry.body.len());
        let receipt = request(entry).headers.receipt();
        warn!(receipt, %source, received, bytes, "a spooled request is given up, because its source no longer exists");
    }
}

/// How many requests go together. After a batch that was blocked they go alone: one that
/// is slow by itself holds up those beside it. With each that passes it is twice as many.
#[derive(Clone, Copy, Debug)]
struct Size {
    now: usize,
    limits: ReadLimits,
}

impl Size {
    fn new(limits: ReadLimits) -> Self {
        let now = limits.requests;
        Self { now, limits }
    }

    fn limits(self) -> ReadLimits {
        ReadLimits {
            requests: self.now,
            ..self.limits
        }
    }

    fn passed(&mut self) {
        self.now = self.now.saturating_mul(2).min(self.limits.requests);
    }

    fn blocked(&mut self) {
        self.now = 1;
    }
}

/// The usual limits, but no more than the pipeline puts into one batch.
pub(crate) fn within(batch: BatchLimits) -> ReadLimits {
    ReadLimits {
        requests: LIMITS.requests.min(batch.requests),
        bytes: LIMITS.bytes.min(batch.bytes),
    }
}

/// Drains whenever there is something to drain and Postgres is there.
pub(crate) async fn run(
    spool: Spool,
    pipeline: Pipeline,
    snapshot: watch::Receiver<Snapshot>,
    limits: ReadLimits,
) {
    let rests = Backoff::between(LEAST_REST, GREATEST_REST);
    rounds(spool, pipeline, snapshot, limits, rests).await;
}

pub(super) async fn rounds(
    spool: Spool,
    pipeline: Pipeline,
    mut snapshot: watch::Receiver<Snapshot>,
    limits: ReadLimits,
    mut rests: Backoff,
) {
    let mut depth = spool.depth.clone();
    let mut pauses = Backoff::between(LEAST_PAUSE, GREATEST_PAUSE);
    let mut size = Size::new(limits);
    let mut drained = 0;
    // The last key looked at in this round; when what stays is looked at again.
    let (mut after, mut again) = (None, None);
    // Whether some stay, and the time that was spent on them in this round.
    let (mut some_stay, mut spent) = (false, Duration::ZERO);
    loop {
        let more =
            |depth: &Depth| depth.requests > 0 && after.is_none_or(|after| depth.next > after + 1);
        // The rest begins at the round's end. No shorter than what it is for took: else
        // many that stay would have the lane, and the server's log, to themselves.
        if some_stay && again.is_none() && !more(&depth.borrow()) {
            again = Some(Instant::now() + rests.pause().max(spent));
        }
        let rest = async {
            match again {
                Some(again) => sleep_until(again).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // A round ends before the next one begins: else what stays could take all of it.
            biased;
            waited = depth.wait_for(more) => if waited.is_err() {
                return;
            },
            () = rest => {
                (after, again) = (None, None);
                (some_stay, spent) = (false, Duration::ZERO);
            }
        }
        // Else every request would be given up for want of its source.
        if snapshot.wait_for(Snapshot::is_telling).await.is_err() {
            return;
        }
        // What comes after the read lies behind this key, also where the read saw nothing.
        let next = depth.borrow().next;
        let began = Instant::now();
        let is_told = || snapshot.borrow().is_telling();
        let went = match batch(&spool, &pipeline, after, size.limits(), is_told).await {
            Ok(went) => went,
            Err(reason) => {
                error!(%reason, "the spool cannot be drained; trying again");
                // The drain cannot find out when commits go on: the next webhook does.
                spool.set_stalled(false);
                sleep(pauses.pause()).await;
                continue;
            }
        };
        match went {
            Went::On(last, done, stays) => {
                pauses.reset();
                size.passed();
                after = Some(last);
                drained += done;
                if stays > 0 {
                    some_stay = true;
                    spent += began.elapsed();
                }
                if depth.borrow().requests == 0 && drained > 0 {
                    info!(requests = drained, "the spool is drained");
                    rests.reset();
                    drained = 0;
                }
            }
            Went::Through => after = next.checked_sub(1),
            Went::Blocked(last, requests) => {
                size.blocked();
                spent += began.elapsed();
                // Perhaps it is this one, and not Postgres: those behind it are next. More
                // likely it is Postgres, and the time tells nothing of what stays.
                if requests == 1 {
                    after = Some(last);
                    (some_stay, spent) = (true, Duration::ZERO);
                }
                sleep(pauses.pause()).await;
            }
        }
    }
}

/// What draining once has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drained {
    pub(crate) done: usize,
    pub(crate) stays: usize,
    /// Postgres takes no requests.
    pub(crate) blocked: bool,
}

/// Drains once, from the oldest to the newest.
pub(crate) async fn once(
    spool: &Spool,
    pipeline: &Pipeline,
    limits: ReadLimits,
) -> Result<Drained, SpoolError> {
    let mut drained = Drained::default();
    let mut size = Size::new(limits);
    let (mut after, mut passed) = (None, false);
    loop {
        match batch(spool, pipeline, after, size.limits(), || true).await? {
            Went::On(last, done, stays) => {
                size.passed();
                (after, drained.blocked) = (Some(last), false);
                drained.done += done;
                drained.stays += stays;
                passed |= done + stays > 0;
            }
            Went::Blocked(last, requests) => {
                size.blocked();
                if requests > 1 {
                    continue;
                }
                drained.stays += 1;
                // Perhaps it is this one, and not Postgres: the next one tells.
                if drained.blocked {
                    return Ok(drained);
                }
                (after, drained.blocked) = (Some(last), true);
            }
            Went::Through => {
                drained.blocked &= !passed;
                return Ok(drained);
            }
        }
    }
}
