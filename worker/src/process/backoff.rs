//! Pauses between attempts: doubling from a least to a greatest, each with jitter,
//! so that workers which lost the same peer do not come back in step.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The pauses of one series of attempts: an endless iterator.
#[derive(Debug)]
pub(crate) struct Backoff {
    plan: ExponentialBuilder,
    pauses: ExponentialBackoff,
    greatest: Duration,
}

impl Backoff {
    /// Jitter adds up to one more `least` or `greatest` to a pause.
    pub(crate) fn between(least: Duration, greatest: Duration) -> Self {
        let plan = ExponentialBuilder::default()
            .with_min_delay(least)
            .with_max_delay(greatest)
            .with_factor(2.0)
            .with_jitter()
            .without_max_times();
        Self {
            plan,
            pauses: plan.build(),
            greatest,
        }
    }

    pub(crate) fn pause(&mut self) -> Duration {
        self.pauses.next().unwrap_or(self.greatest)
    }

    /// Resets the pause to the least, because the attempts have made progress.
    pub(crate) fn reset(&mut self) {
        self.pauses = self.plan.build();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_stay_bounded_and_start_over() {
        let (least, greatest) = (Duration::from_millis(100), Duration::from_secs(2));
        let mut backoff = Backoff::between(least, greatest);
        for attempt in 0..200_u32 {
            let pause = backoff.pause();
            let floor = least.saturating_mul(1 << attempt.min(20)).min(greatest);
            assert!(pause >= floor, "attempt {attempt}: {pause:?}");
            assert!(pause <= greatest * 2, "attempt {attempt}: {pause:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= least * 2);
    }

    #[test]
    fn no_two_series_pause_in_step() {
        let series = || {
            let mut backoff = Backoff::between(Duration::from_millis(1), Duration::from_secs(60));
            std::iter::repeat_with(move || backoff.pause())
                .take(20)
                .collect::<Vec<_>>()
        };
        assert_ne!(series(), series());
    }
}
