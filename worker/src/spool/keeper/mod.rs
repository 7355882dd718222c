//! The keeper: a thread of its own that owns the file, so that nothing else waits for
//! the disk, and one fsync serves all who wait for it.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tidings_spool::{
    Batch, Change, Entry, ReadLimits, SpoolError, SpoolFile,
    entry::{claimed_origin, origin},
};
use tokio::sync::{
    mpsc::{UnboundedReceiver, error::TryRecvError},
    oneshot, watch,
};
use tracing::{error, info, warn};

use super::{Damaged, Depth, Names, Unspooled, bound::Bound};
use crate::{admission::budget::Share, process::exit::Vital};

/// Of one transaction. What waits beyond it is in the next one.
const GROUP_ASKS: usize = 4096;
const GROUP_BYTES: usize = 16 << 20;
/// After a failed one, puts are refused so long without an attempt: each opens the file
/// anew, and on a full disk the drain would wait behind them.
const PAUSE: Duration = Duration::from_secs(1);

/// What the keeper is asked. Every answer comes after fsync.
#[derive(Debug)]
pub(super) enum Ask {
    /// With what it takes of the budget until it is answered, also when nobody waits.
    Put(Entry, Share, PutReply),
    Delete(Vec<u64>, oneshot::Sender<Result<(), SpoolError>>),
    Read(Option<u64>, ReadLimits, oneshot::Sender<Read>),
    Names(BTreeSet<String>),
}

pub(super) type PutReply = oneshot::Sender<Result<(), Unspooled>>;

pub(super) type Read = Result<Batch, SpoolError>;

/// Owns the file and knows what is in it.
///
/// Promises:
/// - A request is answered after the commit that holds it, in one group with all that
///   waited meanwhile.
/// - What was refused is not in the file, also when a commit failed half-way: what such
///   a commit has left is deleted before anything else is written.
/// - Beyond the bound nothing is written; on a full disk it is still emptied.
/// - What is damaged stays where it is, and holds nothing up: it is counted apart.
#[derive(Debug)]
pub(super) struct Keeper {
    file: SpoolFile,
    bound: Bound,
    /// Of the next entry.
    next: u64,
    requests: u64,
    /// No whole entry lies before this key.
    head: u64,
    damaged: Damaged,
    /// The keys of the damaged, each of which was told once.
    told: BTreeSet<u64>,
    /// The file failed: it is to be opened anew, and what is in it looked at, first.
    doubtful: bool,
    /// When puts failed, unless they do no more, and why.
    refusing: Option<(Instant, SpoolError)>,
    depth: watch::Sender<Depth>,
    names: watch::Sender<Names>,
    _vital: Option<Vital>,
}

impl Keeper {
    pub(super) fn new(
        file: SpoolFile,
        limit: u64,
        vital: Option<Vital>,
    ) -> Result<Self, SpoolError> {
        let names = file.names()?;
        let mut keeper = Self {
            file,
            bound: Bound::new(limit),
            next: 0,
            requests: 0,
            head: 0,
            damaged: Damaged::default(),
            told: BTreeSet::new(),
            doubtful: false,
            refusing: None,
            depth: watch::Sender::new(Depth::default()),
            names: watch::Sender::new(shared(&names)),
            _vital: vital,
        };
        keeper.count()?;
        keeper.tell();
        Ok(keeper)
    }

    pub(super) fn depth(&self) -> watch::Receiver<Depth> {
        self.depth.subscribe()
    }

    pub(super) fn names(&self) -> watch::Receiver<Names> {
        self.names.subscribe()
    }

