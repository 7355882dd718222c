//! What is put and deleted. A commit returns after fsync.

use std::collections::BTreeSet;

use super::{
    SpoolFile,
    format::{NAMES, REQUESTS, begin, renew_format},
    guard::guarded,
};
use crate::{entry::origin, error::SpoolError};

/// What one transaction changes.
#[derive(Debug, Default)]
pub struct Change {
    pub puts: Vec<(u64, Vec<u8>)>,
    pub deletes: Vec<u64>,
    pub names: Option<BTreeSet<String>>,
}

/// What was deleted: its source, unless it was damaged, and its size.
pub type Deleted = (Option<String>, u64);

impl SpoolFile {
    /// Returns after fsync, with what was deleted.
    pub fn apply(&self, change: &Change) -> Result<Vec<Deleted>, SpoolError> {
        guarded(&self.path, || self.write(change))
    }

    fn write(&self, change: &Change) -> Result<Vec<Deleted>, SpoolError> {
        let mut deleted = Vec::new();
        let transaction = begin(self.database()?).map_err(|e| self.failed(e))?;
        {
            let mut requests = transaction
                .open_table(REQUESTS)
                .map_err(|e| self.failed(e))?;
            for (key, value) in &change.puts {
                let inserted = requests.insert(key, value.as_slice());
                inserted.map_err(|e| self.failed(e))?;
            }
            if !change.puts.is_empty() {
                renew_format(&transaction).map_err(|e| self.failed(e))?;
            }
            for key in &change.deletes {
                let removed = requests.remove(key).map_err(|e| self.failed(e))?;
                if let Some(removed) = removed {
                    let bytes = removed.value();
                    let source = origin(bytes).map(|(_, source)| source.to_owned());
                    deleted.push((source, bytes.len() as u64));
                }
            }
            if let Some(names) = &change.names {
                let mut table = transaction.open_table(NAMES).map_err(|e| self.failed(e))?;
                table.retain(|_, ()| false).map_err(|e| self.failed(e))?;
                for name in names {
                    table
                        .insert(name.as_str(), ())
                        .map_err(|e| self.failed(e))?;
                }
            }
        }
        transaction.commit().map_err(|e| self.failed(e))?;
        Ok(deleted)
    }

    /// Deletes what lies at `key` and after it. Where there is nothing, nothing is
    /// written, for the disk may be full.
    pub fn cut(&self, key: u64) -> Result<(), SpoolError> {
        let mut found = false;
        self.scan(key.checked_sub(1), |_, _| {
            found = true;
            false
        })?;
        if !found {
            return Ok(());
        }
        guarded(&self.path, || {
            let transaction = begin(self.database()?).map_err(|e| self.failed(e))?;
            {
                let requests = transaction.open_table(REQUESTS);
                let mut requests = requests.map_err(|e| self.failed(e))?;
                let cut = requests.retain_in(key.., |_, _| false);
                cut.map_err(|e| self.failed(e))?;
            }
            transaction.commit().map_err(|e| self.failed(e))
        })
    }
}
