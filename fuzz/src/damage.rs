//! A damaged item costs no other: whatever stands between good items, as an array, as lines or
//! in a wrapper, the good ones beyond its reach are stored, and nothing else becomes an event.
//!
//! The reach is judged here by simple means, from the bytes of the damaged item alone.

use std::ops::Range;

use serde_json::value::RawValue;
use tidings_core::{Item, Provider, provider::Settings};

/// The form in which a body holds its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Array,
    /// An array with a line for each item.
    Pretty,
    Lines,
    Wrapper,
}

impl Form {
    /// The forms that a provider's bodies have.
    pub fn of(provider: &Provider) -> &'static [Self] {
        match may_wrap(provider) {
            true => &[Self::Array, Self::Pretty, Self::Lines, Self::Wrapper],
            false => &[Self::Array, Self::Pretty, Self::Lines],
        }
    }

    /// A body of these items, and the place of each in it.
    pub fn body(self, items: &[&[u8]]) -> (Vec<u8>, Vec<Range<usize>>) {
        let (before, between, after) = match self {
            Self::Array => ("[", ",", "]"),
            Self::Pretty => ("[\n  ", ",\n  ", "\n]\n"),
            Self::Lines => ("", "\n", "\n"),
            Self::Wrapper => (r#"{"batch":7,"events":["#, ",", r#"],"next":"n"}"#),
        };
        let mut body = before.as_bytes().to_vec();
        let mut places = Vec::new();
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                body.extend_from_slice(between.as_bytes());
            }
            places.push(body.len()..body.len() + item.len());
            body.extend_from_slice(item);
        }
        body.extend_from_slice(after.as_bytes());
        (body, places)
    }
}

/// Whether the items of a provider may be in an object.
pub fn may_wrap(provider: &Provider) -> bool {
    provider.name == "pushwoosh"
}

/// The place of a slice in the text that it is a slice of.
pub fn place(text: &[u8], slice: &[u8]) -> Option<Range<usize>> {
    let (text, slice) = (text.as_ptr_range(), slice.as_ptr_range());
    let is_inside = text.start <= slice.start && slice.end <= text.end;
    let start = (slice.start as usize).checked_sub(text.start as usize)?;
    is_inside.then(|| start..start + (slice.end as usize - slice.start as usize))
}

/// The elements of the values of a body, if it is JSON: of an array its elements, of another
/// value itself. Of a body that is one scalar there are none.
pub fn elements(body: &[u8]) -> Option<Vec<&str>> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let body = str::from_utf8(body).ok()?;
    let mut elements = Vec::new();
    for value in serde_json::Deserializer::from_str(body).into_iter::<&RawValue>() {
        let value = value.ok()?.get();
        match value.starts_with('[') {
            true => {
                let inside: Vec<&RawValue> = serde_json::from_str(value).ok()?;
                elements.extend(inside.into_iter().map(RawValue::get));
            }
            false => elements.push(value),
        }
    }
    Some(elements)
}

/// The items that the damaged one may take with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The items before it: none of them, the one right before it, or all.
    pub before: Neighbours,
    /// The items after it.
    pub after: Neighbours,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbours {
    None,
    One,
    All,
}

impl Reach {
    /// The reach of these bytes, in which one place of an item was damaged.
    pub fn of(damaged: &[u8], form: Form) -> Self {
        let scan = Scan::of(damaged);
        let text = damaged.trim_ascii();
        let last = text.last();
        let before = match form {
            Form::Lines if matches!(text.first(), Some(b'}' | b']')) => Neighbours::One,
            Form::Lines => Neighbours::None,
            _ if scan.ends_array => Neighbours::All,
            _ if !begins_object(text) => Neighbours::One,
            _ => Neighbours::None,
        };
        let after = match form {
            // Before a line there is nothing that a value could follow, but for these.
            Form::Lines => match last {
                Some(b',' | b':' | b'[' | b'{') | None => Neighbours::One,
                _ => Neighbours::None,
            },
            _ if scan.ends_array || scan.is_in_array => Neighbours::All,
            // Read backwards, what was inside of a string is outside.
            _ if scan.is_quoted && scan.has_quoted_array => Neighbours::All,
            _ if scan.is_quoted => Neighbours::One,
            _ => Neighbours::None,
        };
        Self { before, after }
    }

