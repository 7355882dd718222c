//! The leases of streams: which ones this worker holds, and when it asks again.
//!
//! Postgres keeps the leases (`tidings.hold_streams`), by its own clock. Events that were
//! read under a lease are written with its epoch, and refused once the lease has passed
//! to another worker. Correctness therefore does not depend on timing here. Good timing
//! saves work: two workers do not read the same stream, and no stream stands still for
//! long.

use std::{collections::HashMap, sync::Arc, time::Duration};

use metrics::gauge;
use uuid::Uuid;

use crate::process::metric;

/// Number of renewals within the time of a lease.
const RENEWALS: u32 = 3;
/// Pause after another worker's lease should have expired, to allow for rounding.
const GRACE: Duration = Duration::from_millis(20);
/// Least time between two queries.
const LEAST_PAUSE: Duration = Duration::from_millis(100);

/// Which worker holds the lease of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    Ours {
        epoch: i64,
    },
    /// Another worker, for this time unless it renews its lease.
    Others {
        left: Duration,
    },
}

/// The leases of this worker, as far as it knows.
#[derive(Debug)]
pub(crate) struct Leases {
    /// UUID of this process, which distinguishes it from others on the same host.
    pub(crate) holder: Uuid,
    pub(crate) time: Duration,
    known: HashMap<Arc<str>, Holding>,
}

impl Leases {
    pub(crate) fn new(time: Duration) -> Self {
        Self {
            holder: Uuid::new_v4(),
            time,
            known: HashMap::new(),
        }
    }

    /// The epoch under which this worker may follow a source.
    pub(crate) fn epoch(&self, source: &str) -> Option<i64> {
        match self.known.get(source) {
            Some(Holding::Ours { epoch }) => Some(*epoch),
            _ => None,
        }
    }

    /// Adopts the answer of Postgres, and returns when to ask again.
    pub(crate) fn learn(&mut self, known: HashMap<Arc<str>, Holding>) -> Duration {
        for source in self.known.keys().filter(|name| !known.contains_key(*name)) {
            gauge!(metric::STREAM_LEASE, "source" => source.to_string()).set(0.0);
        }
        for (source, holding) in &known {
            let held = matches!(holding, Holding::Ours { .. });
            gauge!(metric::STREAM_LEASE, "source" => source.to_string())
                .set(f64::from(u8::from(held)));
        }
        self.known = known;
        self.pause()
    }

    /// Time until the worker's own leases have to be renewed, or another worker's lease
    /// expires.
    fn pause(&self) -> Duration {
        let free = self.known.values().filter_map(|holding| match holding {
            Holding::Ours { .. } => None,
            Holding::Others { left } => Some(*left + GRACE),
        });
        free.fold(self.renewal(), Duration::min).max(LEAST_PAUSE)
    }

    pub(crate) fn renewal(&self) -> Duration {
        self.time / RENEWALS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(9);

    fn learnt<const N: usize>(known: [(&str, Holding); N]) -> (Leases, Duration) {
        let mut leases = Leases::new(TIME);
        let known = known.map(|(name, holding)| (Arc::from(name), holding));
        let pause = leases.learn(HashMap::from(known));
        (leases, pause)
    }

    #[test]
    fn only_what_is_held_has_an_epoch() {
        let left = Duration::from_secs(1);
        let (mut leases, _) = learnt([
            ("ours", Holding::Ours { epoch: 7 }),
            ("theirs", Holding::Others { left }),
        ]);
        assert_eq!(leases.epoch("ours"), Some(7));
        assert_eq!(leases.epoch("theirs"), None);
        assert_eq!(leases.epoch("unknown"), None);
        leases.learn(HashMap::new());
        assert_eq!(leases.epoch("ours"), None);
    }

    #[test]
    fn it_asks_in_time_to_renew_and_as_soon_as_another_lease_is_over() {
        assert_eq!(learnt([]).1, TIME / 3);
        assert_eq!(learnt([("a", Holding::Ours { epoch: 1 })]).1, TIME / 3);
        let soon = Duration::from_secs(1);
        let others = |left| Holding::Others { left };
        assert_eq!(
            learnt([("a", others(soon)), ("b", others(TIME))]).1,
            soon + GRACE
        );
        assert_eq!(learnt([("a", others(TIME))]).1, TIME / 3);
        assert_eq!(learnt([("a", others(Duration::ZERO))]).1, LEAST_PAUSE);
    }
}
