//! The refusals of one sender in the last seconds, and whether one request can have been
//! refused by all of them.

use std::time::Duration;

/// Length of the window in seconds.
pub(super) const SECONDS: u64 = 64;
/// Time that the attempts of one request may take beyond the provider's pauses.
pub(super) const LEEWAY: u64 = 10;

type Counts = [u32; SECONDS as usize];

/// Counts by second: of all refusals, and of those whose bodies are not known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    second: u64,
    all: Counts,
    blind: Counts,
    /// Refusals since the last quiet time that were not reported.
    fresh: u64,
}

/// Refusals by which a request was perhaps lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    /// Seconds since the first of them.
    pub(super) since: u64,
    /// Number of refusals that were not reported before.
    pub(super) refusals: u64,
}

impl Window {
    pub(super) fn new(second: u64) -> Self {
        Self {
            second,
            all: [0; SECONDS as usize],
            blind: [0; SECONDS as usize],
            fresh: 0,
        }
    }

    /// Counts refusals at this second.
    pub(super) fn add(&mut self, second: u64, refusals: u32, is_blind: bool) {
        self.advance(second);
        increment(&mut self.all, second, refusals);
        if is_blind {
            increment(&mut self.blind, second, refusals);
        }
        self.fresh = self.fresh.saturating_add(u64::from(refusals));
    }

    /// Whether a request whose attempts are so far apart can have been lost by now.
    ///
    /// A request is lost if all of its attempts are refused. The bodies of some refusals are
    /// unknown, so that nobody can tell which of them are attempts of the same request. It
    /// can be so only if there are as many refusals as attempts, the first and the last of
    /// them as far apart as all pauses together, and not much farther.
    pub(super) fn loss(&mut self, pauses: &[Duration]) -> Option<Loss> {
        let span = pauses.iter().sum::<Duration>().as_secs();
        let first = (span..=span + LEEWAY)
            .rev()
            .find(|back| self.sum(&self.all, *back, *back) > 0)?;
        let attempts = pauses.len() as u64 + 1;
        let is_lost =
            self.sum(&self.all, 0, first) >= attempts && self.sum(&self.blind, 0, first) > 0;
        is_lost.then(|| Loss {
            since: first,
            refusals: std::mem::take(&mut self.fresh),
        })
    }

    /// The refusals of so many seconds ago, from and to.
    fn sum(&self, counts: &Counts, from: u64, to: u64) -> u64 {
        let seconds = (from..=to).filter_map(|back| self.second.checked_sub(back));
        let counts = seconds.filter_map(|second| counts.get(slot(second)));
        counts.map(|count| u64::from(*count)).sum()
    }

    fn advance(&mut self, second: u64) {
        let passed = second.saturating_sub(self.second).min(SECONDS);
        for back in 0..passed {
            let slot = slot(second.saturating_sub(back));
            for counts in [&mut self.all, &mut self.blind] {
                if let Some(count) = counts.get_mut(slot) {
                    *count = 0;
                }
            }
        }
        self.second = self.second.max(second);
        if passed == SECONDS {
            self.fresh = 0;
        }
    }
}

fn slot(second: u64) -> usize {
    (second % SECONDS) as usize
}

fn increment(counts: &mut Counts, second: u64, by: u32) {
    if let Some(count) = counts.get_mut(slot(second)) {
        *count = count.saturating_add(by);
    }
}

#[cfg(test)]
mod tests {
    use tidings_core::provider;

    use super::*;

    /// Attempts at 0, 1, 4 and 12 s.
    const PAUSES: [Duration; 3] = [
        Duration::from_secs(1),
        Duration::from_secs(3),
        Duration::from_secs(8),
    ];

    fn lost(window: &mut Window, at: u64, is_blind: bool) -> Option<Loss> {
        window.add(at, 1, is_blind);
        window.loss(&PAUSES)
    }

    /// The time at which a loss is found first, and its description.
    fn first_loss(refusals: impl IntoIterator<Item = (u64, bool)>) -> Option<(u64, Loss)> {
        let mut window = Window::new(1_000);
        let mut refusals = refusals.into_iter();
        refusals.find_map(|(at, blind)| Some((at, lost(&mut window, 1_000 + at, blind)?)))
    }

    #[test]
    fn four_refusals_as_far_apart_as_the_attempts_are_a_loss() {
        let blind = |times: &[u64]| first_loss(times.iter().map(|at| (*at, true)));
        let loss = Loss {
            since: 12,
            refusals: 4,
        };
        assert_eq!(blind(&[0, 1, 4, 12]), Some((12, loss)));
        assert_eq!(blind(&[0, 1, 4]), None, "it was accepted then");
        assert_eq!(blind(&[0, 1, 4, 11]), None, "too early to be the last");
        assert_eq!(blind(&[0, 4, 12]), None, "too few");
        assert_eq!(blind(&[0, 1, 4, 23]), None, "too late");
        // One refusal now and then is retried with success.
        assert_eq!(first_loss((0..100).map(|n| (n * 10, true))), None);
        // An overload is a loss as soon as it lasts as long as the attempts.
        let (at, _) = first_loss((0..100).map(|at| (at, true))).unwrap();
        assert_eq!(at, 12);
    }

    #[test]
    fn where_all_bodies_are_known_they_are_compared_instead() {
        assert_eq!(first_loss((0..100).map(|at| (at, false))), None);
        let mixed = [(0, true), (1, false), (4, false), (12, false)];
        assert!(first_loss(mixed).is_some());
    }

    #[test]
    fn what_was_reported_is_not_counted_again() {
        let mut window = Window::new(0);
        let losses: Vec<_> = (0..60)
            .filter_map(|at| lost(&mut window, at, true))
            .map(|loss| loss.refusals)
            .collect();
        assert_eq!(losses[0], 13);
        assert!(losses[1..].iter().all(|refusals| *refusals == 1));
        assert_eq!(losses.iter().sum::<u64>(), 60);
        // After a quiet time it begins anew.
        for (at, expected) in [(500, None), (501, None), (504, None), (512, Some(4))] {
            let loss = lost(&mut window, at, true);
            assert_eq!(loss.map(|loss| loss.refusals), expected, "{at}");
        }
    }

    #[test]
    fn the_attempts_of_every_provider_fit_into_the_window() {
        for provider in provider::ALL {
            let pauses = provider.retries.unwrap_or_default();
            let span = pauses.iter().sum::<Duration>().as_secs();
            assert!(span + LEEWAY < SECONDS, "{}", provider.name);
        }
    }
}
