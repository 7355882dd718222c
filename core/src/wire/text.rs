//! A field that carries a text of ours, such as a cursor or an event's key, in whichever
//! form a schema gives it.

use base64::{Engine, prelude::BASE64_STANDARD};
use prost_reflect::{
    Cardinality, DynamicMessage, FieldDescriptor, Kind, SetFieldError, Value, bytes::Bytes,
};

use super::{SchemaError, envelope};

const EXPECTED: &str = "a single string, bytes or google.protobuf.StringValue";
/// The only field of a wrapper.
const WRAPPED: u32 = 1;

#[derive(Clone, Debug)]
pub(super) struct TextField {
    field: FieldDescriptor,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Bytes,
    WrappedText,
    WrappedBytes,
}

impl TextField {
    pub(super) fn new(field: FieldDescriptor) -> Result<Self, SchemaError> {
        let form = match field.kind() {
            _ if field.cardinality() == Cardinality::Repeated => None,
            Kind::String => Some(Form::Text),
            Kind::Bytes => Some(Form::Bytes),
            Kind::Message(message) if !field.is_group() => {
                let wrapped = message.get_field(WRAPPED).map(|field| field.kind());
                match (message.full_name(), wrapped) {
                    ("google.protobuf.StringValue", Some(Kind::String)) => Some(Form::WrappedText),
                    ("google.protobuf.BytesValue", Some(Kind::Bytes)) => Some(Form::WrappedBytes),
                    _ => None,
                }
            }
            _ => None,
        };
        match form {
            Some(form) => Ok(Self { field, form }),
            None => Err(SchemaError::Type {
                field: field.full_name().to_owned(),
                found: describe(&field),
                expected: EXPECTED,
            }),
        }
    }

    /// The same as [`TextField::new`] for a field that may also be a list of texts.
    pub(super) fn new_or_list(field: FieldDescriptor) -> Result<Self, SchemaError> {
        if field.is_list() && field.kind() == Kind::String {
            let form = Form::Text;
            return Ok(Self { field, form });
        }
        Self::new(field)
    }

    pub(super) fn name(&self) -> &str {
        self.field.name()
    }

    /// Whether its values are bytes, which JSON has in base64.
    pub(super) fn is_bytes(&self) -> bool {
        matches!(self.form, Form::Bytes | Form::WrappedBytes)
    }

    /// Sets the field, or appends to it if it is a list. Bytes that are not UTF-8 go into a
    /// text in base64.
    pub(super) fn set(
        &self,
        message: &mut DynamicMessage,
        value: &[u8],
    ) -> Result<(), SetFieldError> {
        let mut value = if self.is_bytes() {
            Value::Bytes(Bytes::copy_from_slice(value))
        } else {
            let text = std::str::from_utf8(value).map(str::to_owned);
            Value::String(text.unwrap_or_else(|_| BASE64_STANDARD.encode(value)))
        };
        if matches!(self.form, Form::WrappedText | Form::WrappedBytes)
            && let Kind::Message(wrapper) = self.field.kind()
        {
            let mut wrapper = DynamicMessage::new(wrapper);
            wrapper.try_set_field_by_number(WRAPPED, value)?;
            value = Value::Message(wrapper);
        }
        if self.field.is_list() {
            let mut values = match message.get_field(&self.field).into_owned() {
                Value::List(values) => values,
                _ => Vec::new(),
            };
            values.push(value);
            value = Value::List(values);
        }
        message.try_set_field(&self.field, value)
    }

    /// The field's value; empty when it is absent.
    pub(super) fn get(&self, message: &DynamicMessage) -> Bytes {
        match message.get_field(&self.field).as_ref() {
            Value::Message(wrapper) => wrapper
                .get_field_by_number(WRAPPED)
                .map_or_else(Bytes::new, |value| plain(&value)),
            value => plain(value),
        }
    }

    /// The field's value in a message that cannot be decoded, as far as its bytes can be
    /// read; empty when it is not among them.
    pub(super) fn scan(&self, message: &Bytes) -> Bytes {
        let found = envelope::last(message, self.field.number());
        match self.form {
            Form::Text | Form::Bytes => found,
            Form::WrappedText | Form::WrappedBytes => envelope::last(&found, WRAPPED),
        }
    }
}

fn plain(value: &Value) -> Bytes {
    match value {
        Value::String(text) => Bytes::copy_from_slice(text.as_bytes()),
        Value::Bytes(bytes) => bytes.clone(),
        _ => Bytes::new(),
    }
}

/// A field's type as a `.proto` file has it.
pub(super) fn describe(field: &FieldDescriptor) -> String {
    let kind = match field.kind() {
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(of) => of.full_name().to_owned(),
        scalar => format!("{scalar:?}").to_lowercase(),
    };
    if field.is_map() {
        "map".to_owned()
    } else if field.is_list() {
        format!("repeated {kind}")
    } else {
        kind
    }
}
