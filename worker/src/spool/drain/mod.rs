//! The drain: what is in the spool goes through the same pipeline as any request, oldest
//! first, a batch at a time, and is deleted after its commit.
//!
//! - [`told`] says what becomes of each request by its outcome, and what the log says of it.

mod told;

use std::{collections::BTreeMap, time::Duration};

use metrics::counter;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tracing::{error, info};

#[cfg(test)]
pub(super) use self::told::GRACE;
pub(crate) use self::told::outcomes;
use self::told::{Done, Fate, Told};
use super::{Batch, Depth, Entry, ReadLimits, Spool, SpoolError};
use crate::{
    pipeline::{
        batcher::Pipeline, headers::HeaderText, queue::BatchLimits, request::Request,
        taking::Taking,
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
    is_telling: impl Fn() -> bool,
    told: &mut Told,
) -> Result<Went, SpoolError> {
    let Batch { entries, last, .. } = spool.read(after, limits).await?;
    let Some(last) = last else {
        return Ok(Went::Through);
    };
    // What is damaged is stepped over.
    if entries.is_empty() {
        return Ok(Went::On(last, 0, 0));
    }
    let size = told.spool_bytes;
    let requests = entries.iter().map(|(_, entry)| request(entry, size));
    let outcomes = pipeline.submit(requests.collect()).await;
    // Now, because it may be another database than the one that was asked.
    let is_telling = is_telling();
    let mut done = Vec::new();
    let mut counts = BTreeMap::<Done, u64>::new();
    let (mut tried, mut stays) = (None, 0);
    for ((key, entry), outcome) in entries.iter().zip(&outcomes) {
        match told.fate(entry, outcome, is_telling) {
            Fate::Done(word) => {
                done.push(*key);
                *counts.entry(word).or_default() += 1;
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
    told.tell();
    let drained = done.len();
    if drained > 0 {
        spool.delete(done).await?;
    }
    for (word, count) in counts {
        counter!(metric::SPOOL_DRAINED, "outcome" => word.as_str()).increment(count);
    }
    Ok(Went::On(tried, drained, stays))
}

/// The request that this entry keeps, as it arrived, and the size of the spool that it came
/// through: if Postgres refuses the request, it keeps it within that bound.
fn request(entry: &Entry, spool_bytes: u64) -> Request {
    Request {
        source: entry.source.clone(),
        body: entry.body.clone(),
        headers: HeaderText::through_spool(entry.headers.clone(), spool_bytes),
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

    /// The limits of the next batch. While commits are slow they are those of all batches, so
    /// that the drain holds up no webhook for long.
    fn limits(self, pipeline: &Pipeline) -> ReadLimits {
        ReadLimits {
            requests: self.now.min(pipeline.limit()),
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

/// The state of Postgres as the drain knows it: its sources, and whether it takes requests.
pub(crate) type Postgres = (watch::Receiver<Snapshot>, Taking);

/// Drains whenever there is something to drain and Postgres takes it.
pub(crate) async fn run(spool: Spool, pipeline: Pipeline, postgres: Postgres, limits: ReadLimits) {
    let rests = Backoff::between(LEAST_REST, GREATEST_REST);
    rounds(spool, pipeline, postgres, limits, rests).await;
}

/// Waits until Postgres takes requests, and may know their sources; `false` if the process is
/// ending. The control connection may be lost meanwhile: the sources are then those that were
/// read last, and one that Postgres does not know is not given up.
async fn wait(snapshot: &mut watch::Receiver<Snapshot>, taking: &Taking) -> bool {
    loop {
        taking.begun().await;
        let may_know = |snapshot: &Snapshot| snapshot.sources.is_some() && !snapshot.lists_none();
        if snapshot.wait_for(may_know).await.is_err() {
            return false;
        }
        if taking.is_taking() {
            return true;
        }
    }
}

pub(super) async fn rounds(
    spool: Spool,
    pipeline: Pipeline,
    (mut snapshot, taking): Postgres,
    limits: ReadLimits,
    mut rests: Backoff,
) {
    let mut depth = spool.depth.clone();
    let mut pauses = Backoff::between(LEAST_PAUSE, GREATEST_PAUSE);
    let mut size = Size::new(limits);
    let mut told = Told::new(&spool);
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
            told.tell_all();
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
        if !wait(&mut snapshot, &taking).await {
            return;
        }
        // What comes after the read lies behind this key, also where the read saw nothing.
        let next = depth.borrow().next;
        let began = Instant::now();
        let is_telling = || snapshot.borrow().is_telling();
        let limits = size.limits(&pipeline);
        let went = batch(&spool, &pipeline, after, limits, is_telling, &mut told).await;
        let went = match went {
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
                    told.tell_all();
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
    let mut told = Told::new(spool);
    let mut size = Size::new(limits);
    let (mut after, mut passed) = (None, false);
    loop {
        let limits = size.limits(pipeline);
        let went = batch(spool, pipeline, after, limits, || true, &mut told).await;
        match went? {
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
                told.tell_all();
                drained.blocked &= !passed;
                return Ok(drained);
            }
        }
    }
}
