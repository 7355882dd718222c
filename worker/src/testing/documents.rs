//! The documents restate numbers of the code; a test beside each constant compares them.

use std::{fs, path::Path};

pub(crate) const MANUAL: &str = "worker/src/settings/manual.txt";

/// Fails unless the document contains these words, wherever its lines break.
#[track_caller]
pub(crate) fn states(document: &str, words: &str) {
    let text = text(document);
    let joined: Vec<_> = text.split_whitespace().collect();
    let found = joined.join(" ").contains(words);
    assert!(found, "{document} does not state: {words}");
}

/// The text of a document of the repository.
pub(crate) fn text(document: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join(document));
    text.unwrap_or_else(|error| panic!("{document}: {error}"))
}
