//! Frames: messages of a oneof whose members are an event, a sign of life, or the notice
//! that the cursor has expired.

use std::collections::BTreeSet;

use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value, bytes::Bytes,
};

use super::{
    Frame,
    envelope::{self, Shape},
    json,
};

/// The longest text of a notice, in characters.
const LONGEST: usize = 500;

/// The information about the stream in a message, beside events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The cursor of the request was too old: events between it and the next event are
    /// not in the stream. With what the provider says of it, as text or JSON.
    CursorExpired(String),
    /// The message has neither an event nor a member that is understood, but these.
    Unread(String),
}

/// The members of a frame.
#[derive(Clone, Debug)]
pub(super) struct Members {
    frame: MessageDescriptor,
    /// The numbers of those that hold an event or say that the stream is alive.
    usual: Vec<u32>,
    expired: Option<FieldDescriptor>,
}

impl Members {
    /// `None` where the message is the event itself. A schema need not have all members.
    pub(super) fn new(frame: &Frame, message: MessageDescriptor, shape: &Shape) -> Option<Self> {
        let Shape::Inside(events) = shape else {
            return None;
        };
        let alive = frame.alive.iter();
        let alive = alive.filter_map(|name| Some(message.get_field_by_name(name)?.number()));
        Some(Self {
            usual: events.numbers.iter().copied().chain(alive).collect(),
            expired: frame
                .expired
                .and_then(|name| message.get_field_by_name(name)),
            frame: message,
        })
    }

    pub(super) fn notice(&self, message: &Bytes) -> Option<Notice> {
        let mut is_usual = false;
        let mut others = BTreeSet::new();
        for (number, contents) in envelope::fields(message) {
            let expired = self.expired.as_ref();
            if let Some(expired) = expired.filter(|field| field.number() == number) {
                return Some(Notice::CursorExpired(detail(expired, contents)));
            }
            if self.usual.contains(&number) {
                is_usual = true;
            } else {
                others.insert(number);
            }
        }
        // Fields that the schema does not know are kept as evidence.
        let known = others.into_iter().filter_map(|n| self.frame.get_field(n));
        let names: Vec<String> = known.map(|field| field.name().to_owned()).collect();
        (!is_usual && !names.is_empty()).then(|| Notice::Unread(shortened(&names.join(", "))))
    }
}

/// The content of a member: its text, or its message as JSON. A message that has one field, a
/// text, is that text; one without fields is empty.
fn detail(member: &FieldDescriptor, contents: Bytes) -> String {
    let text = match member.kind() {
        Kind::Message(descriptor) => {
            DynamicMessage::decode(descriptor, contents).map_or_else(|_| Vec::new(), words)
        }
        Kind::String => contents.to_vec(),
        _ => Vec::new(),
    };
    shortened(&String::from_utf8_lossy(&text))
}

fn words(message: DynamicMessage) -> Vec<u8> {
    let mut fields = message.fields();
    match (fields.next(), fields.next()) {
        (None, _) => return Vec::new(),
        (Some((_, Value::String(text))), None) => return text.clone().into_bytes(),
        _ => {}
    }
    let mut text = Vec::new();
    json::write(&message, &[], &mut text);
    text
}

fn shortened(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}
