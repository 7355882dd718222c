//! A provider's body: whatever it is, it becomes items or says why not; the same items
//! are the same events however they are wrapped, repeated or mixed; and what is called
//! storable can be stored.
//!
//! An input is a body; a byte 0xFF may end it, then the source's options follow.

use std::collections::HashSet;

use serde_json::{Map, Value, value::RawValue};
use tidings_core::{
    Event, Item, ItemError, Malformed, Provider, Ulid,
    json::{MAX_BODY, MAX_ITEMS},
    provider::{self, Settings},
};

use crate::{damage, event, message, readable, storable};

/// Of these providers no id is the provider's own.
const DERIVED: [&str; 3] = ["pushwoosh", "arpoone", "pushpushgo"];

/// Of these providers equal items of a request are one event.
const TOLD_BY_FIELDS: [&str; 3] = ["ppoppo", "arpoone", "pushpushgo"];

/// How many items of a body are read once more, each as a body of its own.
const ALONE: usize = 8;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A source: whose items it has, and how they are read.
#[derive(Clone, Copy)]
struct Source<'s> {
    provider: &'static Provider,
    settings: &'s Settings,
}

impl Source<'_> {
    fn read<'a>(&self, body: &'a [u8]) -> Result<Vec<Item<'a>>, Malformed> {
        self.provider.normalize("s", self.settings, body)
    }
}

pub fn check(provider: &str, data: &[u8]) {
    let [body, options] = crate::parts(data);
    let Some(provider) = provider::find(provider) else {
        unreachable!("there is no target {provider:?}")
    };
    let settings = settings(provider, &String::from_utf8_lossy(options));
    holds(provider, &settings, body);
}

/// What must hold of any body that a source with these settings receives.
pub fn holds(provider: &'static Provider, settings: &Settings, body: &[u8]) {
    let source = Source { provider, settings };
    let result = source.read(body);
    assert_eq!(result, source.read(body), "reading depends on nothing else");
    let framed = [BYTE_ORDER_MARK, body, b"\r\n"].concat();
    let framed = source.read(&framed);
    match result {
        Ok(items) => {
            slices(source, body, &items);
            items.iter().for_each(item);
            if !body.starts_with(BYTE_ORDER_MARK) {
                same(&items, &framed);
            }
            if let Some(expected) = damage::elements(body) {
                if !damage::may_wrap(source.provider) {
                    let texts: Vec<&str> = items.iter().map(Item::text).collect();
                    assert_eq!(texts, expected, "the items of a body that is JSON");
                }
                if !body.starts_with(BYTE_ORDER_MARK) {
                    repeated(source, &items, &[body, b"\n", body].concat());
                }
                let texts: Vec<&str> = items.iter().map(Item::text).collect();
                same(&items, &source.read(array(&texts).as_bytes()));
                repeated(source, &items, array(&texts.repeat(2)).as_bytes());
            }
            undamaged(source, &items);
            alone(source, &items);
            identities(source, &items, body);
        }
        Err(malformed) => {
            message(&malformed.to_string());
            // Of two marks the second one is a part of the first line.
            let is_marked = body.starts_with(BYTE_ORDER_MARK);
            assert!(
                is_marked || framed.is_err(),
                "a frame makes no body of what is none"
            );
        }
    }
    damage::between_others(provider, settings, body);
}

/// Options that are taken when they are set are taken when a body is read.
fn settings(provider: &Provider, options: &str) -> Settings {
    if options.is_empty() {
        return Settings::default();
    }
    let checked = serde_json::from_str::<Map<String, Value>>(options)
        .map(|options| provider.check_options(&options));
    let settings = Settings::from_options(options);
    if let Ok(Err(error)) = &checked {
        readable(&error.to_string());
        readable(&error.hint());
    }
    match settings {
        Ok(settings) => settings,
        Err(error) => {
            assert!(!matches!(checked, Ok(Ok(()))), "{options}: {error}");
            readable(&error.to_string());
            Settings::default()
        }
    }
}

/// The items are slices of the body, in its order, and nothing but marks is between them.
fn slices(source: Source<'_>, body: &[u8], items: &[Item<'_>]) {
    let mut rest = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    for (ordinal, item) in (1..).zip(items) {
        assert_eq!(item.ordinal, ordinal);
        let before = damage::place(rest, item.bytes);
        let Some(before) = before else {
            unreachable!("item {ordinal} is no slice of the body after the item before it")
        };
        between(source, rest.get(..before.start).unwrap_or_default());
        rest = rest.get(before.end..).unwrap_or_default();
    }
    between(source, rest);
}

/// The bytes that belong to no item: those of an array, and the blanks.
fn between(source: Source<'_>, bytes: &[u8]) {
    let is_mark = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b'[' | b']');
    assert!(
        damage::may_wrap(source.provider) || bytes.iter().all(is_mark),
        "{:?} is in no item",
        String::from_utf8_lossy(bytes)
    );
}

