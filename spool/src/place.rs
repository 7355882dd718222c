//! The identity of a file, which shows whether a path still leads to an open file.

use std::{
    fs::{self, File, Metadata},
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// A file, whatever its name. While the file is open, no other has the same identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        Ok(file.metadata()?.into())
    }

    /// The identity of the file at a path; `None` if there is no file.
    pub(crate) fn at(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(metadata.into())),
            // A part of the path may have become a file.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl From<Metadata> for Identity {
    fn from(metadata: Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_identity_under_another_name_and_a_copy_has_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
        fs::write(&one, "text").unwrap();
        let file = File::open(&one).unwrap();
        let identity = Identity::of(&file).unwrap();
        fs::rename(&one, &other).unwrap();
        assert_eq!(Identity::at(&one).unwrap(), None);
        assert_eq!(Identity::at(&other).unwrap(), Some(identity));
        fs::copy(&other, &one).unwrap();
        assert_ne!(Identity::at(&one).unwrap(), Some(identity));
        assert_eq!(Identity::at(&one.join("below a file")).unwrap(), None);
    }
}
