//! The file of the spool: a redb database in a folder that one process holds.
//!
//! - A commit returns after fsync, in two phases: the second only marks as current what
//!   the first has brought to the disk. So a torn last write is a commit that was never
//!   answered, and damage to an earlier one is found rather than stepped over.
//! - Opening reads every page and its checksum. A page that does not match is damage to
//!   the file. What is damaged while it is open, or was before its page was last written,
//!   an entry's own checksum tells: it is stepped over, and stays where it is.
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
    TableDefinition, WriteTransaction,
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
/// The second one has entries with checksums.
const FORMAT: (&str, u64) = ("format", 2);
/// Read as it is; the first put makes it the second.
const FIRST_FORMAT: u64 = 1;
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

/// What was deleted: its source, unless it was damaged, and its size.
pub type Deleted = (Option<String>, u64);

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

    /// The oldest entries whose keys are greater than `after`.
    pub fn read(&self, after: Option<u64>, limits: ReadLimits) -> Result<Batch, SpoolError> {
        let mut batch = Batch::default();
        let (mut requests, mut bytes) = (0, 0);
        self.scan(after, |key, value| {
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

fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
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

/// A worker that does not know checksums is not to take such entries for damage.
fn renew_format(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let mut meta = transaction.open_table(META)?;
    let format = meta.get(FORMAT.0)?.map(|format| format.value());
    if format != Some(FORMAT.1) {
        meta.insert(FORMAT.0, FORMAT.1)?;
    }
    Ok(())
}

/// `thorough` reads every page, also where the file was closed in good order.
fn load(path: &Path, thorough: bool) -> Result<Database, SpoolError> {
    let length = std::fs::metadata(path).map_err(|e| SpoolError::unusable(path, e))?;
    if length.len() == 0 {
        return Err(SpoolError::damaged(path, "it is empty"));
    }
    guarded(path, || {
        let opened = open(path, thorough);
        let (database, format) = opened.map_err(|error| SpoolError::of(path, error))?;
        if [Some(FIRST_FORMAT), Some(FORMAT.1)].contains(&format) {
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
    done.unwrap_or_else(|_| Err(SpoolError::damaged(path, "its pages contradict each other")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::first_form;

    const ALL: ReadLimits = ReadLimits {
        requests: usize::MAX,
        bytes: usize::MAX,
    };

    fn entry(body: &'static str) -> Entry {
        Entry {
            received: 1_767_225_600_000,
            source: "sms".into(),
            headers: "{}".to_owned(),
            body: body.into(),
        }
    }

    fn put(key: u64, value: Vec<u8>) -> Change {
        Change {
            puts: vec![(key, value)],
            ..Change::default()
        }
    }

    /// Says of itself what it is told, as another version would; with one entry.
    fn file_of_format(folder: &Path, format: u64, value: &[u8]) {
        let file = SpoolFile::open(folder, Mode::Create).unwrap();
        let transaction = begin(file.database().unwrap()).unwrap();
        let mut meta = transaction.open_table(META).unwrap();
        meta.insert(FORMAT.0, format).unwrap();
        let mut requests = transaction.open_table(REQUESTS).unwrap();
        requests.insert(0, value).unwrap();
        drop((meta, requests));
        transaction.commit().unwrap();
    }

    fn format(file: &SpoolFile) -> u64 {
        let transaction = file.database().unwrap().begin_read().unwrap();
        let meta = transaction.open_table(META).unwrap();
        meta.get(FORMAT.0).unwrap().unwrap().value()
    }

    #[test]
    fn a_file_of_the_first_format_is_read_and_becomes_the_second() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (entry("old"), entry("new"));
        file_of_format(folder.path(), 1, &first_form(&old));
        let file = SpoolFile::open(folder.path(), Mode::Existing).unwrap();
        let batch = file.read(None, ALL).unwrap();
        assert_eq!(batch.entries, [(0, old.clone())]);
        assert_eq!(format(&file), 1, "an older one may have it back untouched");
        file.apply(&put(1, new.encode())).unwrap();
        assert_eq!(format(&file), 2);
        drop(file);
        let file = SpoolFile::open(folder.path(), Mode::Existing).unwrap();
        let batch = file.read(None, ALL).unwrap();
        assert_eq!(batch.entries, [(0, old), (1, new)]);
        let deletes = vec![0, 1];
        let change = Change {
            deletes,
            ..Change::default()
        };
        let sources: Vec<_> = file.apply(&change).unwrap();
        let sources: Vec<_> = sources.into_iter().map(|(source, _)| source).collect();
        assert_eq!(sources, [Some("sms".to_owned()), Some("sms".to_owned())]);
    }

    #[test]
    fn a_file_of_a_later_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        file_of_format(folder.path(), 3, b"");
        let error = SpoolFile::open(folder.path(), Mode::Create).unwrap_err();
        assert!(error.to_string().contains("format is Some(3)"), "{error}");
    }

    #[test]
    fn what_is_damaged_is_stepped_over_and_can_be_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let file = SpoolFile::open(folder.path(), Mode::Create).unwrap();
        let mut altered = entry("altered").encode();
        *altered.last_mut().unwrap() ^= 1;
        let bytes = altered.len() as u64;
        for (key, value) in [(0, altered.clone()), (1, entry("whole").encode())] {
            file.apply(&put(key, value)).unwrap();
        }
        file.apply(&put(2, altered)).unwrap();
        let batch = file.read(None, ALL).unwrap();
        assert_eq!(batch.entries, [(1, entry("whole"))]);
        assert_eq!((batch.damaged, batch.last), (vec![0, 2], Some(2)));
        let one = ReadLimits { requests: 1, ..ALL };
        let batch = file.read(None, one).unwrap();
        assert_eq!((batch.entries.len(), batch.last), (0, Some(0)));
        assert_eq!(file.read(Some(2), ALL).unwrap(), Batch::default());
        assert_eq!(file.oldest(0).unwrap(), Some((1, 1_767_225_600_000)));
        assert_eq!(file.oldest(2).unwrap(), None);
        let deletes = Change {
            deletes: vec![0],
            ..Change::default()
        };
        assert_eq!(file.apply(&deletes).unwrap(), [(None, bytes)]);
    }

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
