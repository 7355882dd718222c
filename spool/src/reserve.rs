//! Disk space that is reserved for deleting. The database copies pages before it deletes
//! entries, so that a spool that has filled its disk could not be drained without this
//! reserve.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Name of the file in the folder.
pub(crate) const FILE: &str = "reserve";
/// Size of the reserve: several times what deleting a batch takes.
pub(crate) const BYTES: u64 = 4 << 20;
static BLOCK: [u8; 1 << 16] = [0; 1 << 16];

#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    held: bool,
}

impl Reserve {
    /// Finds the reserve as it was left. A file with holes counts as not held, because a
    /// copied file may consist of holes.
    pub(crate) fn find(folder: &Path) -> Self {
        let path = folder.join(FILE);
        let whole = |file: fs::Metadata| file.len() == BYTES && file.blocks() * 512 >= BYTES;
        let held = fs::metadata(&path).is_ok_and(whole);
        Self { path, held }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// Allocates the reserve, unless it is held already or the disk is full.
    pub(crate) fn hold(&mut self) -> io::Result<()> {
        if self.held {
            return Ok(());
        }
        // The bytes are written, because a hole in a file occupies no space.
        let fill = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&self.path)?;
            for _ in 0..BYTES / BLOCK.len() as u64 {
                file.write_all(&BLOCK)?;
            }
            file.sync_all()
        };
        fill().inspect_err(|_| drop(fs::remove_file(&self.path)))?;
        self.held = true;
        Ok(())
    }

    pub(crate) fn release(&mut self) {
        // If the file cannot be removed, the next attempt to delete entries reports the
        // cause.
        let _ = fs::remove_file(&self.path);
        self.held = false;
    }
}
