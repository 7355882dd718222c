//! A time that is text in the schema, and a `google.protobuf.Timestamp` on the wire.
//!
//! Both have the same wire type, and if a provider's documentation leaves open which one
//! it sends, either is accepted. The bytes of a Timestamp are usually not valid text; if
//! they are, they begin with a control character, which no time does. A text is never
//! reinterpreted.

use prost_reflect::{
    Cardinality, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value, bytes::Bytes,
    prost::Message, prost_types::Timestamp,
};

use super::{envelope, well_known::rfc_3339};

/// The keys of a Timestamp's fields.
const KEYS: [&str; 2] = ["\u{8}", "\u{10}"];

#[derive(Clone, Debug)]
pub(super) struct TimeField(FieldDescriptor);

impl TimeField {
    /// `None` if the field is not a singular text, or shares a oneof with other fields.
    pub(super) fn new(field: FieldDescriptor) -> Option<Self> {
        let alone = field
            .containing_oneof()
            .is_none_or(|oneof| oneof.fields().len() == 1);
        let text = field.kind() == Kind::String && field.cardinality() != Cardinality::Repeated;
        (alone && text).then_some(Self(field))
    }

    /// Whether the text may be the bytes of a Timestamp.
    pub(super) fn is_doubtful(&self, message: &DynamicMessage) -> bool {
        let value = message.get_field(&self.0);
        let text = value.as_str().unwrap_or_default();
        KEYS.iter().any(|key| text.starts_with(key))
    }

    /// The message with its Timestamp as text, if it has one, and nothing of it is lost.
    pub(super) fn decode(
        &self,
        descriptor: &MessageDescriptor,
        message: &Bytes,
    ) -> Option<DynamicMessage> {
        let (contents, others) = envelope::take(message, self.0.number())?;
        let time = Timestamp::decode(contents.clone()).ok()?;
        if time.encode_to_vec() != contents {
            return None;
        }
        let mut message = DynamicMessage::decode(descriptor.clone(), others.as_slice()).ok()?;
        let text = Value::String(rfc_3339(time)?);
        message.try_set_field(&self.0, text).ok()?;
        Some(message)
    }
}
