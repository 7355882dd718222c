//! The keeper: a thread of its own that owns the file, so that nothing else waits for the
//! disk, and one fsync serves all waiting requests.

mod count;
mod place;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tidings_spool::{
    Batch, Change, Entry, ReadLimits, SpoolError, SpoolFile, entry::claimed_origin,
};
use tokio::sync::{
    mpsc::{UnboundedReceiver, error::TryRecvError},
    oneshot, watch,
};
use tracing::{error, info, warn};

use super::{Damaged, Depth, Names, Unspooled, bound::Bound, losses::Losses};
use crate::{admission::budget::Share, process::exit::Vital};

/// Limit on the asks of one transaction; further ones wait for the next transaction.
const GROUP_ASKS: usize = 4096;
const GROUP_BYTES: usize = 16 << 20;
/// Time after a failed put for which puts are refused without an attempt, because each
/// attempt reopens the file, and on a full disk the drain would wait for them.
const PAUSE: Duration = Duration::from_secs(1);

/// A message to the keeper. Every answer is sent after the fsync.
#[derive(Debug)]
pub(super) enum Ask {
    /// A request with its share of the budget, which is held until the answer, even if
    /// the caller no longer waits.
    Put(Entry, Share, PutReply),
    Delete(Vec<u64>, oneshot::Sender<Result<(), SpoolError>>),
    Read(Option<u64>, ReadLimits, oneshot::Sender<Read>),
    Names(BTreeSet<String>),
    /// Looks whether the file is still in its place.
    Look,
}

pub(super) type PutReply = oneshot::Sender<Result<(), Unspooled>>;

pub(super) type Read = Result<Batch, SpoolError>;

/// Owns the file and knows its contents.
///
/// Promises:
/// - A request is answered after the commit that contains it, together with all requests
///   that waited meanwhile, and if the path still leads to the file then: else the next
///   process would not find it.
/// - What a file holds that somebody has removed, renamed or replaced is written to a new
///   file. Until that succeeds, requests are refused, and what is held can be drained.
/// - A refused request is not in the file, even if a commit failed half-way: entries that
///   such a commit has left are deleted before anything else is written.
/// - Beyond the bound nothing is written; on a full disk the spool can still be drained.
/// - A damaged entry stays where it is and blocks nothing; it is counted separately.
#[derive(Debug)]
pub(super) struct Keeper {
    file: SpoolFile,
    bound: Bound,
    /// Key of the next entry.
    next: u64,
    requests: u64,
    /// There is no intact entry before this key.
    head: u64,
    damaged: Damaged,
    /// The keys of damaged entries, each of which was logged once.
    told: BTreeSet<u64>,
    /// Whether the file failed, so that it has to be reopened and examined first.
    doubtful: bool,
    /// When and why puts failed, unless they work again.
    refusing: Option<(Instant, SpoolError)>,
    /// The reason why the file could not be put back, and the time until which that is not tried
    /// again.
    unplaced: Option<(Instant, SpoolError)>,
    depth: watch::Sender<Depth>,
    names: watch::Sender<Names>,
    failure: watch::Sender<Option<SpoolError>>,
    losses: Losses,
    _vital: Option<Vital>,
    /// The action between a commit and the answer.
    #[cfg(test)]
    after_commit: Option<tests::Hook>,
}

