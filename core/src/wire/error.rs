//! Why a schema cannot be used, and what to change.

/// Why a schema cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    #[error("the .proto text is wrong at line {line}, column {column}: {reason}")]
    Syntax {
        line: usize,
        column: usize,
        reason: String,
    },
    #[error("the .proto text cannot be compiled: {0}")]
    Compile(String),
    #[error(
        "the .proto text imports {0:?}, which is not available: pass a descriptor set instead, \
         made by protoc --include_imports --descriptor_set_out"
    )]
    Import(String),
    #[error("the descriptor set cannot be read: {0}")]
    Set(String),
    #[error(
        "the descriptor set imports {0:?}, which is not in it: make it with \
         protoc --include_imports --descriptor_set_out"
    )]
    NotIncluded(String),
    #[error("the descriptor set is beyond a limit: {0}")]
    TooLarge(String),
    #[error("{0:?} is not a method: write it as /package.Service/Method")]
    NotMethod(String),
    #[error("the descriptor set has no method {wanted}; {found}")]
    NoMethod { wanted: String, found: String },
    #[error("the method {method} must {expected}")]
    Streaming {
        method: String,
        expected: &'static str,
    },
    #[error("{place} field {field}; {advice}")]
    NoField {
        place: String,
        field: &'static str,
        advice: String,
    },
    #[error(
        "{message} has the field {field} in more than one place: {places}; rename all but one of \
         them with names, such as '{{\"{first}.{field}\": \"other_{field}\"}}'"
    )]
    Ambiguous {
        message: String,
        field: &'static str,
        places: String,
        first: String,
    },
    #[error("the field {field} is a {found}; it must be {expected}")]
    Type {
        field: String,
        found: String,
        expected: &'static str,
    },
    #[error(
        "the enum {0} has no value that says success; map one with names: \
         '{{\"ITS_VALUE\": \"SUCCESS\"}}'"
    )]
    NoSuccess(String),
    #[error("the enum {0} has no value beside success to refuse an event with")]
    NoFailure(String),
    #[error(
        "names has {0:?}, which is not a field or enum value of the method's messages; \
         write a field as field, Message.field or package.Message.field"
    )]
    UnknownName(String),
    #[error("names maps {from:?} to {to:?}, which is not a name")]
    NotName { from: String, to: String },
    #[error(
        "with names applied, two fields of {message} are called {name}: {first} and {second}; \
         map the other one to another name"
    )]
    SameName {
        message: String,
        name: String,
        first: String,
        second: String,
    },
    #[error("with names applied, two values of {message} are called {name}: {first} and {second}")]
    SameValue {
        message: String,
        name: String,
        first: String,
        second: String,
    },
}
