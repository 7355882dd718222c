//! The status of a reply, in whichever form a schema gives it.

use prost_reflect::{
    Cardinality, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, SetFieldError, Value,
};

use super::{
    SchemaError,
    text::{self, TextField},
};

/// The word by which Pushwoosh knows that an event need not be sent again.
const SUCCESS: &str = "Success";

#[derive(Clone, Debug)]
pub(super) enum StatusField {
    Text(TextField),
    /// `true` is success.
    Bool(FieldDescriptor),
    Enum {
        field: FieldDescriptor,
        success: i32,
        failure: i32,
    },
}

impl StatusField {
    pub(super) fn new(field: FieldDescriptor) -> Result<Self, SchemaError> {
        match field.kind() {
            Kind::Bool if field.cardinality() != Cardinality::Repeated => Ok(Self::Bool(field)),
            Kind::Enum(of) if field.cardinality() != Cardinality::Repeated => Ok(Self::Enum {
                success: success(&of)?,
                failure: failure(&of)?,
                field,
            }),
            _ => {
                let (name, found) = (field.full_name().to_owned(), text::describe(&field));
                TextField::new(field).map(Self::Text).map_err(|_| SchemaError::Type {
                    field: name,
                    found,
                    expected: "a single string, bytes, enum, bool or google.protobuf.StringValue",
                })
            }
        }
    }

    /// Sets the field: to success, or to the reason why not, if it can carry one.
    pub(super) fn set(
        &self,
        message: &mut DynamicMessage,
        refused: Option<&str>,
    ) -> Result<(), SetFieldError> {
        match self {
            Self::Text(field) => field.set(message, refused.unwrap_or(SUCCESS).as_bytes()),
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

/// Whether a value of this name is told from others.
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
