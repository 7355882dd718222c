//! Lines of the log that strangers could repeat at will.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Least time between two such lines.
const EVERY: Duration = Duration::from_secs(60);

/// Lets a line pass once a minute. The first one passes at once, and each says how many were
/// left out before it.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    suppressed: u64,
}

impl Seldom {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(State {
            last: None,
            suppressed: 0,
        }))
    }

    /// If a line may be logged now, the number of those that were left out before it.
    pub(crate) fn pass(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| last.elapsed() < EVERY) {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(Instant::now());
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_passes_in_a_minute_and_says_how_many_did_not() {
        let seldom = Seldom::new();
        assert_eq!(seldom.pass(), Some(0));
        for _ in 0..1_000 {
            assert_eq!(seldom.pass(), None);
        }
        advance(EVERY).await;
        assert_eq!(seldom.pass(), Some(1_000));
        advance(EVERY).await;
        assert_eq!(seldom.pass(), Some(0));
    }
}
