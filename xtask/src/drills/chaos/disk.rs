//! A small disk for the spool that can be filled to its last byte: a tmpfs, which is
//! unmounted however this program ends.

use anyhow::{Context as _, Result};
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use tidings_harness::leash::Leash;
use tidings_harness::step::{self, Missing};

const SIZE: &str = "size=64m,mode=0700";

#[derive(Debug)]
pub(super) struct SmallDisk {
    // The order matters: the leash is released when the folder has been removed.
    folder: TempDir,
    _leash: Leash,
}

impl SmallDisk {
    /// [`Missing`] where mounting is not allowed, as it is to root alone.
    pub(super) fn mount() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("tidings-disk-")
            .tempdir()
            .context("cannot make a folder")?;
        let leash = Leash::of_mount(folder.path())?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SIZE, "tidings-chaos"]);
        step::output(mount.arg(folder.path())).map_err(|error| {
            let said = format!("{error:#}");
            let mut lines = said.lines();
            let reason = lines.find(|line| line.starts_with("mount: "));
            Missing::new(reason.unwrap_or("mount: it does not work").to_owned())
        })?;
        Ok(Self {
            folder,
            _leash: leash,
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Fills the disk to the last byte.
    pub(super) fn fill(&self) -> Result<()> {
        let mut file = File::create(self.ballast()).context("cannot make the ballast")?;
        let zeros = [0; 1 << 16];
        loop {
            match file.write(&zeros) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error).context("cannot fill the spool's disk"),
            }
        }
    }

    pub(super) fn empty(&self) -> Result<()> {
        fs::remove_file(self.ballast()).context("cannot empty the spool's disk")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The unmount is lazy, because processes with open files there have been ended or
        // are about to be.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_room_for_nothing_until_it_is_emptied() {
        let disk = match SmallDisk::mount() {
            Ok(disk) => disk,
            Err(error) => {
                println!("SKIPPED: {error:#}");
                return;
            }
        };
        let folder = disk.path().to_owned();
        let other = folder.join("other");
        disk.fill().unwrap();
        let refused = fs::write(&other, "word").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::StorageFull);
        disk.empty().unwrap();
        fs::write(&other, "word").unwrap();
        drop(disk);
        assert!(!folder.exists());
    }
}
