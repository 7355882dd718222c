//! Gaps of a stream: where the provider leaves out events.
//!
//! - A gap is written to Postgres before any event that comes after it. In the same
//!   transaction the stream cursor becomes a moment before the gap's end, so that the next
//!   connection goes on from there, even if no event has come until then. Otherwise a quiet
//!   stream would begin at the live edge again with each connection, and lose what happened
//!   between two of them.
//! - The moment is a little earlier than the worker's clock says: the provider's clock may
//!   be behind, and the moment when a stream begins is the provider's. Events that come twice
//!   for that are stored once.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use strum::EnumIter;
use tidings_core::{Ulid, wire::Start};

/// By how much the worker's clock may be ahead of the provider's.
const CLOCKS: Duration = Duration::from_secs(60);

/// Why the provider leaves out events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter)]
pub(crate) enum Cause {
    /// The cursor is older than what the provider replays.
    CursorExpired,
    /// There was no cursor, and the provider sends nothing from before.
    StartedAtLiveEdge,
}

impl Cause {
    /// Its word in `tidings.gap`, in the metric and in the log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::CursorExpired => "cursor_expired",
            Self::StartedAtLiveEdge => "started_at_live_edge",
        }
    }
}

/// A gap that is to be written to Postgres.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) cause: Cause,
    /// The provider's words.
    pub(crate) detail: Option<String>,
    /// The next stream cursor; `None` leaves it as it is.
    pub(crate) resume_after: Option<String>,
}

impl Gap {
    /// The gap that ends now, in a stream that begins so without a cursor.
    pub(crate) fn now(cause: Cause, detail: Option<String>, start: Start) -> Self {
        Self {
            cause,
            detail,
            resume_after: match start {
                Start::LiveEdge => moment(SystemTime::now()),
                Start::Oldest => None,
            },
        }
    }
}

/// The cursor of a moment before which the provider has certainly begun.
fn moment(now: SystemTime) -> Option<String> {
    let since = now.duration_since(UNIX_EPOCH).ok()?;
    let ms = u64::try_from(since.saturating_sub(CLOCKS).as_millis()).ok()?;
    Some(Ulid::at(ms)?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_the_smallest_cursor_of_a_minute_ago() {
        let at = |ms| UNIX_EPOCH + Duration::from_millis(ms);
        let minute_later = at(1_800_000_060_000);
        let cursor = Ulid::at(1_800_000_000_000).unwrap().to_string();
        assert_eq!(moment(minute_later), Some(cursor));
        assert_eq!(moment(at(7)), Some(Ulid::MIN.to_string()));
        assert_eq!(moment(UNIX_EPOCH - Duration::from_secs(1)), None);
    }

    #[test]
    fn where_cursors_are_no_moments_the_cursor_stays() {
        let gap = |start| Gap::now(Cause::CursorExpired, None, start).resume_after;
        assert_eq!(gap(Start::Oldest), None);
        assert!(gap(Start::LiveEdge).is_some());
    }
}
