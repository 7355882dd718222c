//! Lets the events happen: at the run's rate, or as fast as they are followed.

use super::{log::Log, story::Stories};
use crate::pace::Pace;

/// How far the log may run ahead of whoever follows it furthest. It bounds nothing (all
/// is kept for replays): it keeps a stream live instead of one long replay.
const AHEAD: usize = 2000;

const AT_ONCE: usize = 25;

/// Returns when every event has happened, or no more are to, and some stream has passed
/// them.
pub(crate) async fn produce(mut stories: Stories, log: &Log, pace: &Pace) {
    let mut happened = 0_usize;
    loop {
        let events: Vec<_> = stories.by_ref().take(AT_ONCE).collect();
        if events.is_empty() || pace.is_over() {
            break;
        }
        pace.take(events.len()).await;
        happened += events.len();
        log.append(events);
        log.wait_passed(happened.saturating_sub(AHEAD)).await;
    }
    log.wait_passed(happened).await;
}
