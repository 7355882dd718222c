//! The number of requests that a batch has while commits are slow.
//!
//! A batch gathers what arrives during the one before it. Where each request costs the server
//! much time, and more arrive than it can store, each batch would be larger and slower than
//! the last, until every sender has given up before its commit. So a batch that took too long
//! is followed by one of half its size. Where that is no faster, because each commit takes
//! long whatever is in it (a distant standby, say), small batches would only store less, and
//! the limit is lifted for a while.

use std::time::Duration;

use tokio::time::Instant;

/// Time that a batch may take. Senders wait for some seconds, also for what is before them.
const SLOW: Duration = Duration::from_secs(1);
/// The limit after a single request was slow, which says little about several: it may have
/// waited for a lock.
const FEW: usize = 100;
/// Time for which there is no limit, after smaller batches have been found no faster.
const LIFTED: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    most: usize,
    limit: usize,
    /// The batch that led to the limit, and whose throughput the next one should have.
    slow: Option<Batch>,
    lifted_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Batch {
    requests: usize,
    took: Duration,
}

impl Batch {
    /// Whether this batch stored less than four fifths of what the other did in that time.
    fn is_less_than(self, other: Self) -> bool {
        let own = self.requests as f64 * other.took.as_secs_f64();
        own < 0.8 * other.requests as f64 * self.took.as_secs_f64()
    }
}

impl Pace {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            limit: most,
            slow: None,
            lifted_until: None,
        }
    }

    /// Limit on the requests of the next batch.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Learns how long a batch took.
    pub(super) fn learn(&mut self, requests: usize, took: Duration, now: Instant) {
        let batch = Batch { requests, took };
        let is_full = requests >= self.limit;
        let compared = self.slow.filter(|_| is_full && took > SLOW / 2);
        if compared.is_some_and(|slow| requests < slow.requests && batch.is_less_than(slow)) {
            *self = Self::new(self.most);
            self.lifted_until = Some(now + LIFTED);
            return;
        }
        if took > SLOW {
            if self.lifted_until.is_none_or(|until| until <= now) {
                self.slow = (requests > 1).then_some(batch);
                let less = if requests > 1 { requests / 2 } else { FEW };
                self.limit = less.min(self.limit).max(1);
            }
        } else if is_full && took < SLOW / 2 {
            self.limit = self.limit.saturating_mul(2).min(self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 1_000;

    /// The limits after batches as large as they may be, of `takes` each.
    fn limits(batches: usize, takes: impl Fn(usize) -> Duration) -> Vec<usize> {
        let now = Instant::now();
        let mut pace = Pace::new(MOST);
        let mut limits = Vec::new();
        for _ in 0..batches {
            pace.learn(pace.limit(), takes(pace.limit()), now);
            limits.push(pace.limit());
        }
        limits
    }

    #[test]
    fn quick_batches_have_no_limit_of_their_own() {
        assert_eq!(limits(3, |_| SLOW), [MOST; 3]);
    }

    #[test]
    fn requests_that_cost_much_go_in_batches_that_take_no_longer_than_a_second() {
        let each = Duration::from_millis(20);
        let limits = limits(10, |requests| each * u32::try_from(requests).unwrap());
        assert_eq!(limits[..5], [500, 250, 125, 62, 31]);
        assert_eq!(limits[5..], [31; 5]);
    }

    #[test]
    fn commits_that_take_long_whatever_is_in_them_are_not_made_small() {
        let limits = limits(5, |_| SLOW * 2);
        assert_eq!(limits, [500, MOST, MOST, MOST, MOST]);
        let mut pace = Pace::new(MOST);
        let now = Instant::now();
        for _ in 0..2 {
            pace.learn(pace.limit(), SLOW * 2, now);
        }
        pace.learn(pace.limit(), SLOW * 2, now + LIFTED);
        assert_eq!(pace.limit(), 500, "tried again, in case it has changed");
    }

    #[test]
    fn a_lock_that_one_request_waited_for_is_forgotten_within_a_few_batches() {
        let mut pace = Pace::new(MOST);
        let now = Instant::now();
        pace.learn(1, SLOW * 8, now);
        let mut batches = 0;
        while pace.limit() < MOST {
            pace.learn(pace.limit(), SLOW / 100, now);
            batches += 1;
        }
        assert!(batches <= 8, "{batches}");
    }

    #[test]
    fn a_batch_that_is_not_full_raises_nothing() {
        let mut pace = Pace::new(MOST);
        let now = Instant::now();
        pace.learn(100, SLOW * 2, now);
        pace.learn(10, SLOW / 10, now);
        assert_eq!(pace.limit(), 50);
        pace.learn(50, SLOW / 10, now);
        assert_eq!(pace.limit(), 100);
    }
}
