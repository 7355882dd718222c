//! Room on the disk that is kept for deleting: what is deleted is copied around first,
//! so that a spool that has filled its disk could not be emptied without it.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Its name in the folder.
pub(crate) const FILE: &str = "reserve";
/// Several times what deleting a batch takes.
pub(crate) const BYTES: u64 = 4 << 20;
static BLOCK: [u8; 1 << 16] = [0; 1 << 16];

#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    held: bool,
}

impl Reserve {
    /// As it was left, or not held: a copy of it may be all holes.
    pub(crate) fn find(folder: &Path) -> Self {
        let path = folder.join(FILE);
        let whole = |file: fs::Metadata| file.len() == BYTES && file.blocks() * 512 >= BYTES;
        let held = fs::metadata(&path).is_ok_and(whole);
        Self { path, held }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// Takes the room, unless it is held or the disk has none.
    pub(crate) fn hold(&mut self) -> io::Result<()> {
        if self.held {
            return Ok(());
        }
        // Written, not announced: a hole takes no room.
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
        // Where it cannot be removed, the next attempt at deleting says what is wrong.
        let _ = fs::remove_file(&self.path);
        self.held = false;
    }
}
