//! One line of the ledger.

use std::collections::HashMap;

use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    pub(crate) source: String,
    pub(crate) key: String,
    pub(crate) copies: u32,
    pub(crate) emissions: u32,
    pub(crate) acknowledged: u32,
    pub(crate) timeless: bool,
}

/// Adds up the timeless lines that share a key, where the first of them stands.
pub(super) fn merge(lines: impl Iterator<Item = Line>) -> Vec<Line> {
    let mut merged: Vec<Line> = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for line in lines {
        if line.timeless {
            let earlier = seen.get(&line.key).and_then(|&at| merged.get_mut(at));
            if let Some(earlier) = earlier {
                earlier.copies += line.copies;
                earlier.emissions += line.emissions;
                earlier.acknowledged += line.acknowledged;
                continue;
            }
            seen.insert(line.key.clone(), merged.len());
        }
        merged.push(line);
    }
    merged
}
