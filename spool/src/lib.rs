//! The file of the worker's spool: requests that were acknowledged and are not yet in
//! Postgres. Apart from the worker, so that files that somebody damaged can be fuzzed.
//!
//! # Layout
//! - [`entry`]: one request as it lies there
//! - [`mod@file`]: the file that holds them, which one process has at a time
//! - [`note`]: small files beside it
//! - `place`: whether a path still leads to an open file
//! - `reserve`: room for emptying it where the disk is full
//! - [`error`]: why it cannot be used, and what to do

pub mod entry;
pub mod error;
pub mod file;
pub mod note;
mod place;
mod reserve;

pub use entry::Entry;
pub use error::SpoolError;
pub use file::{
    Batch, Change, Content, Folder, Mode, Part, PutBack, ReadLimits, SpoolFile, set_aside,
};
pub use note::Note;

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use crate::{file::LARGE, reserve};

    #[test]
    fn the_documents_state_the_sizes() {
        let (reserve, large) = (reserve::BYTES >> 20, LARGE >> 20);
        for (document, words) in [
            (
                "worker/src/settings/manual.txt",
                format!("{reserve} MiB that the worker reserves"),
            ),
            (
                "worker/src/settings/manual.txt",
                format!("A file of more than {large} MiB shrinks"),
            ),
            (
                "docs/outages.md",
                format!("times `--spool-bytes`, and {reserve} MiB"),
            ),
        ] {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            let text = fs::read_to_string(root.join(document)).unwrap();
            let joined: Vec<_> = text.split_whitespace().collect();
            let found = joined.join(" ").contains(&words);
            assert!(found, "{document} does not state: {words}");
        }
    }
}
