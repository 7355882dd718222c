//! A bounded map of what happened lately.

use std::{collections::HashMap, hash::Hash, time::Duration};

use tokio::time::Instant;

/// Two generations. An entry that is touched moves to the younger one; when that is full, or
/// old enough, it becomes the older one, and the entries of the older one are forgotten.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// The time at which the younger one began.
    since: Option<Instant>,
    most: usize,
    keep: Duration,
}

impl<K: Hash + Eq, V> Recent<K, V> {
    /// Holds at most `most` entries. An entry that is not touched is kept for `keep`, and at
    /// most twice as long.
    pub(super) fn new(most: usize, keep: Duration) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            since: None,
            most,
            keep,
        }
    }

    /// Forgets everything if nothing was added for long enough.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.since.is_some_and(|since| now - since >= self.keep * 2) {
            self.young.clear();
            self.old.clear();
            self.since = None;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    /// Adds an entry that is not there; returns those that had to go for want of room.
    pub(super) fn insert(&mut self, now: Instant, key: K, value: V) -> HashMap<K, V> {
        let mut gone = HashMap::new();
        let age = self.since.map_or(Duration::ZERO, |since| now - since);
        let is_full = self.young.len() >= self.most / 2;
        if is_full || age >= self.keep {
            let young = std::mem::take(&mut self.young);
            let old = std::mem::replace(&mut self.old, young);
            if age >= self.keep * 2 {
                self.old.clear();
            }
            if is_full && age < self.keep {
                gone = old;
            }
            self.since = None;
        }
        self.since.get_or_insert(now);
        self.young.insert(key, value);
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Duration = Duration::from_secs(10);

    #[test]
    fn it_is_bounded_and_says_what_had_to_go() {
        let mut recent = Recent::new(100, KEEP);
        let now = Instant::now();
        let mut gone = 0;
        for number in 0..1_000 {
            gone += recent.insert(now, number, ()).len();
            assert!(recent.len() <= 100);
        }
        assert_eq!(recent.len() + gone, 1_000);
        assert!(recent.remove(&999).is_some());
        assert!(recent.remove(&0).is_none());
    }

    #[test]
    fn an_entry_is_kept_for_its_time_and_not_for_ever() {
        let start = Instant::now();
        let mut recent = Recent::new(100, KEEP);
        recent.insert(start, "a", ());
        for second in 1..30 {
            let at = start + Duration::from_secs(second);
            let gone = recent.insert(at, "other", ());
            assert!(gone.is_empty(), "that it is old is no want of room");
            let is_there = recent.old.contains_key("a") || recent.young.contains_key("a");
            assert!(is_there || second >= 10, "{second}");
            assert!(!is_there || second < 21, "{second}");
        }
        recent.expire(start + KEEP * 3);
        assert!(recent.len() > 0);
        recent.expire(start + KEEP * 5);
        assert_eq!(recent.len(), 0);
    }
}
