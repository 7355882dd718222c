//! What is read: by batches, one entry after the other, or the names. An entry that is
//! damaged is stepped over, and stays where it is.

use std::collections::BTreeSet;

use redb::{ReadableDatabase, ReadableTable};

use super::{
    SpoolFile,
    format::{NAMES, REQUESTS},
    guard::guarded,
};
use crate::{
    entry::{Entry, origin},
    error::SpoolError,
};

/// What one read found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Those that are whole, with their keys, in order.
    pub entries: Vec<(u64, Entry)>,
    /// The keys of those that are not.
    pub damaged: Vec<u64>,
    /// The last key that was looked at; `None` where there is nothing.
    pub last: Option<u64>,
}

/// One read's limits; it looks at one entry at least, if there is one.
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

    /// Shows every entry after a key, in order, until `each` has seen enough.
    pub fn scan(
        &self,
        after: Option<u64>,
        each: impl FnMut(u64, &[u8]) -> bool,
    ) -> Result<(), SpoolError> {
        guarded(&self.path, || self.walk(after, each))
    }

    fn walk(
        &self,
        after: Option<u64>,
        mut each: impl FnMut(u64, &[u8]) -> bool,
    ) -> Result<(), SpoolError> {
        let transaction = self.database()?.begin_read().map_err(|e| self.failed(e))?;
        let requests = transaction
            .open_table(REQUESTS)
            .map_err(|e| self.failed(e))?;
        let from = match after {
            Some(u64::MAX) => return Ok(()),
            Some(key) => key + 1,
            None => 0,
        };
        for row in requests.range(from..).map_err(|e| self.failed(e))? {
            let (key, value) = row.map_err(|e| self.failed(e))?;
            if !each(key.value(), value.value()) {
                break;
            }
        }
        Ok(())
    }

    /// The oldest whole entry of those from a key on: its key, and when it came.
    pub fn oldest(&self, from: u64) -> Result<Option<(u64, u64)>, SpoolError> {
        let mut oldest = None;
        self.scan(from.checked_sub(1), |key, value| {
            oldest = origin(value).map(|(received, _)| (key, received));
            oldest.is_none()
        })?;
        Ok(oldest)
    }

    pub fn names(&self) -> Result<BTreeSet<String>, SpoolError> {
        guarded(&self.path, || self.listed())
    }

    fn listed(&self) -> Result<BTreeSet<String>, SpoolError> {
        let transaction = self.database()?.begin_read().map_err(|e| self.failed(e))?;
        let names = transaction.open_table(NAMES).map_err(|e| self.failed(e))?;
        let mut read = BTreeSet::new();
        for row in names.iter().map_err(|e| self.failed(e))? {
            let (name, _) = row.map_err(|e| self.failed(e))?;
            read.insert(name.value().to_owned());
        }
        Ok(read)
    }
}
