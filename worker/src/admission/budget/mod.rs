//! The budget for pending requests and their bytes, from the first byte that is read
//! until the answer is sent. There is one budget for the whole process, so that its
//! memory has one bound whatever the number of connections. Each [`Payer`] can use at
//! most a share of the budget, so that one flooding client cannot starve the rest.
//!
//! A webhook gets its share at once or is refused. A gRPC push waits for its share;
//! meanwhile the worker reads nothing, which slows the sender down. Streams that the
//! worker dials need no budget, because each of them holds at most two gathered batches.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A user of the budget, which can use one share of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Payer {
    /// A source that Postgres knows, so that there are no more payers than rows.
    Source(Arc<str>),
    /// All requests for unknown sources together.
    Strangers,
    /// The bytes that arrived over gRPC for a source, and whose replies are not yet read.
    /// All sources together have one further share.
    Wire(Arc<str>),
}

/// The limit that a request has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spent {
    /// The payer's share.
    Share,
    /// The whole budget.
    Budget,
}

#[derive(Clone, Debug)]
pub(crate) struct Budget {
    whole: Pool,
    /// The part for events that arrived over gRPC, of all sources together.
    wire: Pool,
    payers: Arc<Mutex<HashMap<Payer, Pool>>>,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) requests: u32,
    pub(crate) bytes: u32,
    /// Share of each payer, in percent.
    pub(crate) share: u8,
    /// Limit on the bytes of all [`Payer::Wire`] together. It leaves a part of the budget
    /// for decoded pushes and for webhooks.
    pub(crate) wire: u32,
    /// Least limit on the bytes of one [`Payer::Wire`]: enough for one message.
    pub(crate) message: u32,
}

#[derive(Clone, Debug)]
struct Pool {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// A part of the budget, which is returned when this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    own: Taken,
    /// The part of what all of [`Payer::Wire`] may have together.
    wire: Option<Taken>,
    whole: Taken,
}

#[derive(Debug)]
struct Taken {
    requests: OwnedSemaphorePermit,
    bytes: OwnedSemaphorePermit,
    pool: Pool,
}

impl Limits {
    fn share(self, limit: u32) -> u32 {
        let share = (u64::from(limit) * u64::from(self.share) / 100).max(1);
        u32::try_from(share).unwrap_or(limit)
    }

    /// The limits of all [`Payer::Wire`] together.
    pub(crate) fn of_wire(self) -> Self {
        Self {
            bytes: self.share(self.bytes).min(self.wire),
            ..self
        }
    }

    /// The limits of one payer: at least 1.
    pub(crate) fn of(self, payer: &Payer) -> Self {
        let bytes = match payer {
            Payer::Wire(_) => {
                let all = self.of_wire().bytes;
                self.share(all).max(self.message).min(all)
            }
            _ => self.share(self.bytes),
        };
        Self {
            requests: self.share(self.requests),
            bytes,
            ..self
        }
    }
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            whole: Pool::new(limits),
            wire: Pool::new(limits.of_wire()),
            payers: Arc::default(),
            limits,
        }
    }

    fn pool(&self, payer: Payer) -> Pool {
        let mut payers = self.payers.lock().unwrap_or_else(PoisonError::into_inner);
        let limits = self.limits.of(&payer);
        let pool = payers.entry(payer);
        pool.or_insert_with(|| Pool::new(limits)).clone()
    }

    /// The pool that a payer shares with others, besides the whole.
    fn shared(&self, payer: &Payer) -> Option<Pool> {
        matches!(payer, Payer::Wire(_)).then(|| self.wire.clone())
    }

    /// A share for one request of `bytes` so far.
    pub(crate) fn try_take(&self, payer: Payer, bytes: usize) -> Result<Share, Spent> {
        let shared = self.shared(&payer);
        let own = self.pool(payer).try_take(bytes).ok_or(Spent::Share)?;
        let wire = match shared {
            Some(shared) => Some(shared.try_take(bytes).ok_or(Spent::Budget)?),
            None => None,
        };
        let whole = self.whole.clone().try_take(bytes).ok_or(Spent::Budget)?;
        Ok(Share { own, wire, whole })
    }

    /// Waits for a share for several requests. A share that exceeds the limits is granted
    /// alone rather than never.
    pub(crate) async fn take(&self, payer: Payer, requests: usize, bytes: usize) -> Option<Share> {
        let mut most = self.limits.of(&payer);
        if matches!(payer, Payer::Source(_)) {
            // Otherwise a chunk could wait for a share that its own bytes hold as `Wire`.
            most.bytes = most.bytes.min(self.limits.bytes.div_ceil(2));
        }
        let requests = clamp(requests, most.requests);
        let bytes = clamp(bytes, most.bytes);
        let shared = self.shared(&payer);
        // The order is fixed, so that two waiters cannot deadlock.
        let own = self.pool(payer).take(requests, bytes).await?;
        let wire = match shared {
            Some(shared) => Some(shared.take(requests, bytes).await?),
            None => None,
        };
        let whole = self.whole.clone().take(requests, bytes).await?;
        Some(Share { own, wire, whole })
    }

    /// The requests and bytes that are in use now.
    pub(crate) fn taken(&self) -> (usize, usize) {
        self.whole.taken(self.limits)
    }

    /// The greatest number of requests, and of bytes, that a source uses now.
    pub(crate) fn taken_by_a_source(&self) -> (usize, usize) {
        let limits = self.limits.of(&Payer::Source("".into()));
        let payers = self.payers.lock().unwrap_or_else(PoisonError::into_inner);
        let of_sources = payers.iter().filter_map(|(payer, pool)| match payer {
            Payer::Source(_) => Some(pool.taken(limits)),
            Payer::Strangers | Payer::Wire(_) => None,
        });
        of_sources.fold((0, 0), |(requests, bytes), taken| {
            (requests.max(taken.0), bytes.max(taken.1))
        })
    }

    /// The bytes that arrived over gRPC and whose events are not answered yet.
    pub(crate) fn taken_by_wire(&self) -> usize {
        let (_, bytes) = self.wire.taken(self.limits.of_wire());
        bytes
    }

    /// The limits of the whole budget.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }
}

