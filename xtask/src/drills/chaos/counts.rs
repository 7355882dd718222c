//! The counters of the workers, which follow one another.

use anyhow::Result;
use std::collections::BTreeMap;
use tidings_harness::metrics;
use tidings_harness::worker::Worker;

/// The worker's label for a request that its spool has stored.
pub(super) const STORED: &str = "stored";
/// The worker's label for a request that its spool could not store.
pub(super) const FAILED: &str = "failed";

/// A counter of the worker's, by one of its labels.
#[derive(Debug)]
pub(super) struct Counts {
    name: &'static str,
    label: &'static str,
    all: BTreeMap<String, u64>,
    /// The worker that was asked last, and what it had counted by then.
    last: (u32, BTreeMap<String, u64>),
}

impl Counts {
    pub(super) fn of(name: &'static str, label: &'static str) -> Self {
        Self {
            name,
            label,
            all: BTreeMap::new(),
            last: (0, BTreeMap::new()),
        }
    }

    /// Reads the counter, also before the end of a worker, because the next one counts
    /// from zero.
    pub(super) fn ask(&mut self, worker: &Worker) -> Result<()> {
        let now = metrics::counter(worker.admin, self.name, self.label)?;
        self.add(worker.id(), now);
        Ok(())
    }

    fn add(&mut self, worker: u32, now: BTreeMap<String, u64>) {
        let (before, last) = &self.last;
        for (word, &value) in &now {
            let last = last.get(word).copied().filter(|_| *before == worker);
            let more = value.saturating_sub(last.unwrap_or_default());
            *self.all.entry(word.clone()).or_default() += more;
        }
        self.last = (worker, now);
    }

    pub(super) fn get(&self, word: &str) -> u64 {
        self.all.get(word).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_counts_from_nought() {
        let mut counts = Counts::of("name", "label");
        for (worker, value) in [(1, 5), (1, 5), (1, 7), (2, 7), (2, 9), (3, 1)] {
            counts.add(worker, BTreeMap::from([("word".to_owned(), value)]));
        }
        assert_eq!(counts.get("word"), 7 + 9 + 1);
        assert_eq!(counts.get("other"), 0);
    }
}
