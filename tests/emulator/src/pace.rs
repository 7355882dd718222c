//! Holds a provider to its share of the rate, until it is to stop.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::stdin::Stop;

/// Lets events through at a steady rate; a call of many takes its time before the next.
#[derive(Debug)]
pub(crate) struct Pace {
    /// What one event takes; `None` is no limit.
    each: Option<Duration>,
    next: Mutex<Instant>,
    stop: Stop,
}

impl Pace {
    /// `rate` events a second over the whole run, of which this provider plays `events`
    /// out of `all`: all providers are then done at about the same time.
    pub(crate) fn new(rate: u32, events: u32, all: u32, stop: Stop) -> Self {
        let own = f64::from(rate) * f64::from(events) / f64::from(all.max(1));
        Self {
            each: (own > 0.0).then(|| Duration::from_secs_f64(1.0 / own)),
            next: Mutex::new(Instant::now()),
            stop,
        }
    }

    #[cfg(test)]
    pub(crate) fn unlimited() -> Self {
        Self::until(Stop::default())
    }

    #[cfg(test)]
    pub(crate) fn until(stop: Stop) -> Self {
        Self::new(0, 1, 1, stop)
    }

    /// Nothing more is to be drawn; what was drawn goes on.
    pub(crate) fn is_over(&self) -> bool {
        self.stop.is_asked()
    }

    /// Returns when this many events may be sent.
    pub(crate) async fn take(&self, events: usize) {
        let Some(each) = self.each else { return };
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        let at = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let at = (*next).max(Instant::now());
            *next = at + each.saturating_mul(events);
            at
        };
        sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_share_of_the_rate_is_kept() {
        let start = Instant::now();
        let pace = Pace::new(1000, 1, 2, Stop::default());
        for _ in 0..11 {
            pace.take(50).await;
        }
        // 500 a second: the eleventh call starts after 500 events.
        assert_eq!(start.elapsed().as_millis(), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn no_rate_is_no_limit() {
        let start = Instant::now();
        Pace::unlimited().take(1_000_000).await;
        assert!(start.elapsed().is_zero());
    }
}
