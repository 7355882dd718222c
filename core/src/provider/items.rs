//! The items of a body, one after the other.

use std::collections::HashMap;

use super::{Entry, Provider, Settings};
use crate::{
    event::{Event, Item, ItemError, Malformed, Pause},
    json::{self, Cursor, Tape},
};

/// The items of a body, each read when it is asked for.
#[derive(Debug)]
pub struct Items<'a, 's> {
    provider: &'static Provider,
    source: &'s str,
    settings: Settings,
    cursor: Cursor<'a>,
    ordinal: u32,
    /// The item that was read last.
    tape: Tape,
    /// Number of times that each item was seen, if its provider counts that.
    seen: HashMap<&'a str, u32>,
    jsonb: json::Writer,
    pause: Pause,
}

impl<'a, 's> Items<'a, 's> {
    pub(super) fn new(
        provider: &'static Provider,
        source: &'s str,
        settings: &Settings,
        body: &'a [u8],
        pause: Pause,
    ) -> Result<Self, Malformed> {
        let cursor = Cursor::new(body, provider.wrapper.as_ref(), pause)?;
        let repeats = if provider.counts_repeats {
            cursor.count()
        } else {
            0
        };
        Ok(Self {
            provider,
            source,
            settings: settings.clone(),
            cursor,
            ordinal: 0,
            tape: Tape::default(),
            seen: HashMap::with_capacity(repeats),
            jsonb: json::Writer::default(),
            pause,
        })
    }

    /// Bytes of memory that the next item may take, see [`json::room_for_item`].
    pub fn room(&self) -> usize {
        json::room_for_item(self.cursor.longest(), self.cursor.most())
    }

    /// The item that was read last, as `jsonb`; `None` if that cannot hold it.
    pub fn jsonb(&mut self) -> Option<&[u8]> {
        let value = self.tape.value(self.cursor.text());
        self.jsonb.write(value, self.pause)
    }

    /// The event of an item that is on the tape.
    fn event(&mut self, text: &'a str) -> Result<Event<'a>, ItemError> {
        let value = self.tape.value(self.cursor.text());
        let object = value.object();
        let object = object.ok_or(ItemError::NotAnObject(json::describe(text)))?;
        let repeat = if self.provider.counts_repeats {
            let count = self.seen.entry(text).or_default();
            *count += 1;
            *count - 1
        } else {
            0
        };
        let entry = Entry {
            object,
            text,
            repeat,
            source: self.source,
            settings: &self.settings,
            provider: self.provider.name,
            pause: self.pause,
        };
        (self.provider.read)(&entry)?.check_keys()
    }
}

impl<'a> Iterator for Items<'a, '_> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let (bytes, read) = self.cursor.next(&mut self.tape)?;
        self.ordinal += 1;
        let storable = read.and_then(|text| self.tape.check_numbers().map(|()| text));
        let is_storable = storable.is_ok();
        let object = self.tape.value(self.cursor.text()).object();
        let object = object.filter(|_| is_storable);
        let cursor = object.and_then(|object| (self.provider.facts)(object).cursor);
        let event = storable.and_then(|text| self.event(text));
        Some(Item {
            ordinal: self.ordinal,
            bytes,
            storable: is_storable,
            cursor,
            event,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use crate::{Settings, provider};

    thread_local! {
        static PAUSES: Cell<usize> = const { Cell::new(0) };
    }

    /// The payload is written from the tape, after the text was read.
    #[test]
    fn there_are_pauses_while_a_payload_is_written() {
        let elements = format!("[[{}0]]", "0,".repeat(20_000));
        // Fewer values than those after which the writer pauses, but many comparisons.
        let names: Vec<_> = (0..4_000u32)
            .map(|n| format!(r#""{:010}":0"#, n.wrapping_mul(2_654_435_761)))
            .collect();
        for body in [elements, format!("{{{}}}", names.join(","))] {
            let pause = || PAUSES.set(PAUSES.get() + 1);
            let provider = &provider::ALL[0];
            let items = provider.items("s", &Settings::default(), body.as_bytes(), pause);
            let mut items = items.unwrap();
            items.next().unwrap();
            PAUSES.set(0);
            items.jsonb().unwrap();
            assert!(PAUSES.get() > 0);
        }
    }

    /// However a body is made, whoever waits for it may end that before long.
    #[test]
    fn there_are_pauses_inside_of_an_item_and_between_items() {
        let megabyte = 1 << 20;
        let elements = vec!["0"; megabyte / 2 - 1].join(",");
        let nested = vec![format!("{}{}", "[".repeat(100), "]".repeat(100)); megabyte / 201];
        let names: Vec<_> = (0..megabyte / 16)
            .map(|n| format!(r#""{n:010}":0"#))
            .collect();
        let items = vec![r#"{"MessageId":"m","Status":"s"}"#; megabyte / 32];
        for (what, body) in [
            ("elements", format!("[[{elements}]]")),
            ("nested", format!("[[{}]]", nested.join(","))),
            ("members", format!("{{{}}}", names.join(","))),
            ("items", format!("[{}]", items.join(","))),
        ] {
            for provider in provider::ALL {
                PAUSES.set(0);
                let pause = || PAUSES.set(PAUSES.get() + 1);
                let settings = Settings::default();
                let items = provider.items("s", &settings, body.as_bytes(), pause);
                let mut items = items.unwrap();
                // One for each 64 KiB, of each time that the text is read.
                let before = PAUSES.get();
                assert!(before >= 12, "{what}: {before}");
                while items.next().is_some() {
                    items.jsonb().unwrap();
                }
                assert!(PAUSES.get() >= 2 * before, "{what}");
            }
        }
    }
}
