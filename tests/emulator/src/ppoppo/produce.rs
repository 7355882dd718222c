//! Lets what is drawn happen: at the run's rate, or as fast as it is followed.

use super::log::{Content, Log};
use crate::pace::Pace;

/// How far the log may run ahead of whoever follows it furthest. It bounds nothing (all
/// is kept for replays): it keeps a stream live instead of one long replay.
const AHEAD: usize = 2000;

const AT_ONCE: usize = 25;

/// Returns when everything has happened, or the run is to end early, and some stream has
/// passed it. `tell` is called with each entry before any stream can send it.
pub(crate) async fn produce<T: Content>(
    mut drawn: impl Iterator<Item = T>,
    log: &Log<T>,
    pace: &Pace,
    tell: impl Fn(&T),
) {
    let mut happened = 0_usize;
    log.wait_followed().await;
    loop {
        // Drawn only when they happen, because that is their time.
        pace.take(AT_ONCE).await;
        if pace.is_over() {
            break;
        }
        let new: Vec<_> = drawn.by_ref().take(AT_ONCE).collect();
        if new.is_empty() {
            break;
        }
        happened += new.len();
        new.iter().for_each(&tell);
        log.append(new);
        log.wait_passed(happened.saturating_sub(AHEAD)).await;
    }
    log.wait_passed(happened).await;
}
