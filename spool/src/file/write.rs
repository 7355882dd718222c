//! Puts and deletes entries. A commit returns after the fsync.

use std::collections::BTreeSet;

use redb::Database;

use super::{
    SpoolFile,
    format::{NAMES, REQUESTS, begin, renew_format},
    guard::guarded,
};
use crate::{entry::origin, error::SpoolError};

/// The changes of one transaction.
#[derive(Debug, Default)]
pub struct Change {
    pub puts: Vec<(u64, Vec<u8>)>,
    pub deletes: Vec<u64>,
    pub names: Option<BTreeSet<String>>,
}

/// A deleted entry: its source, unless the entry was damaged, and its size.
pub type Deleted = (Option<String>, u64);

impl SpoolFile {
    /// Applies the changes, and returns the deleted entries after the fsync.
    pub fn apply(&self, change: &Change) -> Result<Vec<Deleted>, SpoolError> {
        let applied = guarded(&self.path, || {
            write(self.database()?, change).map_err(|error| self.failed(error))
        });
        self.measure();
        applied
    }

    /// Deletes the entries from `key` on. If there is no entry, nothing is written,
    /// because the disk may be full.
    pub fn cut(&self, key: u64) -> Result<(), SpoolError> {
        let mut found = false;
        self.scan(key.checked_sub(1), |_, _| {
            found = true;
            false
        })?;
        if !found {
            return Ok(());
        }
        let cut = guarded(&self.path, || {
            let transaction = begin(self.database()?).map_err(|e| self.failed(e))?;
            {
                let requests = transaction.open_table(REQUESTS);
                let mut requests = requests.map_err(|e| self.failed(e))?;
                let cut = requests.retain_in(key.., |_, _| false);
                cut.map_err(|e| self.failed(e))?;
            }
            transaction.commit().map_err(|e| self.failed(e))
        });
        self.measure();
        cut
    }
}

pub(super) fn write(database: &Database, change: &Change) -> Result<Vec<Deleted>, redb::Error> {
    let mut deleted = Vec::new();
    let transaction = begin(database)?;
    {
        let mut requests = transaction.open_table(REQUESTS)?;
        for (key, value) in &change.puts {
            requests.insert(key, value.as_slice())?;
        }
        if !change.puts.is_empty() {
            renew_format(&transaction)?;
        }
        for key in &change.deletes {
            if let Some(removed) = requests.remove(key)? {
                let bytes = removed.value();
                let source = origin(bytes).map(|(_, source)| source.to_owned());
                deleted.push((source, bytes.len() as u64));
            }
        }
        if let Some(names) = &change.names {
            let mut table = transaction.open_table(NAMES)?;
            table.retain(|_, ()| false)?;
            for name in names {
                table.insert(name.as_str(), ())?;
            }
        }
    }
    transaction.commit()?;
    Ok(deleted)
}
