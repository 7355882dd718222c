//! JSON as it arrives: a body cut into items, the fields of an item, and the item as
//! Postgres stores it.
//!
//! # Layout
//!
//! - `body`: a body cut into its items, one after the other
//! - `recover`: the items of a body some of whose items are damaged
//! - `scan`: the grammar, in one pass
//! - `shallow`: the members of an object, without a look at their values
//! - `tape`: an item that was read once, and whether Postgres can store it
//! - `object`: the fields of an item
//! - `canonical`: the form of a value from which identities are derived
//! - `jsonb`, `numeric`: an item as Postgres stores it
//! - `string`: the characters of a string
//! - `memory`: how much of it all of this takes
//!
//! Nothing is copied until a provider asks for a field: an item is a slice of the body.

use crate::event::ItemError;

mod body;
mod canonical;
mod jsonb;
mod memory;
mod numeric;
mod object;
mod recover;
mod scan;
mod shallow;
mod string;
mod tape;

pub use self::{
    body::{MAX_BODY, MAX_ITEMS, Wrapper},
    canonical::canonical,
    jsonb::{Writer, varlena_header},
    memory::{room_for_body, room_for_item, room_for_text},
    object::{Object, required, text},
    shallow::string_in,
    tape::{Tape, Value, storable},
};
pub(crate) use body::Cursor;

/// The reason why a value that must be an object is refused.
pub(crate) fn not_an_object(value: Value<'_, '_>) -> ItemError {
    ItemError::NotAnObject(describe(value.text()))
}

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