    /// The reach among these items, at `place` in them. Behind an odd quote the strings of an
    /// item are read as if they were outside, so that a bracket of an array in one of them ends
    /// or begins an array. Behind an open bracket, an item that begins with another name may be
    /// the rest of the damaged one.
    pub fn among(mut self, damaged: &[u8], form: Form, items: &[&[u8]], place: usize) -> Self {
        let next = items.get(place + 1).copied().unwrap_or_default();
        let is_other = |name| Some(name) != first_name(next);
        let may_be_rest = form != Form::Lines
            && Scan::of(damaged).is_open
            && first_name(damaged.trim_ascii()).is_some_and(is_other);
        if self.after == Neighbours::None && may_be_rest {
            self.after = Neighbours::One;
        }
        let is_bracket = |item: &&[u8]| Scan::of(item).has_quoted_array;
        let is_wide = Scan::of(damaged).is_quoted && items.iter().any(is_bracket);
        match form {
            // A body whose first two lines begin with no bracket is none.
            Form::Lines if place == 0 && begins_foreign(damaged) => Self {
                before: Neighbours::All,
                after: Neighbours::All,
            },
            Form::Lines => self,
            _ if is_wide => Self {
                before: Neighbours::All,
                after: Neighbours::All,
            },
            _ => self,
        }
    }

    /// Whether an item is beyond the reach of the damaged one, by their places in the body.
    pub fn leaves(self, item: usize, damaged: usize) -> bool {
        let (neighbours, distance) = match item < damaged {
            true => (self.before, damaged - item),
            false => (self.after, item - damaged),
        };
        match neighbours {
            Neighbours::None => true,
            Neighbours::One => distance > 1,
            Neighbours::All => false,
        }
    }
}

/// Whether more than one line of some bytes begins with no bracket, before one that does.
fn begins_foreign(text: &[u8]) -> bool {
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let lines = lines.filter(|line| !line.is_empty());
    lines
        .take_while(|line| !matches!(line.first(), Some(b'{' | b'[')))
        .count()
        > 1
}

/// Whether some bytes begin with a bracket, a name and a colon.
fn begins_object(text: &[u8]) -> bool {
    first_name(text).is_some()
}

/// The name with which some bytes begin, after a bracket and before a colon.
fn first_name(text: &[u8]) -> Option<&[u8]> {
    let text = text.strip_prefix(b"{")?.trim_ascii_start();
    let text = text.strip_prefix(b"\"")?;
    let mut is_escaped = false;
    let end = text.iter().position(|byte| {
        let ends = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    });
    let (name, after) = text.split_at_checked(end?)?;
    let after = after.get(1..)?.trim_ascii_start();
    after.starts_with(b":").then_some(name)
}

/// The brackets and quotes of some bytes, one after the other.
#[derive(Debug, Default)]
struct Scan {
    is_quoted: bool,
    /// Whether a bracket in it has no end, or ends another one.
    is_open: bool,
    /// Whether it ends inside of an array that it opens.
    is_in_array: bool,
    /// Whether it closes an array that it does not open.
    ends_array: bool,
    /// Whether a string contains the bracket of an array.
    has_quoted_array: bool,
    /// Whether quotes and brackets come out even, and no colon is outside of brackets.
    is_even: bool,
}