impl Keeper {
    pub(super) fn new(
        file: SpoolFile,
        limit: u64,
        mut losses: Losses,
        vital: Option<Vital>,
    ) -> Result<Self, SpoolError> {
        let names = file.names()?;
        if file.is_new() {
            losses.file_is_missing();
        }
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
            unplaced: None,
            depth: watch::Sender::new(Depth::default()),
            names: watch::Sender::new(shared(&names)),
            failure: watch::Sender::new(None),
            losses,
            _vital: vital,
            #[cfg(test)]
            after_commit: None,
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

    pub(super) fn failure(&self) -> watch::Receiver<Option<SpoolError>> {
        self.failure.subscribe()
    }

    /// Serves until all handles are dropped.
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
                // The caller no longer waits, and the request was never acknowledged.
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
                // The last list of names counts, even if it equals the stored one.
                let is_new = *self.names.borrow() != shared(&names);
                group.change.names = is_new.then_some(names);
            }
            Ask::Read(after, limits, reply) => group.reads.push((after, limits, reply)),
            Ask::Look => group.looks = true,
        }
    }

    fn settle(&mut self, group: Group) {
        // Puts are refused without an attempt, because each attempt would reopen the
        // file.
        if group.is_idle() {
            if group.looks {
                self.look();
            }
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
                    warn!(reason = %failure, "the spool's file failed; reopening it");
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
        if !group.deleted.is_empty() && deleted.is_ok() && !self.is_displaced() {
            // There may be space now.
            self.refuse(None);
        }
        for reply in group.deleted {
            let _ = reply.send(deleted.clone());
        }
        for (after, limits, reply) in group.reads {
            // Entries that a failed commit has left have greater keys than all
            // acknowledged ones. Their keys are used again, so that a reader of such an
            // entry would later delete another one.
            let read = self.file.read(after, self.next, limits);
            match &read {
                // Entries were damaged since they were counted.
                Ok(batch) if !self.told.is_superset(&keys(&batch.damaged)) => self.count_anew(),
                Ok(_) => {}
                Err(_) => self.doubtful = true,
            }
            let _ = reply.send(read);
        }
        if group.looks {
            self.look();
        }
    }

    fn commit(&mut self, change: &Change) -> Result<(), SpoolError> {
        if self.doubtful {
            self.recover()?;
            // The file was counted, and these entries are not in it yet.
            for (source, bytes) in sizes(&change.puts) {
                self.bound.hold(source, bytes);
            }
        }
        let nothing = change.puts.is_empty() && change.deletes.is_empty() && change.names.is_none();
        if nothing {
            return Ok(());
        }
        if !change.puts.is_empty() {
            let next = self.next;
            let is_counted = self.be_in_place();
            let ready = is_counted.and_then(|is_counted| {
                if is_counted {
                    for (source, bytes) in sizes(&change.puts) {
                        self.bound.hold(source, bytes);
                    }
                }
                // Entries of another file have the keys that these were to have.
                if self.next != next {
                    let reason = "another file was in its place, whose requests were taken along";
                    return Err(SpoolError::unusable(self.file.path(), reason));
                }
                self.file.hold_reserve()
            });
            ready.inspect_err(|_| {
                for (source, bytes) in sizes(&change.puts) {
                    self.bound.release(source, bytes);
                }
            })?;
        }
        self.losses.put(origins(&change.puts));
        let applied = self.file.apply(change);
        #[cfg(test)]
        if let Some(after_commit) = &self.after_commit {
            (after_commit.0)();
        }
        // What the next process would not find is not acknowledged.
        let displaced = match change.puts.is_empty() {
            true => None,
            false => self.file.displaced(),
        };
        let applied = match (applied, displaced) {
            (Ok(_), Some(what)) => Err(SpoolError::unusable(
                self.file.path(),
                format!("it was {what} meanwhile"),
            )),
            (applied, _) => applied,
        };
        let deleted = match applied {
            Ok(deleted) => deleted,
            Err(failure) => {
                self.doubtful = true;
                // The file is reopened at once, so that reads can continue.
                if let Err(again) = self.recover() {
                    error!(reason = %again, "the spool cannot be opened again");
                }
                return Err(failure);
            }
        };
        if self.requests == 0 && !change.puts.is_empty() {
            info!("requests are being spooled");
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
            self.refuse(None);
        }
        // A damaged entry may be any source's.
        if !deleted.is_empty() && self.damaged.requests == 0 {
            self.losses.deleted(|source| self.bound.holds(source));
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
            // The entry was counted as the other kind.
            self.count_anew();
        }
        Ok(())
    }

    /// Deletes finished entries even if the disk is full, which frees space.
    fn delete_alone(&mut self, deletes: Vec<u64>) -> Result<(), SpoolError> {
        self.file.release_reserve();
        self.commit(&Change {
            deletes,
            ..Change::default()
        })
    }

    /// Reopens the file and deletes entries that a failed commit may have left.
    fn recover(&mut self) -> Result<(), SpoolError> {
        let next = self.next;
        let opened = self.file.reopen().and_then(|()| self.file.cut(next));
        let counted = opened.and_then(|()| self.count());
        counted.inspect_err(|failure| self.refuse(Some(failure.clone())))?;
        self.doubtful = false;
        self.tell();
        Ok(())
    }

    /// Records that puts fail from now on, or may be tried again.
    fn refuse(&mut self, failure: Option<SpoolError>) {
        self.failure.send_if_modified(|known| {
            let is_new = *known != failure;
            known.clone_from(&failure);
            is_new
        });
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

    fn refusal(&self) -> Option<SpoolError> {
        let (since, failure) = self.refusing.as_ref()?;
        (since.elapsed() < PAUSE).then(|| failure.clone())
    }
}

/// Returns the share before the answer, because the caller may send the next request
/// after the answer.
fn answer(share: Share, reply: PutReply, result: Result<(), Unspooled>) {
    drop(share);
    let _ = reply.send(result);
}

fn origins(puts: &[(u64, Vec<u8>)]) -> impl Iterator<Item = (u64, &str)> {
    puts.iter().filter_map(|(_, value)| claimed_origin(value))
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
    looks: bool,
}

impl Group {
    /// Whether every ask is answered already, but for a look.
    fn is_idle(&self) -> bool {
        let nothing = self.stored.is_empty() && self.deleted.is_empty() && self.reads.is_empty();
        nothing && self.change.names.is_none()
    }
}
