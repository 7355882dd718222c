//! The documents restate limits of the core; here they are compared.

use std::{fs, path::Path};
use tidings_core::json::{MAX_BODY, MAX_ITEMS, storable};

const MANUAL: &str = "worker/src/settings/manual.txt";

/// Fails unless the document contains these words, wherever its lines break.
#[track_caller]
fn states(document: &str, words: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(document);
    let text = fs::read_to_string(path).unwrap_or_default();
    let joined: Vec<_> = text.split_whitespace().collect();
    let found = joined.join(" ").contains(words);
    assert!(found, "{document} does not state: {words}");
}

#[test]
fn the_manual_states_how_many_items_a_body_may_have() {
    let (thousands, rest) = (MAX_ITEMS / 1000, MAX_ITEMS % 1000);
    states(MANUAL, &format!("items in a body: {thousands},{rest:03};"));
}

#[test]
fn the_manual_states_how_many_levels_an_item_may_have() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let greatest = (1..1000).take_while(|levels| storable(&nested(*levels)).is_ok());
    let greatest = greatest.last().unwrap();
    states(MANUAL, &format!("levels of JSON in an item: {greatest};"));
}

#[test]
fn the_architecture_states_how_large_a_body_may_be() {
    let megabytes = MAX_BODY >> 20;
    states(
        "ARCHITECTURE.md",
        &format!("Bodies are parsed up to {megabytes} MB"),
    );
}
