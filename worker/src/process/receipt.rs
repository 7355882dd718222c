//! Receipt ids: one for each arrival of a request, with the time of its arrival.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::{NoContext, Timestamp, Uuid};

/// A new receipt id, a UUID of version 7.
///
/// Its time is what the clock shows now. [`Uuid::now_v7`] would never go back behind an id that
/// it has given before, so that a single wrong reading of the clock would last until the
/// process ends.
pub(crate) fn id() -> Uuid {
    at(SystemTime::now())
}

fn at(now: SystemTime) -> Uuid {
    // A clock before 1970 shows nothing of use.
    let since: Duration = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    Uuid::new_v7(Timestamp::from_unix(
        NoContext,
        since.as_secs(),
        since.subsec_nanos(),
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_wrong_clock_is_wrong_for_one_id_only() {
        let right = UNIX_EPOCH + Duration::from_millis(1_800_000_000_123);
        let hour = Duration::from_secs(3600);
        for now in [right, right + hour, right, right - hour, right] {
            let (seconds, nanos) = at(now).get_timestamp().unwrap().to_unix();
            assert_eq!(UNIX_EPOCH + Duration::new(seconds, nanos), now);
        }
        at(UNIX_EPOCH - hour);
    }

    #[test]
    fn ids_of_one_moment_differ() {
        let ids: HashSet<_> = (0..100_000).map(|_| at(UNIX_EPOCH)).collect();
        assert_eq!(ids.len(), 100_000);
    }
}
