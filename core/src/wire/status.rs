//! The status of a reply, in whichever form a schema gives it.

use prost_reflect::{
    Cardinality, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, SetFieldError, Value,
};

use super::{
    SchemaError,
    text::{self, TextField},
};

#[derive(Clone, Debug)]
pub(super) enum StatusField {
    Text {
        field: TextField,
        success: &'static str,
    },
    /// `true` is success.
    Bool(FieldDescriptor),
    Enum {
        field: FieldDescriptor,
        success: i32,
        failure: i32,
    },
}

impl StatusField {
    /// The status in this field; `success` is what says it where the field is a text.
    pub(super) fn new(field: FieldDescriptor, success: &'static str) -> Result<Self, SchemaError> {
        match field.kind() {
            Kind::Bool if field.cardinality() != Cardinality::Repeated => Ok(Self::Bool(field)),
            Kind::Enum(of) if field.cardinality() != Cardinality::Repeated => Ok(Self::Enum {
                success: self::success(&of)?,
                failure: failure(&of)?,
                field,
            }),
            _ => {
                let (name, found) = (field.full_name().to_owned(), text::describe(&field));
                let field = TextField::new(field).map_err(|_| SchemaError::Type {
                    field: name,
                    found,
                    expected: "a single string, bytes, enum, bool or google.protobuf.StringValue",
                })?;
                Ok(Self::Text { field, success })
            }
        }
    }

    /// Sets the field to success, or to the reason of a refusal if the field can carry
    /// one.
    pub(super) fn set(
        &self,
        message: &mut DynamicMessage,
        refused: Option<&str>,
    ) -> Result<(), SetFieldError> {
        match self {
            Self::Text { field, success } => {
                field.set(message, refused.unwrap_or(success).as_bytes())
            }
            Self::Bool(field) => message.try_set_field(field, Value::Bool(refused.is_none())),
            Self::Enum {
                field,
                success,
                failure,
            } => {
                let number = if refused.is_none() { success } else { failure };
                message.try_set_field(field, Value::EnumNumber(*number))
            }
        }
    }
}

/// The words of a value's name. A schema prefixes them with the enum's: `RESULT_OK`.
fn words(name: &str) -> Vec<String> {
    name.split('_').map(str::to_ascii_lowercase).collect()
}

fn is_success(name: &str) -> bool {
    let words = words(name);
    let last = words.last().map(String::as_str);
    matches!(last, Some("success" | "succeeded" | "ok"))
        && !words
            .iter()
            .any(|w| matches!(w.as_str(), "not" | "no" | "non" | "partial"))
}

/// Whether a value of this name can be distinguished from the others.
pub(super) fn is_known(name: &str) -> bool {
    is_success(name) || is_failure(name)
}

fn success(of: &EnumDescriptor) -> Result<i32, SchemaError> {
    // The word alone, such as names gives it, goes before a word with a prefix.
    let exact = |name: &str| matches!(name.to_ascii_lowercase().as_str(), "success" | "ok");
    let values = || of.values();
    values()
        .find(|value| exact(value.name()))
        .or_else(|| values().find(|value| is_success(value.name())))
        .map(|value| value.number())
        .ok_or_else(|| SchemaError::NoSuccess(of.full_name().to_owned()))
}

fn is_failure(name: &str) -> bool {
    let last = words(name).pop();
    matches!(
        last.as_deref(),
        Some("failure" | "failed" | "fail" | "error" | "retry")
    )
}

fn failure(of: &EnumDescriptor) -> Result<i32, SchemaError> {
    let success = success(of)?;
    let others = || {
        of.values()
            .filter(move |value| value.number() != success && !is_success(value.name()))
    };
    others()
        .find(|value| is_failure(value.name()))
        // Zero is what a peer may take for no status at all.
        .or_else(|| others().find(|value| value.number() != 0))
        .or_else(|| others().next())
        .map(|value| value.number())
        .ok_or_else(|| SchemaError::NoFailure(of.full_name().to_owned()))
}
