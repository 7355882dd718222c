//! The bound of the spool, in bytes. No source can use more than half of it, so that one
//! flooding source cannot starve the rest.

use std::{collections::HashMap, sync::Arc};

#[derive(Clone, Debug)]
pub(super) struct Bound {
    limit: u64,
    taken: u64,
    by_source: HashMap<Arc<str>, u64>,
}

impl Bound {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            taken: 0,
            by_source: HashMap::new(),
        }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Reserves bytes for an entry, unless a limit would be exceeded.
    pub(super) fn admit(&mut self, source: &str, bytes: u64) -> bool {
        let of_source = self.by_source.get(source).copied().unwrap_or_default();
        let fits = self.taken.saturating_add(bytes) <= self.limit
            && of_source.saturating_add(bytes) <= self.limit / 2;
        if fits {
            self.hold(source, bytes);
        }
        fits
    }

    /// Counts the bytes of an existing entry.
    pub(super) fn hold(&mut self, source: &str, bytes: u64) {
        self.taken += bytes;
        match self.by_source.get_mut(source) {
            Some(held) => *held += bytes,
            None => {
                self.by_source.insert(source.into(), bytes);
            }
        }
    }

    /// Whether this source has entries.
    pub(super) fn holds(&self, source: &str) -> bool {
        self.by_source.contains_key(source)
    }

    /// Counts the bytes of an entry without a known source.
    pub(super) fn hold_unowned(&mut self, bytes: u64) {
        self.taken += bytes;
    }

    pub(super) fn release(&mut self, source: &str, bytes: u64) {
        self.taken = self.taken.saturating_sub(bytes);
        if let Some(held) = self.by_source.get_mut(source) {
            *held = held.saturating_sub(bytes);
            if *held == 0 {
                self.by_source.remove(source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_half_of_it_and_all_have_all() {
        let mut bound = Bound::new(100);
        assert!(bound.admit("a", 50));
        assert!(!bound.admit("a", 1), "more than half");
        assert!(bound.admit("b", 30));
        assert!(!bound.admit("c", 21), "more than all");
        assert!(bound.admit("c", 20));
        assert_eq!(bound.taken(), 100);
        bound.release("a", 10);
        assert!(!bound.admit("a", 11));
        assert!(bound.admit("a", 10));
    }

    #[test]
    fn what_is_refused_takes_nothing_and_what_is_released_is_forgotten() {
        let mut bound = Bound::new(100);
        assert!(!bound.admit("a", u64::MAX));
        assert!(bound.admit("a", 7));
        bound.release("a", 7);
        assert_eq!(bound.taken(), 0);
        assert!(bound.by_source.is_empty());
    }
}
