//! The pace of questions: a rate, and a pause that a failure or the server asks for.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Greatest number of questions in a second, because the provider's rate limit is shared with
/// all that the app does.
const PER_SECOND: u32 = 10;

#[derive(Debug, Default)]
pub(super) struct Pace {
    /// No question is asked before this time.
    next: Option<Instant>,
}

impl Pace {
    /// Waits until the next question may be asked.
    pub(super) async fn turn(&mut self) {
        if let Some(next) = self.next {
            sleep_until(next).await;
        }
        self.next = Some(Instant::now() + Duration::from_secs(1) / PER_SECOND);
    }

    /// Puts the next question off for at least this long.
    pub(super) fn pause(&mut self, pause: Duration) {
        self.next = self.next.max(Some(Instant::now() + pause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn questions_keep_to_the_rate_and_to_a_pause() {
        let (mut pace, started) = (Pace::default(), Instant::now());
        for _ in 0..=2 * PER_SECOND {
            pace.turn().await;
        }
        assert_eq!(started.elapsed(), Duration::from_secs(2));
        pace.pause(Duration::from_secs(7));
        pace.pause(Duration::from_secs(1));
        pace.turn().await;
        assert_eq!(started.elapsed(), Duration::from_secs(9));
    }

    #[test]
    fn the_documents_state_the_rate() {
        let words = format!("at most {PER_SECOND} requests a second");
        crate::testing::documents::states("docs/outages.md", &words);
    }
}
