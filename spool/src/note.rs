//! Small files beside the spool's own: each is replaced as a whole, and only its owner can
//! read it.

use std::{
    fs,
    io::{self, ErrorKind, Write},
    path::Path,
};

use crate::file::folder::{private, sync};

/// The content of a note; `None` if there is no such note.
pub fn read(folder: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    match fs::read(folder.join(name)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces a note, and returns after the fsync.
pub fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let path = folder.join(name);
    let unfinished = path.with_extension("new");
    let mut file = private().truncate(true).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, &path)?;
    sync(folder)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_note_is_replaced_as_a_whole_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let read = || read(folder.path(), "note.json").unwrap();
        assert_eq!(read(), None);
        for text in ["a long one", "short"] {
            write(folder.path(), "note.json", text.as_bytes()).unwrap();
            assert_eq!(read().unwrap(), text.as_bytes());
        }
        let files: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(files.len(), 1, "{files:?}");
        let mode = fs::metadata(folder.path().join("note.json")).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    }
}