impl Pool {
    fn new(limits: Limits) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(limits.requests as usize)),
            bytes: Arc::new(Semaphore::new(limits.bytes as usize)),
        }
    }

    fn try_take(self, bytes: usize) -> Option<Taken> {
        let bytes = u32::try_from(bytes).ok()?;
        Some(Taken {
            requests: self.requests.clone().try_acquire_owned().ok()?,
            bytes: self.bytes.clone().try_acquire_many_owned(bytes).ok()?,
            pool: self,
        })
    }

    /// The requests and bytes that are in use, of these limits.
    fn taken(&self, limits: Limits) -> (usize, usize) {
        let used = |limit: u32, semaphore: &Semaphore| {
            (limit as usize).saturating_sub(semaphore.available_permits())
        };
        (
            used(limits.requests, &self.requests),
            used(limits.bytes, &self.bytes),
        )
    }

    async fn take(self, requests: u32, bytes: u32) -> Option<Taken> {
        let requests = self.requests.clone().acquire_many_owned(requests).await;
        let bytes = self.bytes.clone().acquire_many_owned(bytes).await;
        Some(Taken {
            requests: requests.ok()?,
            bytes: bytes.ok()?,
            pool: self,
        })
    }
}

impl Share {
    /// Enlarges the share by `bytes`, or leaves it unchanged.
    pub(crate) fn try_grow(&mut self, bytes: usize) -> Result<(), Spent> {
        let more = |taken: &Taken| {
            let bytes = u32::try_from(bytes).ok()?;
            taken.pool.bytes.clone().try_acquire_many_owned(bytes).ok()
        };
        let own = more(&self.own).ok_or(Spent::Share)?;
        let wire = match &self.wire {
            Some(wire) => Some(more(wire).ok_or(Spent::Budget)?),
            None => None,
        };
        let whole = more(&self.whole).ok_or(Spent::Budget)?;
        self.own.bytes.merge(own);
        if let (Some(held), Some(wire)) = (&mut self.wire, wire) {
            held.bytes.merge(wire);
        }
        self.whole.bytes.merge(whole);
        Ok(())
    }

    /// Joins two shares of one payer.
    pub(crate) fn join(&mut self, more: Self) {
        self.own.join(more.own);
        if let (Some(wire), Some(more)) = (&mut self.wire, more.wire) {
            wire.join(more);
        }
        self.whole.join(more.whole);
    }

    /// Splits off a share of so many bytes, or of as many as there are.
    pub(crate) fn cut_at_most(&mut self, bytes: usize) -> Option<Self> {
        let parts = [Some(&self.own), self.wire.as_ref(), Some(&self.whole)];
        let held = parts.map(|part| part.map_or(usize::MAX, |taken| taken.bytes.num_permits()));
        self.cut(held.into_iter().fold(bytes, usize::min))
    }

    /// Splits off a share of so many bytes, if this share has them.
    pub(crate) fn cut(&mut self, bytes: usize) -> Option<Self> {
        let lacks = |taken: &Taken| bytes > taken.bytes.num_permits();
        if lacks(&self.own) || self.wire.as_ref().is_some_and(lacks) || lacks(&self.whole) {
            return None;
        }
        let wire = match &mut self.wire {
            Some(wire) => Some(wire.cut(bytes)?),
            None => None,
        };
        Some(Self {
            own: self.own.cut(bytes)?,
            wire,
            whole: self.whole.cut(bytes)?,
        })
    }
}

impl Taken {
    fn join(&mut self, more: Self) {
        self.requests.merge(more.requests);
        self.bytes.merge(more.bytes);
    }

    fn cut(&mut self, bytes: usize) -> Option<Self> {
        Some(Self {
            requests: self.requests.split(0)?,
            bytes: self.bytes.split(bytes)?,
            pool: self.pool.clone(),
        })
    }
}

fn clamp(wanted: usize, limit: u32) -> u32 {
    u32::try_from(wanted).map_or(limit, |wanted| wanted.min(limit))
}

#[cfg(test)]
mod tests;
