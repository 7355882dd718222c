//! RESOURCE_EXHAUSTED: a hint how long to stay away, and whether callers do.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tonic::{Status, metadata::MetadataMap};

use super::ending::Hint;
use crate::faults::{Faults, Part};

/// Longer than the backoff of a caller that ignores the hint, and no whole number of seconds.
const STAY_AWAY: Duration = Duration::from_millis(1500);

/// The contract's name, for whole seconds.
const SECONDS: &str = "retry-after";

/// The name on the page of errors.
const MILLISECONDS: &str = "retry-after-ms";

#[derive(Debug)]
pub(super) struct Quota {
    over_at: Mutex<Option<Instant>>,
    faults: Arc<Faults>,
}

impl Quota {
    pub(super) fn new(faults: Arc<Faults>) -> Self {
        Self {
            over_at: Mutex::default(),
            faults,
        }
    }

    /// From now on, callers are to stay away.
    pub(super) fn exhaust(&self, hint: Hint) -> Status {
        let wait = match hint {
            Hint::Seconds => Duration::from_secs(seconds(STAY_AWAY)),
            Hint::Trailers | Hint::Message => STAY_AWAY,
        };
        *self.over_at() = Some(Instant::now() + wait);
        status(wait, hint)
    }

    /// The refusal of a call that comes too early.
    pub(super) fn refuse(&self) -> Option<Status> {
        let over_at = *self.over_at();
        let left = over_at?.checked_duration_since(Instant::now())?;
        if left.is_zero() {
            return None;
        }
        self.faults.happened(Part::TooEarly);
        Some(status(left, Hint::Seconds))
    }

    fn over_at(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.over_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn status(wait: Duration, hint: Hint) -> Status {
    let milliseconds = wait.as_millis();
    match hint {
        Hint::Seconds => with_trailer(SECONDS, &seconds(wait).to_string()),
        Hint::Trailers => with_trailer(MILLISECONDS, &milliseconds.to_string()),
        Hint::Message => {
            Status::resource_exhausted(format!("too many calls, {MILLISECONDS}: {milliseconds}"))
        }
    }
}

/// Whole seconds, rounded up, so that a caller that waits as long is not too early.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

fn with_trailer(name: &'static str, value: &str) -> Status {
    let mut trailers = MetadataMap::new();
    if let Ok(value) = value.parse() {
        trailers.insert(name, value);
    }
    Status::with_metadata(tonic::Code::ResourceExhausted, "too many calls", trailers)
}
