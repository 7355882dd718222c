//! The properties that a body must have if one of its items is damaged.

use tidings_core::{Item, Provider, Settings};
use tidings_fuzz::{
    body::holds,
    damage::{Form, Reach, elements, invents_nothing, place as slice},
};

use crate::support::normalize;

/// Checks a body of these items, one of which was damaged.
pub(crate) fn check(
    provider: &'static Provider,
    form: Form,
    items: &[String],
    place: usize,
    damaged: &[u8],
) {
    let mut parts: Vec<&[u8]> = items.iter().map(String::as_bytes).collect();
    parts[place] = damaged;
    let (body, places) = form.body(&parts);
    let shown = String::from_utf8_lossy(&body);
    holds(provider, &Settings::default(), &body);
    // Whatever is JSON is as it is written.
    if elements(&body).is_some() {
        return;
    }
    let reach = Reach::of(damaged, form).among(damaged, form, &parts, place);
    let read = provider.normalize("s", &Settings::default(), &body);
    let read = read.unwrap_or_default();
    for (index, item) in items.iter().enumerate() {
        if index == place || !reach.leaves(index, place) {
            continue;
        }
        let found = |item: &&Item<'_>| slice(&body, item.bytes) == Some(places[index].clone());
        let Some(found) = read.iter().find(found) else {
            panic!("item {index} is not found: {reach:?}, {damaged:?} in\n{shown}\n{read:#?}");
        };
        let alone = normalize(provider.name, "s", item.as_bytes()).unwrap();
        assert_eq!(found.event, alone[0].event, "{shown}");
        if index < place {
            assert_eq!(found.ordinal as usize, index + 1, "{shown}");
        }
    }
    invents_nothing(&body, &places, place, &read);
    // An event that is made of the damaged item is all of it, or the item as it was.
    for item in read.iter().filter(|item| item.event.is_ok()) {
        let found = slice(&body, item.bytes).unwrap();
        if places[place].start <= found.start && found.end <= places[place].end {
            let rest = damaged.strip_prefix(item.bytes);
            // A word behind an item is no part of it.
            let is_word = |rest: &[u8]| !rest.iter().any(|byte| b"\"{}[],:".contains(byte));
            let is_whole = rest.is_some_and(is_word) || item.text() == items[place];
            assert!(is_whole, "{} of\n{shown}", item.text());
        }
    }
    // Some item says that it was rejected, unless nothing is left of it but blanks.
    let is_told = read.iter().any(|item| item.event.is_err());
    let is_gone = damaged.trim_ascii().is_empty();
    assert!(is_told || is_gone || read.is_empty(), "{shown}");
}