    /// Serves until nobody can ask any more.
    pub(super) fn run(mut self, mut asks: UnboundedReceiver<Ask>) {
        while let Some(first) = asks.blocking_recv() {
            let mut group = Group::default();
            self.take(first, &mut group);
            while group.asks < GROUP_ASKS && group.bytes < GROUP_BYTES {
                match asks.try_recv() {
                    Ok(ask) => self.take(ask, &mut group),
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
            self.settle(group);
        }
    }

    fn take(&mut self, ask: Ask, group: &mut Group) {
        group.asks += 1;
        match ask {
            Ask::Put(entry, share, reply) => {
                // Nobody waits for it any more: it was never acknowledged.
                if reply.is_closed() {
                    return;
                }
                if let Some(failure) = self.refusal() {
                    return answer(share, reply, Err(Unspooled::Failed(failure)));
                }
                let value = entry.encode();
                if !self.bound.admit(&entry.source, value.len() as u64) {
                    return answer(share, reply, Err(Unspooled::Full));
                }
                let key = self.next + group.change.puts.len() as u64;
                group.bytes += value.len();
                group.change.puts.push((key, value));
                group.stored.push((share, reply));
            }
            Ask::Delete(keys, reply) => {
                group.change.deletes.extend(keys);
                group.deleted.push(reply);
            }
            Ask::Names(names) => {
                // The last one counts, also where it is what is stored already.
                let is_new = *self.names.borrow() != shared(&names);
                group.change.names = is_new.then_some(names);
            }
            Ask::Read(after, limits, reply) => group.reads.push((after, limits, reply)),
        }
    }

    fn settle(&mut self, group: Group) {
        // Refused without an attempt: else each of them would open the file anew.
        if group.is_idle() {
            return;
        }
        let committed = self.commit(&group.change);
        match &committed {
            Ok(()) => {
                for (share, reply) in group.stored {
                    answer(share, reply, Ok(()));
                }
            }
            Err(failure) => {
                if group.stored.is_empty() {
                    warn!(reason = %failure, "the spool's file failed; it is opened anew");
                } else {
                    warn!(reason = %failure, "the spool does not take requests");
                    self.refuse(Some(failure.clone()));
                }
                for (share, reply) in group.stored {
                    answer(share, reply, Err(Unspooled::Failed(failure.clone())));
                }
            }
        }
        let deleted = match committed {
            Err(_) if !group.deleted.is_empty() => self.delete_alone(group.change.deletes),
            committed => committed,
        };
        if !group.deleted.is_empty() && deleted.is_ok() {
            // There may be room now.
            self.refuse(None);
        }
        for reply in group.deleted {
            let _ = reply.send(deleted.clone());
        }
        for (after, limits, reply) in group.reads {
            // What a failed commit has left lies behind what was acknowledged. Its keys are
            // given again: who read it would delete what is there by then.
            let read = self.file.read(after, self.next, limits);
            match &read {
                // Since they were counted.
                Ok(batch) if !self.told.is_superset(&keys(&batch.damaged)) => self.count_anew(),
                Ok(_) => {}
                Err(_) => self.doubtful = true,
            }
            let _ = reply.send(read);
        }
    }

    fn commit(&mut self, change: &Change) -> Result<(), SpoolError> {
        if self.doubtful {
            self.recover()?;
            // It counted what is in the file, and these are yet to come.
            for (source, bytes) in sizes(&change.puts) {
                self.bound.hold(source, bytes);
            }
        }
        let nothing = change.puts.is_empty() && change.deletes.is_empty() && change.names.is_none();
        if nothing {
            return Ok(());
        }
        if !change.puts.is_empty() {
            self.file.hold_reserve().inspect_err(|_| {
                for (source, bytes) in sizes(&change.puts) {
                    self.bound.release(source, bytes);
                }
            })?;
        }
        let deleted = match self.file.apply(change) {
            Ok(deleted) => deleted,
            Err(failure) => {
                self.doubtful = true;
                // At once, so that reads go on.
                if let Err(again) = self.recover() {
                    error!(reason = %again, "the spool cannot be opened again");
                }
                return Err(failure);
            }
        };
        if self.requests == 0 && !change.puts.is_empty() {
            info!("requests go to the spool");
        }
        self.next += change.puts.len() as u64;
        self.requests += change.puts.len() as u64;
        self.requests = self.requests.saturating_sub(deleted.len() as u64);
        for (source, bytes) in &deleted {
            if let Some(source) = source {
                self.bound.release(source, *bytes);
            }
        }
        if !change.puts.is_empty() {
            self.refusing = None;
        }
        if let Some(names) = &change.names {
            self.names.send_replace(shared(names));
        }
        if self.requests == 0 && self.damaged.requests == 0 && !deleted.is_empty() {
            self.shrink();
        }
        let whole = deleted.iter().all(|(source, _)| source.is_some());
        if whole && self.told.is_disjoint(&keys(&change.deletes)) {
            self.tell();
        } else {
            // It was counted as the other.
            self.count_anew();
        }
        Ok(())
    }

    /// What is done with goes also where the disk is full: that makes room.
    fn delete_alone(&mut self, deletes: Vec<u64>) -> Result<(), SpoolError> {
        self.file.release_reserve();
        self.commit(&Change {
            deletes,
            ..Change::default()
        })
    }

    /// Opens the file anew and deletes what a failed commit may have left in it.
    fn recover(&mut self) -> Result<(), SpoolError> {
        let next = self.next;
        let opened = self.file.reopen().and_then(|()| self.file.cut(next));
        let counted = opened.and_then(|()| self.count());
        counted.inspect_err(|failure| self.refuse(Some(failure.clone())))?;
        self.doubtful = false;
        self.tell();
        Ok(())
    }

    /// Puts fail from now on, or may be tried again.
    fn refuse(&mut self, failure: Option<SpoolError>) {
        self.refusing = failure.map(|failure| (Instant::now(), failure));
        let failed = self.failed();
        self.depth.send_modify(|depth| depth.failed = failed);
    }

    fn failed(&self) -> Option<Instant> {
        self.refusing.as_ref().map(|(since, _)| *since)
    }

    fn shrink(&mut self) {
        if let Err(reason) = self.file.shrink() {
            warn!(%reason, "the spool's file cannot be made smaller");
            self.doubtful = true;
        }
    }

    /// Counts what is in the file.
    fn count(&mut self) -> Result<(), SpoolError> {
        let mut bound = Bound::new(self.bound.limit());
        let mut damaged = Damaged::default();
        let (mut requests, mut next, mut head) = (0, self.next, None);
        let (told, names) = (&mut self.told, self.names.borrow());
        self.file.scan(None, |key, value| {
            let bytes = value.len() as u64;
            next = next.max(key + 1);
            if let Some((_, source)) = origin(value) {
                bound.hold(source, bytes);
                requests += 1;
                head = head.or(Some(key));
                return true;
            }
            let (received, source) = claimed_origin(value).unzip();
            bound.hold_unowned(bytes);
            damaged.add(bytes, received);
            if told.insert(key) {
                // Of another length it may be anything, such as a secret.
                let source = source.filter(|source| names.contains(*source));
                error!(key, bytes, received, source, "a spooled request is damaged: it stays where it is, and does not reach Postgres");
            }
            true
        })?;
        drop(names);
        (self.bound, self.requests, self.next) = (bound, requests, next);
        (self.damaged, self.head) = (damaged, head.unwrap_or(next));
        Ok(())
    }

    fn count_anew(&mut self) {
        if let Err(reason) = self.count() {
            warn!(%reason, "what is in the spool cannot be counted");
            self.doubtful = true;
        }
        self.tell();
    }

    /// What was committed stays so where this cannot be read.
    fn tell(&mut self) {
        let oldest = match self.file.oldest(self.head) {
            Ok(oldest) => {
                self.head = oldest.map_or(self.next, |(key, _)| key);
                oldest.map(|(_, received)| received)
            }
            Err(reason) => {
                warn!(%reason, "the spool's oldest request cannot be read");
                self.doubtful = true;
                self.depth.borrow().oldest
            }
        };
        let depth = Depth {
            requests: self.requests,
            bytes: self.bound.taken().saturating_sub(self.damaged.bytes),
            oldest,
            damaged: self.damaged,
            failed: self.failed(),
            next: self.next,
        };
        self.depth.send_replace(depth);
    }

    fn refusal(&self) -> Option<SpoolError> {
        let (since, failure) = self.refusing.as_ref()?;
        (since.elapsed() < PAUSE).then(|| failure.clone())
    }
}

/// The share first: who has an answer may send the next request.
fn answer(share: Share, reply: PutReply, result: Result<(), Unspooled>) {
    drop(share);
    let _ = reply.send(result);
}

fn sizes(puts: &[(u64, Vec<u8>)]) -> impl Iterator<Item = (&str, u64)> {
    puts.iter()
        .filter_map(|(_, value)| Some((claimed_origin(value)?.1, value.len() as u64)))
}

fn keys(keys: &[u64]) -> BTreeSet<u64> {
    keys.iter().copied().collect()
}

fn shared(names: &BTreeSet<String>) -> Names {
    Arc::new(names.iter().map(|name| name.as_str().into()).collect())
}

/// Asks that are served by one commit.
#[derive(Debug, Default)]
struct Group {
    asks: usize,
    bytes: usize,
    change: Change,
    stored: Vec<(Share, PutReply)>,
    deleted: Vec<oneshot::Sender<Result<(), SpoolError>>>,
    reads: Vec<(Option<u64>, ReadLimits, oneshot::Sender<Read>)>,
}

impl Group {
    /// All that was asked is answered already.
    fn is_idle(&self) -> bool {
        let nothing = self.stored.is_empty() && self.deleted.is_empty() && self.reads.is_empty();
        nothing && self.change.names.is_none()
    }
}
