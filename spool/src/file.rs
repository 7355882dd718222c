//! The file of the spool: a redb database in a folder that one process holds.
//!
//! - A commit returns after fsync, in two phases: the second only marks as current what
//!   the first has brought to the disk. So a torn last write is a commit that was never
//!   answered, and damage to an earlier one is found rather than stepped over.
//! - Opening reads every page and its checksum.
//! - The file is made under another name and renamed when it is whole: an empty or
//!   foreign one in its place is damage, never a new spool.
//! - Nobody but its owner can read it: it holds URL tokens and Authorization values.

use std::{
    collections::BTreeSet,
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use redb::{
    Builder, Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    TableDefinition,
};

use crate::{
    entry::{Entry, origin},
    error::SpoolError,
    reserve::Reserve,
};

/// Its name in the folder.
pub const FILE: &str = "requests.redb";
const LOCK: &str = "lock";
/// By the order in which they came.
const REQUESTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("requests");
/// Of the sources whose webhooks are taken.
const NAMES: TableDefinition<'_, &str, ()> = TableDefinition::new("names");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FORMAT: (&str, u64) = ("format", 1);
const CACHE: usize = 16 << 20;
/// An empty file that is larger is made smaller.
const LARGE: u64 = 16 << 20;

/// A spool that this process holds.
#[derive(Debug)]
pub struct SpoolFile {
    /// `None` between a failure and the next attempt to open it.
    database: Option<Database>,
    path: PathBuf,
    reserve: Reserve,
    _lock: File,
}

/// What one transaction changes.
#[derive(Debug, Default)]
pub struct Change {
    pub puts: Vec<(u64, Vec<u8>)>,
    pub deletes: Vec<u64>,
    pub names: Option<BTreeSet<String>>,
}

/// One read's limits; it holds at least one entry, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    pub requests: usize,
    pub bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Made where it is missing.
    Create,
    Existing,
}

