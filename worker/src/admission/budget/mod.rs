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
    /// The bytes that arrived over gRPC and whose events are not answered yet.
    Wire,
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
    payers: Arc<Mutex<HashMap<Payer, Pool>>>,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) requests: u32,
    pub(crate) bytes: u32,
    /// Share of each payer, in percent.
    pub(crate) share: u8,
    /// Limit on the bytes of [`Payer::Wire`]. It leaves a part of the budget for decoded
    /// pushes and for webhooks, and is enough for one message.
    pub(crate) wire: u32,
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
    whole: Taken,
}

#[derive(Debug)]
struct Taken {
    requests: OwnedSemaphorePermit,
    bytes: OwnedSemaphorePermit,
    pool: Pool,
}

impl Limits {
    /// The limits of one payer: at least 1.
    fn of(self, payer: &Payer) -> Self {
        let share = |limit: u32| (u64::from(limit) * u64::from(self.share) / 100).max(1);
        let share = |limit| u32::try_from(share(limit)).unwrap_or(limit);
        let bytes = match payer {
            Payer::Wire => share(self.bytes).min(self.wire),
            _ => share(self.bytes),
        };
        Self {
            requests: share(self.requests),
            bytes,
            ..self
        }
    }
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            whole: Pool::new(limits),
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

    /// A share for one request of `bytes` so far.
    pub(crate) fn try_take(&self, payer: Payer, bytes: usize) -> Result<Share, Spent> {
        let own = self.pool(payer).try_take(bytes).ok_or(Spent::Share)?;
        let whole = self.whole.clone().try_take(bytes).ok_or(Spent::Budget)?;
        Ok(Share { own, whole })
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
        // The order is fixed, so that two waiters cannot deadlock.
        let own = self.pool(payer).take(requests, bytes).await?;
        let whole = self.whole.clone().take(requests, bytes).await?;
        Some(Share { own, whole })
    }

    /// The requests and bytes that are in use now.
    pub(crate) fn taken(&self) -> (usize, usize) {
        let requests = self.limits.requests as usize - self.whole.requests.available_permits();
        let bytes = self.limits.bytes as usize - self.whole.bytes.available_permits();
        (requests, bytes)
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
        let whole = more(&self.whole).ok_or(Spent::Budget)?;
        self.own.bytes.merge(own);
        self.whole.bytes.merge(whole);
        Ok(())
    }

    /// Joins two shares of one payer.
    pub(crate) fn join(&mut self, more: Self) {
        self.own.requests.merge(more.own.requests);
        self.whole.requests.merge(more.whole.requests);
        self.own.bytes.merge(more.own.bytes);
        self.whole.bytes.merge(more.whole.bytes);
    }

    /// Splits off a share of so many bytes, if this share has them.
    pub(crate) fn cut(&mut self, bytes: usize) -> Option<Self> {
        let (own, whole) = (self.own.bytes.num_permits(), self.whole.bytes.num_permits());
        if bytes > own.min(whole) {
            return None;
        }
        Some(Self {
            own: self.own.cut(bytes)?,
            whole: self.whole.cut(bytes)?,
        })
    }
}

impl Taken {
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
