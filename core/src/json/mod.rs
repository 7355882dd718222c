//! JSON as it arrives: a body cut into items, the fields of an item, and whether Postgres
//! can store them.
//!
//! Nothing is copied until a provider asks for a field: an item is a slice of the body.

mod body;
mod canonical;
mod object;
mod storable;

pub use self::{
    body::{MAX_BODY, MAX_ITEMS, Wrapper, items},
    canonical::canonical,
    object::{Object, required, text},
    storable::storable,
};

/// The type of a value, for an error message.
pub fn describe(value: &str) -> &'static str {
    match value.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}
