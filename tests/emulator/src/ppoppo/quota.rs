//! RESOURCE_EXHAUSTED: a hint how long to stay away, and whether callers do.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tonic::{Status, metadata::MetadataMap};

use super::ending::Hint;
use crate::faults::{Faults, Part};

/// Longer than a caller would wait who backs off without having read it.
const STAY_AWAY: Duration = Duration::from_millis(1500);

const NAME: &str = "retry-after-ms";

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
        *self.over_at() = Some(Instant::now() + STAY_AWAY);
        status(STAY_AWAY, hint)
    }

    /// The refusal of a call that comes too early.
    pub(super) fn refuse(&self) -> Option<Status> {
        let over_at = *self.over_at();
        let left = over_at?.checked_duration_since(Instant::now())?;
        if left.is_zero() {
            return None;
        }
        self.faults.happened(Part::TooEarly);
        Some(status(left, Hint::Trailers))
    }

    fn over_at(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.over_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn status(wait: Duration, hint: Hint) -> Status {
    let milliseconds = wait.as_millis();
    match hint {
        Hint::Trailers => {
            let mut trailers = MetadataMap::new();
            if let Ok(value) = milliseconds.to_string().parse() {
                trailers.insert(NAME, value);
            }
            Status::with_metadata(tonic::Code::ResourceExhausted, "too many calls", trailers)
        }
        Hint::Message => {
            Status::resource_exhausted(format!("too many calls, {NAME}: {milliseconds}"))
        }
    }
}
