//! The file in its place: the path leads to the open file, so that the next process finds
//! what this one has acknowledged. If somebody removes, renames or replaces the file or its
//! folder, the open file still has the data, and it is written to a new file at the path.

#[cfg(test)]
mod tests;

use std::fs::File;

use redb::Database;

use super::{
    SpoolFile, folder,
    format::{Unfinished, load},
    guard::{guarded, let_go},
    handle,
    read::{listed, walk},
    write::{Change, write},
};
use crate::{error::SpoolError, place::Identity, reserve::Reserve};

/// Limit on the bytes of one transaction while entries are copied.
const COPIED: usize = 8 << 20;

/// The entries that were written to a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutBack {
    /// The words for what happened to the file.
    pub what: &'static str,
    /// Number of entries of the file that had lost its place.
    pub requests: u64,
    /// Number of entries of another file that was found in the place. They have new keys.
    pub found: u64,
    /// True if there was another folder at the path.
    pub is_other_folder: bool,
}

const REMOVED: &str = "removed or renamed";
const REPLACED: &str = "replaced by another file";
const CUT: &str = "cut";
const HIDDEN: &str = "made inaccessible";

impl SpoolFile {
    /// The words for what happened to the file, if its path no longer leads to it or if it was
    /// cut.
    pub fn displaced(&self) -> Option<&'static str> {
        let metadata = self.handle.metadata();
        if metadata.is_ok_and(|metadata| metadata.len() < self.length.get()) {
            return Some(CUT);
        }
        let open = Identity::of(&self.handle);
        match (open, Identity::at(&self.path)) {
            (Ok(open), Ok(Some(found))) if open == found => None,
            (_, Ok(None)) => Some(REMOVED),
            (_, Ok(Some(_))) => Some(REPLACED),
            (_, Err(_)) => Some(HIDDEN),
        }
    }

    /// Writes the entries before the key `end` to a new file at the path, and goes on with
    /// that; `None` if the file is in its place. Entries keep their keys, so that whoever has
    /// read one can delete it. After an error the file that was open is still in use.
    ///
    /// The entries of another file in that place are written to the new file too. If another
    /// process holds the folder, or the other file cannot be read, nothing is written.
    pub fn put_back(&mut self, end: u64) -> Result<Option<PutBack>, SpoolError> {
        let Some(what) = self.displaced() else {
            return Ok(None);
        };
        let replaced = self.replace(what, end).map(Some);
        replaced.map_err(|reason| SpoolError::Displaced {
            path: self.path.display().to_string(),
            what,
            reason: reason.to_string(),
        })
    }

    fn replace(&mut self, what: &'static str, end: u64) -> Result<PutBack, SpoolError> {
        if what == CUT {
            return Err(SpoolError::damaged(&self.path, "its end is missing"));
        }
        let path = self.path.as_path();
        let folder = self.folder.path();
        let unusable = |error: std::io::Error| SpoolError::unusable(folder, error);
        folder::make(folder).map_err(unusable)?;
        let lock = self.folder.lock_found()?;
        let found = handle(path).map_err(unusable)?;
        let found = found.map(|file| load(path, &file, true).map(|database| (file, database)));
        let found = found.transpose()?;

        let new = Unfinished::create(path)?;
        let filled = guarded(path, || {
            let database = self.database()?;
            let filled = fill(&new.database, database, found.as_ref(), end);
            filled.map_err(|error| SpoolError::of(path, error))
        });
        let (requests, found) = match filled {
            Ok(filled) => filled,
            Err(error) => {
                new.discard();
                return Err(error);
            }
        };
        let handle = new.finish(folder, path)?;
        let database = load(path, &handle, false)?;

        let_go(self.database.replace(database));
        self.handle = handle;
        self.measure();
        let is_other_folder = lock.is_some();
        if let Some(lock) = lock {
            self.folder.hold_found(lock);
        }
        self.reserve = Reserve::find(self.folder.path());
        // If there is no room for it, the next put is refused.
        let _ = self.reserve.hold();
        Ok(PutBack {
            what,
            requests,
            found,
            is_other_folder,
        })
    }
}

/// Copies the entries of the open file and of the one that was found, and the names.
/// Returns the numbers of entries.
fn fill(
    new: &Database,
    open: &Database,
    found: Option<&(File, Database)>,
    end: u64,
) -> Result<(u64, u64), redb::Error> {
    let names = Change {
        names: Some(listed(open)?),
        ..Change::default()
    };
    write(new, &names)?;
    let requests = copy(new, open, |key| (key < end).then_some(key))?;
    let Some((_, found)) = found else {
        return Ok((requests, 0));
    };
    let mut next = end;
    let renumbered = |_| {
        let key = next;
        next += 1;
        Some(key)
    };
    Ok((requests, copy(new, found, renumbered)?))
}

/// Copies entries, each with the key that `rekey` gives it, until it gives none.
fn copy(
    into: &Database,
    from: &Database,
    mut rekey: impl FnMut(u64) -> Option<u64>,
) -> Result<u64, redb::Error> {
    let (mut after, mut copied) = (None, 0);
    loop {
        let (mut change, mut bytes, mut is_end) = (Change::default(), 0, true);
        walk(from, after, |key, value| {
            let Some(new) = rekey(key) else {
                return false;
            };
            after = Some(key);
            bytes += value.len();
            change.puts.push((new, value.to_vec()));
            is_end = bytes < COPIED;
            is_end
        })?;
        copied += change.puts.len() as u64;
        if !change.puts.is_empty() {
            write(into, &change)?;
        }
        if is_end {
            return Ok(copied);
        }
    }
}
