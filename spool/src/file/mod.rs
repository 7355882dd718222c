//! The file of the spool: a redb database in a folder that one process holds.
//!
//! # Layout
//! - `folder`: who holds it, and who can read what is in it
//! - `format`: what lies in the database, and how it is made and opened
//! - `write`: what is put and deleted, and when a commit returns
//! - `read`: what is read, and what is stepped over
//! - `aside`: how the file is moved away
//! - `put_back`: what happens if somebody else moves it away
//! - `guard`: what holds back the panics of the library below

mod aside;
pub(crate) mod folder;
mod format;
mod guard;
mod put_back;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::{
    cell::Cell,
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use redb::Database;

pub use self::{
    aside::{Aside, Content, Part, set_aside},
    folder::Folder,
    put_back::PutBack,
    read::{Batch, ReadLimits},
    write::{Change, Deleted},
};
use crate::{error::SpoolError, reserve::Reserve};

/// Its name in the folder.
pub const FILE: &str = "requests.redb";
/// An empty file that is larger is made smaller.
pub(crate) const LARGE: u64 = 16 << 20;

/// A spool that this process holds.
#[derive(Debug)]
pub struct SpoolFile {
    /// `None` between a failure and the next attempt to open it.
    database: Option<Database>,
    /// The file, which stays open when the database is opened again: it may have lost its
    /// name.
    handle: File,
    /// Length after the last write: whoever cuts the file makes it shorter.
    length: Cell<u64>,
    path: PathBuf,
    folder: Folder,
    reserve: Reserve,
    is_new: bool,
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
        let path = folder.join(FILE);
        match mode {
            Mode::Create => folder::make(folder).map_err(unusable)?,
            Mode::Existing if path.try_exists().map_err(unusable)? => {}
            Mode::Existing => return Err(SpoolError::Absent(folder.display().to_string())),
        }
        let held = Folder::hold(folder)?;
        let found = handle(&path).map_err(unusable)?;
        let is_new = found.is_none();
        let handle = match found {
            Some(handle) => handle,
            None => format::make(folder, &path)?,
        };
        // An earlier process may have ended between a rename and this fsync.
        folder::sync(folder).map_err(unusable)?;
        let database = Some(format::load(&path, &handle, true)?);
        let mut reserve = Reserve::find(folder);
        if mode == Mode::Create {
            // Where there is no room for it, nothing is taken, and what is there is read.
            let _ = reserve.hold();
        }
        let file = Self {
            database,
            handle,
            length: Cell::new(0),
            path,
            folder: held,
            reserve,
            is_new,
        };
        file.measure();
        Ok(file)
    }

    /// Whether the file was missing, so that an empty one was made.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of the file.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Lets go of the database and opens it again: after a failure it refuses to go on. It
    /// is the same file, whatever is at the path.
    pub fn reopen(&mut self) -> Result<(), SpoolError> {
        guard::let_go(self.database.take());
        self.database = Some(format::load(&self.path, &self.handle, false)?);
        self.measure();
        Ok(())
    }

    /// Holds the room for deleting, without which nothing is to be put.
    pub fn hold_reserve(&mut self) -> Result<(), SpoolError> {
        let held = self.reserve.hold();
        held.map_err(|error| SpoolError::unusable(&self.path, error))
    }

    /// Gives that room to what is to be deleted.
    pub fn release_reserve(&mut self) {
        // Another process may hold the folder that is at the path now.
        if self.folder.is_in_place() {
            self.reserve.release();
        }
    }

    fn database(&self) -> Result<&Database, SpoolError> {
        self.database
            .as_ref()
            .ok_or_else(|| SpoolError::unusable(&self.path, "an earlier write failed"))
    }

    fn failed(&self, error: impl Into<redb::Error>) -> SpoolError {
        SpoolError::of(&self.path, error)
    }

    /// Gives the room of what was deleted back to the file system, where nothing is left.
    pub fn shrink(&mut self) -> Result<(), SpoolError> {
        // Also a small one may be what fills the disk.
        let large = self.length.get() > LARGE || !self.reserve.is_held();
        let Some(database) = self.database.as_mut().filter(|_| large) else {
            return Ok(());
        };
        let compacted = guard::guarded(&self.path, || match database.compact() {
            Ok(_) => Ok(()),
            Err(error) => Err(SpoolError::of(&self.path, error)),
        });
        self.measure();
        compacted
    }

    /// Notes the length after a write.
    fn measure(&self) {
        if let Ok(metadata) = self.handle.metadata() {
            self.length.set(metadata.len());
        }
    }
}

/// Opens the file at the path; `None` if there is none.
fn handle(path: &Path) -> io::Result<Option<File>> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
