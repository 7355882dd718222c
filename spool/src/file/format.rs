//! The tables of the database, and how it is created and opened.
//!
//! - Opening reads every page and verifies its checksum. A page that does not match is
//!   damage to the file. Damage that happens while the file is open, or that happened
//!   before a page was last written, is detected by the checksum of the entry.
//! - The file is created under another name and renamed when it is complete. An empty or
//!   foreign file in its place is therefore damage, never a new spool.

use std::path::Path;

use redb::{
    Builder, Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    TableDefinition, WriteTransaction,
};

use super::{
    folder::{private, sync},
    guard::guarded,
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

pub(super) fn make(folder: &Path, path: &Path) -> Result<(), SpoolError> {
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

/// `thorough` reads every page, even if the file was closed cleanly.
pub(super) fn load(path: &Path, thorough: bool) -> Result<Database, SpoolError> {
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
fn open(path: &Path, thorough: bool) -> Result<(Database, Option<u64>), redb::Error> {
    let database = builder().set_check_integrity_on_open(thorough).open(path)?;
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
