//! The tables of the database, and how it is created and opened.
//!
//! - Opening reads every page and verifies its checksum. A page that does not match is
//!   damage to the file. Damage that happens while the file is open, or that happened
//!   before a page was last written, is detected by the checksum of the entry.
//! - The file is created under another name and renamed when it is complete. An empty or
//!   foreign file in its place is therefore damage, never a new spool.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use redb::{
    Builder, Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    TableDefinition, WriteTransaction, backends::FileBackend,
};

use super::{
    folder::{private, sync},
    guard::{guarded, let_go},
};
use crate::error::SpoolError;

/// The entries, in the order of their arrival.
pub(super) const REQUESTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("requests");
/// The names of the sources whose webhooks are accepted.
pub(super) const NAMES: TableDefinition<'_, &str, ()> = TableDefinition::new("names");
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Version of the format: entries have checksums since version 2.
pub(super) const FORMAT: (&str, u64) = ("format", 2);
/// A file of version 1 is read as it is; the first put turns it into version 2.
const FIRST_FORMAT: u64 = 1;
const CACHE: usize = 16 << 20;

/// Creates an empty database in the place of the missing file.
pub(super) fn make(folder: &Path, path: &Path) -> Result<File, SpoolError> {
    let new = Unfinished::create(path)?;
    new.finish(folder, path)
}

/// A new database, which is not yet in its place.
#[derive(Debug)]
pub(super) struct Unfinished {
    pub(super) database: Database,
    name: PathBuf,
    handle: File,
}

impl Unfinished {
    pub(super) fn create(path: &Path) -> Result<Self, SpoolError> {
        let unusable = |error: io::Error| SpoolError::unusable(path, error);
        let name = path.with_extension("new");
        let handle = private().truncate(true).open(&name).map_err(unusable)?;
        let backend = handle.try_clone().map_err(unusable)?;
        let fill = || -> Result<Database, redb::Error> {
            let database = builder().create_with_backend(FileBackend::new(backend)?)?;
            let transaction = begin(&database)?;
            transaction.open_table(REQUESTS)?;
            transaction.open_table(NAMES)?;
            transaction.open_table(META)?.insert(FORMAT.0, FORMAT.1)?;
            transaction.commit()?;
            Ok(database)
        };
        let database = fill().map_err(|error| SpoolError::of(path, error))?;
        Ok(Self {
            database,
            name,
            handle,
        })
    }

    /// Removes the file, which may be what fills the disk.
    pub(super) fn discard(self) {
        let _ = std::fs::remove_file(&self.name);
        let_go(self.database);
    }

    /// Moves the file to its place, and returns after the fsyncs.
    pub(super) fn finish(self, folder: &Path, path: &Path) -> Result<File, SpoolError> {
        let unusable = |error: io::Error| SpoolError::unusable(folder, error);
        let closed = self.database.close();
        closed.map_err(|error| SpoolError::of(path, error))?;
        self.handle.sync_all().map_err(unusable)?;
        std::fs::rename(&self.name, path).map_err(unusable)?;
        sync(folder).map_err(unusable)?;
        Ok(self.handle)
    }
}

/// `thorough` reads every page, even if the file was closed cleanly.
pub(super) fn load(path: &Path, handle: &File, thorough: bool) -> Result<Database, SpoolError> {
    let metadata = handle.metadata();
    let metadata = metadata.map_err(|error| SpoolError::unusable(path, error))?;
    if metadata.len() == 0 {
        return Err(SpoolError::damaged(path, "it is empty"));
    }
    let backend = handle.try_clone();
    let backend = backend.map_err(|error| SpoolError::unusable(path, error))?;
    guarded(path, || {
        let opened = open(backend, thorough);
        let (database, format) = opened.map_err(|error| SpoolError::of(path, error))?;
        if [Some(FIRST_FORMAT), Some(FORMAT.1)].contains(&format) {
            return Ok(database);
        }
        Err(SpoolError::unusable(path, unknown(format)))
    })
}

fn unknown(format: Option<u64>) -> String {
    let known = FORMAT.1;
    match format {
        Some(format) => {
            format!("its format is {format}, and this worker knows those up to {known}")
        }
        None => "it does not say which format it has".to_owned(),
    }
}

/// The database and the version of its format.
fn open(file: File, thorough: bool) -> Result<(Database, Option<u64>), redb::Error> {
    let mut builder = builder();
    builder.set_check_integrity_on_open(thorough);
    let database = builder.create_with_backend(FileBackend::new(file)?)?;
    let transaction = database.begin_read()?;
    let format = transaction.open_table(META)?.get(FORMAT.0)?;
    let format = format.map(|format| format.value());
    transaction.open_table(REQUESTS)?.len()?;
    transaction.open_table(NAMES)?.len()?;
    Ok((database, format))
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    builder
}

/// Begins a transaction whose commit returns after fsync, in two phases: the second only
/// marks as current what the first has brought to the disk. So a torn last write is a
/// commit that was never answered, and damage to an earlier one is found rather than
/// stepped over.
pub(super) fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

/// A worker that does not know checksums must not mistake such entries for damaged ones.
pub(super) fn renew_format(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let mut meta = transaction.open_table(META)?;
    let format = meta.get(FORMAT.0)?.map(|format| format.value());
    if format != Some(FORMAT.1) {
        meta.insert(FORMAT.0, FORMAT.1)?;
    }
    Ok(())
}
