//! Small files beside the spool's own: each is replaced as a whole, and only its owner can
//! read it.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

use crate::{
    file::folder::{Folder, private, sync},
    place::Identity,
};

/// A note that this process reads and writes.
#[derive(Debug)]
pub struct Note {
    folder: PathBuf,
    path: PathBuf,
    /// The folder as the owner of the spool holds it; `None` if nobody holds it.
    held: Option<Folder>,
    /// The identity of the file that was read or written last.
    last: Option<Identity>,
}

impl Note {
    pub fn new(folder: &Path, name: &str) -> Self {
        Self {
            folder: folder.to_owned(),
            path: folder.join(name),
            held: None,
            last: None,
        }
    }

    /// Restricts writing from now on: the note is written only as long as this process holds
    /// the folder that is at the path.
    pub fn keep_in(&mut self, folder: Folder) {
        self.held = Some(folder);
    }

    /// The content of the note; `None` if there is no such note.
    pub fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        self.last = Some(Identity::of(&file)?);
        Ok(Some(bytes))
    }

    /// Replaces the note, and returns after the fsync.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.held.as_ref().is_some_and(|held| !held.is_in_place()) {
            let folder = self.folder.display();
            return Err(io::Error::other(format!(
                "{folder} is not the folder that this process holds"
            )));
        }
        let unfinished = self.path.with_extension("new");
        let mut file = private().truncate(true).open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        let identity = Identity::of(&file)?;
        fs::rename(&unfinished, &self.path)?;
        sync(&self.folder)?;
        self.last = Some(identity);
        Ok(())
    }

    /// Whether the path leads to what was read or written last.
    pub fn is_in_place(&self) -> bool {
        Identity::at(&self.path).is_ok_and(|found| found == self.last)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_note_is_replaced_as_a_whole_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut note = Note::new(folder.path(), "note.json");
        assert_eq!(note.read().unwrap(), None);
        for text in ["a long one", "short"] {
            note.write(text.as_bytes()).unwrap();
            assert_eq!(note.read().unwrap().unwrap(), text.as_bytes());
        }
        let files: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(files.len(), 1, "{files:?}");
        let mode = fs::metadata(folder.path().join("note.json")).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_note_that_was_removed_or_replaced_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("note.json");
        let mut note = Note::new(folder.path(), "note.json");
        assert!(note.is_in_place(), "there is none");
        note.write(b"text").unwrap();
        let mut later = Note::new(folder.path(), "note.json");
        assert!(!later.is_in_place(), "it was not read");
        later.read().unwrap();
        for note in [&note, &later] {
            assert!(note.is_in_place());
        }
        fs::copy(&path, folder.path().join("copy")).unwrap();
        fs::rename(folder.path().join("copy"), &path).unwrap();
        assert!(!note.is_in_place(), "it was replaced");
        fs::remove_file(&path).unwrap();
        assert!(!note.is_in_place(), "it was removed");
        note.write(b"text").unwrap();
        assert!(note.is_in_place());
    }

    #[test]
    fn nothing_is_written_into_a_folder_that_this_process_does_not_hold() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("spool");
        fs::create_dir(&path).unwrap();
        let mut note = Note::new(&path, "note.json");
        note.keep_in(Folder::hold(&path).unwrap());
        note.write(b"ours").unwrap();
        fs::rename(&path, parent.path().join("away")).unwrap();
        fs::create_dir(&path).unwrap();
        let error = note.write(b"ours").unwrap_err();
        assert!(error.to_string().contains("not the folder"), "{error}");
        assert!(!path.join("note.json").exists());
    }
}
