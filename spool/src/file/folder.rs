//! The folder, which one process holds. Only its owner can read the files in it, because
//! they contain URL tokens and Authorization values.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use crate::error::SpoolError;

const LOCK: &str = "lock";

/// Creates the folder if it is missing.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        // Without this fsync the folder may be gone after a power failure, with
        // everything in it.
        Ok(()) => sync(parent(folder)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// The folder is held until the returned value is dropped.
pub(super) fn hold(folder: &Path) -> Result<File, SpoolError> {
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
