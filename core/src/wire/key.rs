//! The key of an event: by it a reply says which event it answers.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, bytes::Bytes};

use super::{
    SchemaError, envelope,
    locate::field,
    text::{self, TextField},
};

/// The key of an event as in its message, to be returned in the reply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key(pub(super) Bytes);

impl Key {
    /// The bytes of the key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Shortens the key to at most so many bytes, and not within a character of a text.
    pub fn clip(&mut self, most: usize) {
        if self.0.len() <= most {
            return;
        }
        let is_boundary = |at: &usize| match self.0.get(*at) {
            Some(byte) => byte & 0xc0 != 0x80,
            None => true,
        };
        let end = (most.saturating_sub(3)..=most).rev().find(is_boundary);
        // A copy, because a part of a message keeps the whole of it.
        let clipped = self.0.get(..end.unwrap_or(most)).unwrap_or_default();
        self.0 = Bytes::copy_from_slice(clipped);
    }
}

/// The place of the key in an event: a field of its own, or a field of a message inside
/// it.
#[derive(Clone, Debug)]
pub(super) struct KeyField {
    /// The fields that lead to the message which has the key.
    outer: Vec<FieldDescriptor>,
    field: TextField,
}

impl KeyField {
    /// `path` is `field`, or `outer.field`.
    pub(super) fn new(event: &MessageDescriptor, path: &'static str) -> Result<Self, SchemaError> {
        let (way, last) = path.rsplit_once('.').unwrap_or(("", path));
        let mut outer = Vec::new();
        let mut message = event.clone();
        for name in way.split('.').filter(|name| !name.is_empty()) {
            let field = field(&message, name)?;
            match field.kind() {
                Kind::Message(inner) if !field.is_list() && !field.is_map() => message = inner,
                _ => {
                    return Err(SchemaError::Type {
                        field: field.full_name().to_owned(),
                        found: text::describe(&field),
                        expected: "a single message",
                    });
                }
            }
            outer.push(field);
        }
        let field = TextField::new(field(&message, last)?)?;
        Ok(Self { outer, field })
    }

    /// Whether keys are bytes, which JSON has in base64.
    pub(super) fn is_bytes(&self) -> bool {
        self.field.is_bytes()
    }

    /// The key of an event; empty when it has none.
    pub(super) fn get(&self, event: &DynamicMessage) -> Key {
        match self.outer.split_first() {
            None => Key(self.field.get(event)),
            Some((first, rest)) => self.get_inside(event, first, rest),
        }
    }

    fn get_inside(
        &self,
        message: &DynamicMessage,
        field: &FieldDescriptor,
        rest: &[FieldDescriptor],
    ) -> Key {
        let value = message.get_field(field);
        match (value.as_message(), rest.split_first()) {
            (Some(inner), None) => Key(self.field.get(inner)),
            (Some(inner), Some((next, rest))) => self.get_inside(inner, next, rest),
            (None, _) => Key::default(),
        }
    }

    /// The key of an event that cannot be decoded, as far as its bytes can be read; empty
    /// when it is not among them.
    pub(super) fn scan(&self, event: &Bytes) -> Key {
        let numbers = self.outer.iter().map(FieldDescriptor::number);
        let message = numbers.fold(event.clone(), |message, number| {
            envelope::last(&message, number)
        });
        Key(self.field.scan(&message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_clipped_between_its_characters() {
        let clipped = |key: &[u8], most| {
            let mut key = Key(Bytes::copy_from_slice(key));
            key.clip(most);
            key.as_bytes().to_vec()
        };
        assert_eq!(clipped(b"abcd", 4), b"abcd");
        assert_eq!(clipped(b"abcde", 4), b"abcd");
        assert_eq!(clipped(b"abcde", 0), b"");
        for (text, most, expected) in [
            ("abc\u{e9}", 4, "abc"),
            ("abc\u{e9}", 5, "abc\u{e9}"),
            ("a\u{1f600}", 4, "a"),
            ("\u{1f600}a", 4, "\u{1f600}"),
        ] {
            assert_eq!(
                clipped(text.as_bytes(), most),
                expected.as_bytes(),
                "{text}"
            );
        }
        // No text, but bytes of any kind.
        assert_eq!(clipped(&[0x80; 300], 256), [0x80; 256]);
    }
}
