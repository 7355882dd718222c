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
    backoff::Backoff,
    batcher::Pipeline,
    metric,
    request::{Outcome, Refusal, Request, Verdict},
    source::{Database, Snapshot},
};

/// While nothing passes.
const LEAST_PAUSE: Duration = Duration::from_millis(250);
const GREATEST_PAUSE: Duration = Duration::from_secs(5);
/// Attempts at one batch, before those behind it are tried.
const MOST_BLOCKED: u32 = 3;
/// Before what stays is tried again, such as the requests of a disabled source.
const LEAST_REST: Duration = Duration::from_secs(5);
const GREATEST_REST: Duration = Duration::from_secs(60);

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is done with: committed, or refused for good.
    Done(Done),
    /// It may pass later: it was acknowledged, so nothing but a verdict ends it.
    Stays,
    /// Postgres takes nothing at present.
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

fn fate(outcome: &Outcome) -> Fate {
    match outcome {
        Ok(receipt) => match receipt.verdict {
            Verdict::Accepted => Fate::Done(Done::Accepted),
            Verdict::Unauthorized => Fate::Done(Done::Unauthorized),
            Verdict::Malformed => Fate::Done(Done::Malformed),
            Verdict::UnknownSource => Fate::Done(Done::UnknownSource),
            Verdict::Disabled | Verdict::Fenced => Fate::Stays,
        },
        Err(Refusal::Declined(_)) => Fate::Stays,
        Err(Refusal::Unavailable(_) | Refusal::Busy | Refusal::Stopping) => Fate::Untried,
    }
}

/// How one batch went.
#[derive(Debug, PartialEq, Eq)]
enum Went {
    /// Nothing is left after this key.
    Through,
    /// The last key that was looked at; how many were done with, and how many stay.
    On(u64, usize, usize),
    /// Nothing passed: the same batch again, after a pause. Its last key and length.
    Blocked(u64, usize),
}

/// Brings the oldest entries after a key to Postgres, and deletes those that are done.
async fn batch(
    spool: &Spool,
    pipeline: &Pipeline,
    after: Option<u64>,
    limits: ReadLimits,
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
    let mut done = Vec::new();
    let mut counts = BTreeMap::<Done, u64>::new();
    let mut passed = false;
    for ((key, entry), outcome) in entries.iter().zip(&outcomes) {
        match fate(outcome) {
            Fate::Done(word) => {
                passed = true;
                done.push(*key);
                *counts.entry(word).or_default() += 1;
                tell(word, entry);
            }
            Fate::Stays => {
                passed = true;
                tell_declined(spool, *key, entry, outcome);
            }
            Fate::Untried => {}
        }
    }
    if passed {
        spool.set_stalled(false);
    }
    let stays = entries.len() - done.len();
    if !done.is_empty() {
        spool.delete(done).await?;
    }
    for (word, count) in counts {
        counter!(metric::SPOOL_DRAINED, "outcome" => word.as_str()).increment(count);
    }
    if passed {
        Ok(Went::On(last, entries.len() - stays, stays))
    } else {
        Ok(Went::Blocked(last, entries.len()))
    }
}

/// As it came.
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
        warn!(%source, received, bytes, "a spooled request is given up: its source is no longer there");
    }
}

/// Once, however often it comes round.
fn tell_declined(spool: &Spool, key: u64, entry: &Entry, outcome: &Outcome) {
    if let Err(reason) = outcome
        && spool.is_first_told_of(key)
    {
        let (source, received, bytes) = (&entry.source, entry.received, entry.body.len());
        error!(%source, received, bytes, %reason, "a spooled request stays until that is mended");
    }
}

/// Postgres is there and has sources. Where it lists none, they are perhaps still to come,
/// as in a restore, and every request would be given up for want of its source.
fn is_ready(snapshot: &Snapshot) -> bool {
    let sources = snapshot.sources.as_ref();
    snapshot.database == Database::Up && sources.is_some_and(|sources| !sources.is_empty())
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
    // The last key looked at in this round; when what stays is looked at again.
    let (mut after, mut again) = (None, None);
    let (mut blocked, mut drained) = (0, 0);
    let mut now = limits;
    loop {
        let more =
            |depth: &Depth| depth.requests > 0 && after.is_none_or(|after| depth.next > after + 1);
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
            () = rest => (after, again) = (None, None),
        }
        if snapshot.wait_for(is_ready).await.is_err() {
            return;
        }
        // What comes after the read lies behind this key, also where the read saw nothing.
        let next = depth.borrow().next;
        let went = match batch(&spool, &pipeline, after, now).await {
            // Perhaps it is these requests, and not Postgres: those behind them are next.
            Ok(Went::Blocked(last, requests)) if blocked >= MOST_BLOCKED => {
                Went::On(last, 0, requests)
            }
            Ok(went) => went,
            Err(reason) => {
                error!(%reason, "the spool cannot be drained; trying again");
                // The drain cannot find out when commits go on: the next webhook does.
                spool.set_stalled(false);
                Went::Blocked(0, 0)
            }
        };
        match went {
            Went::On(last, done, stays) => {
                pauses.reset();
                (after, blocked) = (Some(last), 0);
                now = limits;
                drained += done;
                if stays > 0 && again.is_none() {
                    again = Some(Instant::now() + rests.pause());
                }
                if depth.borrow().requests == 0 && drained > 0 {
                    info!(requests = drained, "the spool is drained");
                    rests.reset();
                    drained = 0;
                }
            }
            Went::Through => after = next.checked_sub(1),
            Went::Blocked(_, requests) => {
                // One that is slow by itself holds up those beside it: the fewer, the better.
                if requests > 0 {
                    now.requests = (requests / 2).max(1);
                }
                blocked += 1;
                sleep(pauses.pause()).await;
            }
        }
    }
}

/// What one round has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Drained {
    pub(super) done: usize,
    pub(super) stays: usize,
    /// Postgres stopped taking requests before the end.
    pub(super) blocked: bool,
    /// The largest batch of which nothing passed, though others did.
    passed_over: usize,
}

/// Drains once, from the oldest to the newest; and what was passed over again, by halves,
/// for one that is slow by itself holds up those beside it.
pub(super) async fn once(
    spool: &Spool,
    pipeline: &Pipeline,
    limits: ReadLimits,
) -> Result<Drained, SpoolError> {
    let mut drained = round(spool, pipeline, limits).await?;
    let (mut blocked, mut passed_over) = (drained.blocked, drained.passed_over);
    while passed_over > 1 && !blocked {
        let half = ReadLimits {
            requests: passed_over / 2,
            ..limits
        };
        let again = round(spool, pipeline, half).await?;
        drained.done += again.done;
        drained.stays = drained.stays.saturating_sub(again.done);
        (blocked, passed_over) = (again.blocked, again.passed_over);
    }
    Ok(drained)
}

async fn round(
    spool: &Spool,
    pipeline: &Pipeline,
    limits: ReadLimits,
) -> Result<Drained, SpoolError> {
    let mut drained = Drained::default();
    let mut after = None;
    loop {
        match batch(spool, pipeline, after, limits).await? {
            Went::On(last, done, stays) => {
                after = Some(last);
                drained.blocked &= done + stays == 0;
                drained.done += done;
                drained.stays += stays;
            }
            // Perhaps it is these requests, and not Postgres: the next batch tells.
            Went::Blocked(last, requests) if !drained.blocked => {
                (after, drained.blocked) = (Some(last), true);
                drained.stays += requests;
                drained.passed_over = drained.passed_over.max(requests);
            }
            Went::Through | Went::Blocked(..) => return Ok(drained),
        }
    }
}
