//! Lines of libraries: the first one of each place in the code in each period, and at the end
//! of the period one line that counts the others.
//!
//! Libraries log what their peers do, for some of them with a warning for each frame, so that
//! whoever connects could fill the log.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tracing::{Event, Level, Metadata, Subscriber, callsite::Identifier, warn};
use tracing_subscriber::layer::{Context, Filter};

/// Period in which a place in the code has one line, and one that counts the others.
pub(super) const EVERY: Duration = Duration::from_secs(60);

/// The places that have had their line in this period. There are only so many places, which
/// bounds the memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Throttle(Arc<Mutex<HashMap<Identifier, Seen>>>);

#[derive(Debug)]
struct Seen {
    metadata: &'static Metadata<'static>,
    suppressed: u64,
}

impl Throttle {
    fn admits(&self, metadata: &'static Metadata<'static>) -> bool {
        // Lines below are there because somebody asked for them.
        if *metadata.level() > Level::INFO || is_own(metadata) {
            return true;
        }
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = seen.get_mut(&metadata.callsite()) {
            seen.suppressed += 1;
            return false;
        }
        let first = Seen {
            metadata,
            suppressed: 0,
        };
        seen.insert(metadata.callsite(), first);
        true
    }

    /// Ends the period: logs how many lines were left out.
    pub(super) fn summarize(&self) {
        let seen = {
            let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *seen)
        };
        for seen in seen.into_values().filter(|seen| seen.suppressed > 0) {
            let (target, line) = (seen.metadata.target(), seen.metadata.line());
            let suppressed = seen.suppressed;
            warn!(
                library = target,
                line, suppressed, "more such lines were left out"
            );
        }
    }
}

/// Returns whether it is a line of the worker's own code, which bounds its lines where they are made.
fn is_own(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("tidings_worker")
}

impl<S: Subscriber> Filter<S> for Throttle {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.admits(event.metadata())
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::{Layer, layer::SubscriberExt, registry};

    use super::*;
    use crate::testing::{Log, listen};

    #[test]
    fn a_library_has_one_line_of_a_place_and_one_that_counts_the_others() {
        let log = Log::default();
        let throttle = Throttle::default();
        let to = log.clone();
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(move || to.clone())
            .with_filter(throttle.clone());
        let _listening = listen(registry().with(lines));
        for round in 1..=2 {
            for _ in 0..1_000 {
                warn!(target: "h2::proto", "recv PING ack that we never sent");
                tracing::error!(target: "h2::proto", "another place");
                tracing::debug!(target: "h2::proto", "asked for");
                warn!("one of ours");
            }
            throttle.summarize();
            let count = |words: &str| log.text().matches(words).count();
            assert_eq!(count("recv PING"), round);
            assert_eq!(count("another place"), round);
            assert_eq!(count("asked for"), round * 1_000);
            assert_eq!(count("one of ours"), round * 1_000);
            assert_eq!(count("suppressed=999"), round * 2);
        }
        throttle.summarize();
        assert_eq!(log.text().matches("suppressed").count(), 4);
    }
}