impl SpoolFile {
    pub fn open(folder: &Path, mode: Mode) -> Result<Self, SpoolError> {
        let unusable = |error: std::io::Error| SpoolError::unusable(folder, error);
        let absent = || SpoolError::Absent(folder.display().to_string());
        let path = folder.join(FILE);
        match mode {
            Mode::Create => match DirBuilder::new().mode(0o700).create(folder) {
                // Else the folder may be gone after a power cut, with all that is in it.
                Ok(()) => sync(parent(folder)).map_err(unusable)?,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(unusable(error)),
            },
            Mode::Existing if path.try_exists().map_err(unusable)? => {}
            Mode::Existing => return Err(absent()),
        }
        let lock = private().truncate(false).open(folder.join(LOCK));
        let lock = lock.map_err(unusable)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => SpoolError::Held(folder.display().to_string()),
            TryLockError::Error(error) => unusable(error),
        })?;
        match std::fs::metadata(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => make(folder, &path)?,
            Err(error) => return Err(unusable(error)),
        }
        let database = Some(load(&path, true)?);
        let mut reserve = Reserve::find(folder);
        if mode == Mode::Create {
            // Where there is no room for it, nothing is taken, and what is there is read.
            let _ = reserve.hold();
        }
        Ok(Self {
            database,
            path,
            reserve,
            _lock: lock,
        })
    }

    /// Lets go of the database and opens it again: after a failure it refuses to go on.
    pub fn reopen(&mut self) -> Result<(), SpoolError> {
        let_go(self.database.take());
        self.database = Some(load(&self.path, false)?);
        Ok(())
    }

    /// Holds the room for deleting, without which nothing is to be put.
    pub fn hold_reserve(&mut self) -> Result<(), SpoolError> {
        let held = self.reserve.hold();
        held.map_err(|error| SpoolError::unusable(&self.path, error))
    }

    /// Gives that room to what is to be deleted.
    pub fn release_reserve(&mut self) {
        self.reserve.release();
    }

    fn database(&self) -> Result<&Database, SpoolError> {
        self.database
            .as_ref()
            .ok_or_else(|| SpoolError::unusable(&self.path, "an earlier write failed"))
    }

    fn failed(&self, error: impl Into<redb::Error>) -> SpoolError {
        SpoolError::of(&self.path, error)
    }

    fn damaged(&self) -> SpoolError {
        damaged(&self.path, "an entry cannot be read")
    }

    /// Returns after fsync, with the source and size of each entry that was deleted.
    pub fn apply(&self, change: &Change) -> Result<Vec<(String, u64)>, SpoolError> {
        guarded(&self.path, || self.write(change))
    }

    fn write(&self, change: &Change) -> Result<Vec<(String, u64)>, SpoolError> {
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
            for key in &change.deletes {
                let removed = requests.remove(key).map_err(|e| self.failed(e))?;
                if let Some(removed) = removed {
                    let bytes = removed.value();
                    let (_, source) = origin(bytes).ok_or_else(|| self.damaged())?;
                    deleted.push((source.to_owned(), bytes.len() as u64));
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
            Some(false)
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

    /// The oldest entries whose keys are greater than `after`, in order.
    pub fn read(
        &self,
        after: Option<u64>,
        limits: ReadLimits,
    ) -> Result<Vec<(u64, Entry)>, SpoolError> {
        let mut entries: Vec<(u64, Entry)> = Vec::new();
        let mut bytes = 0;
        self.scan(after, |key, value| {
            bytes += value.len();
            let fits = entries.len() < limits.requests && bytes <= limits.bytes;
            if !fits && !entries.is_empty() {
                return Some(false);
            }
            entries.push((key, Entry::decode(value)?));
            Some(true)
        })?;
        Ok(entries)
    }

    /// Shows every entry after a key, in order, until `each` has seen enough; `None` of
    /// it means damage.
    pub fn scan(
        &self,
        after: Option<u64>,
        each: impl FnMut(u64, &[u8]) -> Option<bool>,
    ) -> Result<(), SpoolError> {
        guarded(&self.path, || self.walk(after, each))
    }

    fn walk(
        &self,
        after: Option<u64>,
        mut each: impl FnMut(u64, &[u8]) -> Option<bool>,
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
            if !each(key.value(), value.value()).ok_or_else(|| self.damaged())? {
                break;
            }
        }
        Ok(())
    }

    /// When the oldest entry came.
    pub fn oldest(&self) -> Result<Option<u64>, SpoolError> {
        let mut oldest = None;
        self.scan(None, |_, value| {
            oldest = Some(origin(value)?.0);
            Some(false)
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

    /// Gives the room of what was deleted back to the file system, where nothing is left.
    pub fn shrink(&mut self) -> Result<(), SpoolError> {
        let length = std::fs::metadata(&self.path).map_or(0, |file| file.len());
        // Also a small one may be what fills the disk.
        let large = length > LARGE || !self.reserve.is_held();
        let Some(database) = self.database.as_mut().filter(|_| large) else {
            return Ok(());
        };
        guarded(&self.path, || match database.compact() {
            Ok(_) => Ok(()),
            Err(error) => Err(SpoolError::of(&self.path, error)),
        })
    }
}

/// A lock that a panic poisoned makes its end panic too, which must not end the keeper.
fn let_go<T>(old: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(old)));
}

fn damaged(path: &Path, reason: impl Into<String>) -> SpoolError {
    SpoolError::Damaged {
        path: path.display().to_string(),
        reason: reason.into(),
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    builder
}

fn begin(database: &Database) -> Result<redb::WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

fn make(folder: &Path, path: &Path) -> Result<(), SpoolError> {
    let unusable = |error: std::io::Error| SpoolError::unusable(folder, error);
    let unfinished = path.with_extension("new");
    let empty = private().truncate(true).open(&unfinished);
    drop(empty.map_err(unusable)?);
    let fill = || -> Result<(), redb::Error> {
        let database = builder().create(&unfinished)?;
        let transaction = begin(&database)?;
        transaction.open_table(REQUESTS)?;
        transaction.open_table(NAMES)?;
        transaction.open_table(META)?.insert(FORMAT.0, FORMAT.1)?;
        transaction.commit()?;
        Ok(database.close()?)
    };
    fill().map_err(|error| SpoolError::of(path, error))?;
    std::fs::rename(&unfinished, path).map_err(unusable)?;
    sync(folder).map_err(unusable)
}

/// What was made in the folder stays in it.
fn sync(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

fn parent(folder: &Path) -> &Path {
    match folder.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// `thorough` reads every page, also where the file was closed in good order.
fn load(path: &Path, thorough: bool) -> Result<Database, SpoolError> {
    let length = std::fs::metadata(path).map_err(|e| SpoolError::unusable(path, e))?;
    if length.len() == 0 {
        return Err(damaged(path, "it is empty"));
    }
    guarded(path, || {
        let opened = open(path, thorough);
        let (database, format) = opened.map_err(|error| SpoolError::of(path, error))?;
        if format == Some(FORMAT.1) {
            return Ok(database);
        }
        let known = FORMAT.1;
        let reason = format!("its format is {format:?}, and this worker knows {known}");
        Err(SpoolError::unusable(path, reason))
    })
}

/// The database and what it says of its format.
fn open(path: &Path, thorough: bool) -> Result<(Database, Option<u64>), redb::Error> {
    let database = builder().set_check_integrity_on_open(thorough).open(path)?;
    let transaction = database.begin_read()?;
    let format = transaction.open_table(META)?.get(FORMAT.0)?;
    let format = format.map(|format| format.value());
    transaction.open_table(REQUESTS)?.len()?;
    transaction.open_table(NAMES)?.len()?;
    Ok((database, format))
}

/// What was altered by others may make the library panic where it trusts itself. After
/// that, as after any failure, the database is opened anew before it is used.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, SpoolError>) -> Result<T, SpoolError> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or_else(|_| Err(damaged(path, "its pages contradict each other")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_in_one_that_has_no_name() {
        assert_eq!(parent(Path::new("spool")), Path::new("."));
        assert_eq!(parent(Path::new("/var/spool")), Path::new("/var"));
    }

    #[test]
    fn what_panics_at_its_end_is_let_go_all_the_same() {
        struct Poisoned;
        impl Drop for Poisoned {
            fn drop(&mut self) {
                panic!("poisoned");
            }
        }
        let_go(Some(Poisoned));
    }
}
