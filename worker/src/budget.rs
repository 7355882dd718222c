//! What may be pending: requests and bytes, from the first byte read until the
//! answer is given. One budget for the whole process, so that its memory has one
//! bound whatever the number of connections.
//!
//! Webhooks take from it or are refused (`busy`); gRPC pushes wait for it, which
//! stops reading and so slows their sender down. Streams that the worker dials
//! are bounded by themselves: each holds at most two gathered batches.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[derive(Clone, Debug)]
pub(crate) struct Budget {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) requests: u32,
    pub(crate) bytes: u32,
}

/// A share of the budget, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    _requests: OwnedSemaphorePermit,
    bytes: OwnedSemaphorePermit,
    pool: Arc<Semaphore>,
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(limits.requests as usize)),
            bytes: Arc::new(Semaphore::new(limits.bytes as usize)),
            limits,
        }
    }

    /// A share for one request of `bytes` so far, or `None` at a limit.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Share> {
        let bytes = u32::try_from(bytes).ok()?;
        Some(Share {
            _requests: self.requests.clone().try_acquire_owned().ok()?,
            bytes: self.bytes.clone().try_acquire_many_owned(bytes).ok()?,
            pool: self.bytes.clone(),
        })
    }

    /// A share for several requests, as soon as there is room. What exceeds the
    /// whole budget is let through alone rather than never.
    pub(crate) async fn take(&self, requests: usize, bytes: usize) -> Option<Share> {
        let requests = clamp(requests, self.limits.requests);
        let bytes = clamp(bytes, self.limits.bytes);
        // Always in this order, so that two waiters cannot hold what the other wants.
        let requests = self.requests.clone().acquire_many_owned(requests).await;
        let bytes = self.bytes.clone().acquire_many_owned(bytes).await;
        Some(Share {
            _requests: requests.ok()?,
            bytes: bytes.ok()?,
            pool: self.bytes.clone(),
        })
    }

    /// How much is taken at this moment: requests and bytes.
    pub(crate) fn taken(&self) -> (usize, usize) {
        let requests = self.limits.requests as usize - self.requests.available_permits();
        let bytes = self.limits.bytes as usize - self.bytes.available_permits();
        (requests, bytes)
    }
}

impl Share {
    /// Makes the share larger by `bytes`, unless the budget is exhausted.
    pub(crate) fn try_grow(&mut self, bytes: usize) -> bool {
        let Ok(bytes) = u32::try_from(bytes) else {
            return false;
        };
        match self.pool.clone().try_acquire_many_owned(bytes) {
            Ok(more) => {
                self.bytes.merge(more);
                true
            }
            Err(_) => false,
        }
    }
}

fn clamp(wanted: usize, limit: u32) -> u32 {
    u32::try_from(wanted).map_or(limit, |wanted| wanted.min(limit))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn budget() -> Budget {
        Budget::new(Limits {
            requests: 2,
            bytes: 100,
        })
    }

    #[test]
    fn it_refuses_at_either_limit_and_recovers() {
        let budget = budget();
        let mut first = budget.try_take(10).unwrap();
        assert!(first.try_grow(80));
        assert!(!first.try_grow(11), "bytes");
        let second = budget.try_take(10).unwrap();
        assert!(budget.try_take(0).is_none(), "requests");
        assert_eq!(budget.taken(), (2, 100));
        drop((first, second));
        assert_eq!(budget.taken(), (0, 0));
    }

    #[test]
    fn a_refused_request_takes_nothing() {
        let budget = budget();
        assert!(budget.try_take(101).is_none());
        assert_eq!(budget.taken(), (0, 0));
    }

    #[test]
    fn waiting_ends_when_there_is_room() {
        let budget = budget();
        let held = budget.try_take(1).unwrap();
        let mut waiting = Box::pin(budget.take(2, 1));
        assert!((&mut waiting).now_or_never().is_none());
        drop(held);
        assert!(waiting.now_or_never().flatten().is_some());
    }

    #[test]
    fn more_than_the_whole_budget_is_let_through_alone() {
        let budget = budget();
        let share = budget.take(50, 5_000).now_or_never().flatten().unwrap();
        assert_eq!(budget.taken(), (2, 100));
        drop(share);
    }
}
