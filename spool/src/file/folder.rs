//! The folder, which one process holds. Only its owner can read the files in it, because
//! they contain URL tokens and Authorization values.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{error::SpoolError, place::Identity};

const LOCK: &str = "lock";

/// A folder that this process holds until the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Folder(Arc<Held>);

#[derive(Debug)]
struct Held {
    path: PathBuf,
    /// The file in the folder whose lock this process has.
    lock: Mutex<File>,
}

impl Folder {
    pub(crate) fn hold(path: &Path) -> Result<Self, SpoolError> {
        Ok(Self(Arc::new(Held {
            path: path.to_owned(),
            lock: Mutex::new(lock(path)?),
        })))
    }

    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Whether the path still leads to the folder that this process holds.
    pub fn is_in_place(&self) -> bool {
        let held = Identity::of(&self.lock());
        let found = Identity::at(&self.0.path.join(LOCK));
        matches!((held, found), (Ok(held), Ok(Some(found))) if held == found)
    }

    /// Takes the lock of the folder that is at the path now; `None` if this process has it.
    pub(super) fn lock_found(&self) -> Result<Option<File>, SpoolError> {
        if self.is_in_place() {
            return Ok(None);
        }
        lock(&self.0.path).map(Some)
    }

    /// Holds the folder that is at the path now, instead of the earlier one.
    pub(super) fn hold_found(&self, lock: File) {
        *self.lock() = lock;
    }

    fn lock(&self) -> MutexGuard<'_, File> {
        self.0.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Creates the folder if it is missing.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        // Without this fsync the folder may be gone after a power failure, with
        // everything in it.
        Ok(()) => sync(parent(folder)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            // Whoever has created it may not have done so, and its parent may be one that
            // this process cannot open.
            let _ = sync(parent(folder));
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn lock(folder: &Path) -> Result<File, SpoolError> {
    let unusable = |error: io::Error| SpoolError::unusable(folder, error);
    let lock = private().truncate(false).open(folder.join(LOCK));
    let lock = lock.map_err(unusable)?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => SpoolError::Held(folder.display().to_string()),
        TryLockError::Error(error) => unusable(error),
    })?;
    Ok(lock)
}

pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

/// Fsyncs the folder, so that a file that was created in it survives a power failure.
pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn parent(folder: &Path) -> &Path {
    match folder.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_in_one_that_has_no_name() {
        assert_eq!(parent(Path::new("spool")), Path::new("."));
        assert_eq!(parent(Path::new("/var/spool")), Path::new("/var"));
    }
}
