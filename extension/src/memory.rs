//! Memory that Rust takes on behalf of a caller's input.
//!
//! An allocation that fails in Rust ends the backend by SIGABRT, and the postmaster then ends
//! every other session. Whatever grows with input is therefore asked for beforehand, where
//! failing is an ordinary ERROR. What Postgres itself allocates raises that ERROR anyway.

use std::hint::black_box;

use pgrx::{PgSqlErrorCode, pg_sys::panic::ErrorReport};

use crate::error::error;

/// Bytes that reading a byte of JSON options takes at most: an element of an array takes two
/// bytes of text, and becomes a value in a vector that grows.
pub(crate) const OPTIONS_ROOM: usize = 128;

/// Makes sure that so many bytes can be allocated; SQLSTATE 53200 if not.
pub(crate) fn require(bytes: usize) -> Result<(), ErrorReport> {
    let mut room = Vec::<u8>::new();
    let reserved = room.try_reserve_exact(bytes);
    // Otherwise the compiler may leave the allocation out.
    black_box(&mut room);
    reserved.map_err(|_| {
        error(PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, "out of memory")
            .set_detail(format!(
                "Failed to reserve {bytes} bytes for what was passed."
            ))
            .set_hint("Pass less at a time, or give the server more memory.")
    })
}
