//! The send requests that were asked about, so that they are not asked about again.

use std::collections::HashSet;

/// Limit on the ids that are kept. Beyond it a request is asked about again, which changes
/// nothing.
const IDS: usize = 100_000;

#[derive(Debug, Default)]
pub(crate) struct Known(HashSet<String>);

impl Known {
    pub(super) fn has(&self, id: &str) -> bool {
        self.0.contains(id)
    }

    pub(super) fn add(&mut self, id: &str) {
        if self.0.len() < IDS {
            self.0.insert(id.to_owned());
        }
    }

    pub(super) fn forget(&mut self) {
        self.0 = HashSet::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_kept_as_there_is_room() {
        let mut known = Known::default();
        for id in 0..=IDS {
            known.add(&id.to_string());
        }
        assert!(known.has("0") && !known.has(&IDS.to_string()));
        known.forget();
        assert!(!known.has("0"));
    }
}