impl Scan {
    fn of(bytes: &[u8]) -> Self {
        let mut scan = Self::default();
        let mut open = Vec::new();
        let mut is_escaped = false;
        let mut is_even = true;
        for byte in bytes {
            match byte {
                b'"' if !is_escaped => scan.is_quoted = !scan.is_quoted,
                b'{' | b'[' if !scan.is_quoted => open.push(*byte),
                b'[' | b']' if scan.is_quoted => scan.has_quoted_array = true,
                b'}' | b']' if !scan.is_quoted => {
                    let opened = open.pop();
                    scan.ends_array |= opened.is_none() && *byte == b']';
                    let is_pair = matches!((opened, byte), (Some(b'{'), b'}') | (Some(b'['), b']'));
                    scan.is_open |= !is_pair && opened.is_some();
                    is_even &= is_pair;
                }
                b':' if !scan.is_quoted => is_even &= !open.is_empty(),
                // A line break may end a part of the body.
                b'\n' => is_even = false,
                _ => {}
            }
            is_escaped = *byte == b'\\' && !is_escaped;
        }
        scan.is_open |= !open.is_empty();
        scan.is_in_array = open.contains(&b'[');
        scan.is_even = is_even && open.is_empty() && !scan.is_quoted && !is_escaped;
        scan
    }
}

/// Good items of a provider: with nested objects, and with strings that look like items.
pub fn good(provider: &Provider) -> [String; 4] {
    let fields = match provider.name {
        "ppoppo" => r#""event_id":"01JABCDEF0000000000000000#","event_type":"RECIPIENT_DELIVERED""#,
        "pushwoosh" => r#""event_name":"Push Sent","hwid":"h#","timestamp":1723799271"#,
        "arpoone" => {
            r#""MessageId":"m#","Status":"DELIVERED","ReportDateTime":"2024-10-01T11:34:56Z""#
        }
        _ => {
            r#""kind":"transaction:message:delivered","messageId":"m#","subscriberId":"s","ts":1723799271000"#
        }
    };
    std::array::from_fn(|index| {
        let fields = fields.replace('#', &index.to_string());
        let inner = format!("{{{fields}}}").replace('"', "\\\"");
        format!(
            r#"{{{fields},"text":"a \\\"}},{inner},{{ {index}:,","tags":["a","b"],"more":{{"list":[{{"n":1}},{{{fields}}}],"x":null}}}}"#
        )
    })
}

/// Checks a body in which these bytes stand between good items, in a form that their length
/// decides.
pub(crate) fn between_others(provider: &'static Provider, settings: &Settings, damaged: &[u8]) {
    // An array or a string in the place of an item is not a damaged item: a wrapper's array
    // begins with an object.
    if matches!(damaged.trim_ascii_start().first(), Some(b'[' | b'"')) {
        return;
    }
    let good = good(provider);
    let place = damaged.len() % (good.len() + 1);
    let mut items: Vec<&[u8]> = good.iter().map(String::as_bytes).collect();
    items.insert(place, damaged);
    let mut forms = Form::of(provider).iter().cycle();
    let Some(form) = forms.nth(damaged.len() / items.len() % Form::of(provider).len()) else {
        return;
    };
    let (body, places) = form.body(&items);
    if elements(&body).is_some() {
        return;
    }
    let Ok(read) = provider.normalize("s", settings, &body) else {
        return;
    };
    invents_nothing(&body, &places, place, &read);
    // Damage that leaves quotes and brackets even reaches nothing else.
    let reach = Reach::of(damaged, *form);
    let is_even = Scan::of(damaged).is_even;
    for (index, place_of) in places.iter().enumerate() {
        let is_beyond = index != place && is_even && reach.leaves(index, place);
        let is_found = || {
            let mut found = read
                .iter()
                .filter_map(|item| self::place(&body, item.bytes));
            found.any(|found| found == *place_of)
        };
        assert!(
            !is_beyond || is_found(),
            "item {index} of {} is lost",
            String::from_utf8_lossy(&body)
        );
    }
}

/// Every event is one of the good items, or is made of the damaged bytes alone.
pub fn invents_nothing(body: &[u8], places: &[Range<usize>], damaged: usize, items: &[Item<'_>]) {
    for item in items.iter().filter(|item| item.event.is_ok()) {
        let found = place(body, item.bytes);
        let is_known = found.is_some_and(|found| {
            places
                .iter()
                .enumerate()
                .any(|(index, place)| match index == damaged {
                    true => place.start <= found.start && found.end <= place.end,
                    false => *place == found,
                })
        });
        assert!(
            is_known,
            "{} is no item of {}",
            item.text(),
            String::from_utf8_lossy(body)
        );
    }
}