fn item(item: &Item<'_>) {
    let text = str::from_utf8(item.bytes);
    let storable = text.is_ok_and(storable::storable);
    let unended = item.event == Err(ItemError::Unended);
    assert_eq!(item.storable, storable && !unended, "{}", item.text());
    match &item.event {
        Ok(event) => {
            assert!(item.storable);
            event::check(event);
        }
        Err(error) => {
            let not_json = matches!(error, ItemError::NotJson(_));
            assert_eq!(is_json(item), !not_json, "{error}");
            let not_storable = not_json || unended || matches!(error, ItemError::NotStorable(_));
            assert_eq!(item.storable, !not_storable, "{error}");
            message(&error.to_string());
        }
    }
}

fn is_json(item: &Item<'_>) -> bool {
    serde_json::from_slice::<&RawValue>(item.bytes).is_ok()
}

fn array(texts: &[&str]) -> String {
    format!("[{}]", texts.join(","))
}

/// The events of a damaged body are the same without the damage.
fn undamaged(source: Source<'_>, items: &[Item<'_>]) {
    let good = || items.iter().filter(|item| item.event.is_ok());
    let texts: Vec<&str> = good().map(Item::text).collect();
    let array = array(&texts);
    let Ok(read) = source.read(array.as_bytes()) else {
        unreachable!("an array of items is a body")
    };
    assert_eq!(read.len(), texts.len());
    for (one, other) in good().zip(&read) {
        assert_eq!(one.event, other.event);
    }
}

type Read<'r, 'a> = &'r Result<Vec<Item<'a>>, Malformed>;

/// The same items in another frame are the same events: a batch that is sent again
/// meets itself.
fn same(items: &[Item<'_>], framed: Read<'_, '_>) {
    match framed {
        Ok(framed) => assert_eq!(items, framed),
        Err(error) => assert!(matches!(error, Malformed::TooLarge(_)), "{error}"),
    }
}

/// Items that stand twice in a request are the same events, in whatever frame; of a
/// provider whose events are their bytes, they are as many as there are of them.
fn repeated(source: Source<'_>, items: &[Item<'_>], body: &[u8]) {
    if items.len() * 2 > MAX_ITEMS || body.len() > MAX_BODY {
        return;
    }
    let Ok(doubled) = source.read(body) else {
        unreachable!("twice what is a body is a body")
    };
    assert_eq!(doubled.len(), items.len() * 2);
    let (first, second) = doubled.split_at(items.len());
    assert_eq!(first, items);
    let mut seen: HashSet<Ulid> = first.iter().filter_map(id).collect();
    for (once, again) in first.iter().zip(second) {
        assert_eq!(once.bytes, again.bytes);
        if id(once) == id(again) {
            assert_eq!(once.event, again.event);
            let named = once.text().contains("uuid") || once.text().contains('\\');
            let bytes = source.provider.name == "pushwoosh" && !named;
            assert!(!bytes || id(once).is_none(), "{}", once.text());
            continue;
        }
        assert!(
            !TOLD_BY_FIELDS.contains(&source.provider.name),
            "{}",
            once.text()
        );
        let (Ok(once), Ok(again)) = (&once.event, &again.event) else {
            unreachable!("an item is an event or is none, however often it comes")
        };
        let event_id = once.event_id;
        assert_eq!(
            once,
            &Event {
                event_id,
                ..again.clone()
            }
        );
        assert!(again.event_id.is_some_and(|id| seen.insert(id)));
    }
}

fn id(item: &Item<'_>) -> Option<Ulid> {
    item.event.as_ref().ok()?.event_id
}

/// An item does not depend on those beside it: alone, it is the same event.
fn alone(source: Source<'_>, items: &[Item<'_>]) {
    let mut before = HashSet::new();
    for item in items.iter().take(ALONE) {
        // What stood before it in its request is part of the identity of a repeat.
        let is_repeat = !before.insert(item.bytes);
        if item.event.is_err() || is_repeat {
            continue;
        }
        let alone = source.read(item.bytes);
        let events = alone.map(|items| items.into_iter().map(|item| item.event).collect());
        assert_eq!(events, Ok(vec![item.event.clone()]));
    }
}

/// A derived id tells sources apart, and carries the event's own time. A provider's own
/// id does neither.
fn identities(source: Source<'_>, items: &[Item<'_>], body: &[u8]) {
    let elsewhere = source.provider.normalize("t", source.settings, body);
    let Ok(elsewhere) = elsewhere else {
        unreachable!("a body is one whatever the source")
    };
    assert_eq!(items.len(), elsewhere.len());
    for (here, there) in items.iter().zip(&elsewhere) {
        let (Ok(event), Ok(other)) = (&here.event, &there.event) else {
            assert_eq!(here, there);
            continue;
        };
        let event_id = event.event_id;
        assert_eq!(
            event,
            &Event {
                event_id,
                ..other.clone()
            }
        );
        let own = event_id.is_some() && event_id == other.event_id;
        if own {
            assert!(!DERIVED.contains(&source.provider.name), "{}", here.text());
        }
        event::check_identity(event, own, here.text());
    }
}
