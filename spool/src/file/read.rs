//! Reading: entries in batches, one by one, or the names of the sources. A damaged entry
//! is skipped and stays where it is.

use std::collections::BTreeSet;

use redb::{Database, ReadableDatabase, ReadableTable};

use super::{
    SpoolFile,
    format::{NAMES, REQUESTS},
    guard::guarded,
};
use crate::{
    entry::{Entry, origin},
    error::SpoolError,
};

/// The result of one read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The intact entries with their keys, in order.
    pub entries: Vec<(u64, Entry)>,
    /// The keys of damaged entries.
    pub damaged: Vec<u64>,
    /// The last key that was examined; `None` if there is none.
    pub last: Option<u64>,
}

/// Limits of one read, which examines at least one entry if there is one.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    pub requests: usize,
    pub bytes: usize,
}

impl SpoolFile {
    /// The oldest entries whose keys are greater than `after`, and less than `end`.
    pub fn read(
        &self,
        after: Option<u64>,
        end: u64,
        limits: ReadLimits,
    ) -> Result<Batch, SpoolError> {
        let mut batch = Batch::default();
        let (mut requests, mut bytes) = (0, 0);
        self.scan(after, |key, value| {
            if key >= end {
                return false;
            }
            requests += 1;
            bytes += value.len();
            let fits = requests <= limits.requests && bytes <= limits.bytes;
            if !fits && batch.last.is_some() {
                return false;
            }
            batch.last = Some(key);
            match Entry::decode(value) {
                Some(entry) => batch.entries.push((key, entry)),
                None => batch.damaged.push(key),
            }
            true
        })?;
        Ok(batch)
    }

    /// Passes every entry after a key to `each`, in order, until `each` stops.
    pub fn scan(
        &self,
        after: Option<u64>,
        each: impl FnMut(u64, &[u8]) -> bool,
    ) -> Result<(), SpoolError> {
        guarded(&self.path, || {
            walk(self.database()?, after, each).map_err(|error| self.failed(error))
        })
    }

    /// Key and time of the oldest intact entry from a key on.
    pub fn oldest(&self, from: u64) -> Result<Option<(u64, u64)>, SpoolError> {
        let mut oldest = None;
        self.scan(from.checked_sub(1), |key, value| {
            oldest = origin(value).map(|(received, _)| (key, received));
            oldest.is_none()
        })?;
        Ok(oldest)
    }

    pub fn names(&self) -> Result<BTreeSet<String>, SpoolError> {
        guarded(&self.path, || {
            listed(self.database()?).map_err(|error| self.failed(error))
        })
    }
}

pub(super) fn walk(
    database: &Database,
    after: Option<u64>,
    mut each: impl FnMut(u64, &[u8]) -> bool,
) -> Result<(), redb::Error> {
    let requests = database.begin_read()?.open_table(REQUESTS)?;
    let from = match after {
        Some(u64::MAX) => return Ok(()),
        Some(key) => key + 1,
        None => 0,
    };
    for row in requests.range(from..)? {
        let (key, value) = row?;
        if !each(key.value(), value.value()) {
            break;
        }
    }
    Ok(())
}

pub(super) fn listed(database: &Database) -> Result<BTreeSet<String>, redb::Error> {
    let names = database.begin_read()?.open_table(NAMES)?;
    let mut read = BTreeSet::new();
    for row in names.iter()? {
        read.insert(row?.0.value().to_owned());
    }
    Ok(read)
}
