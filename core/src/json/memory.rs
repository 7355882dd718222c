//! The memory that is needed to read a body.
//!
//! An allocation that fails in Rust ends the process, and with it the whole server. Who
//! reads a body in a backend therefore makes sure before each step that there is room for
//! it. `core/tests/memory.rs` measures that no body takes more than is stated here.

use super::{body::MAX_ITEMS, tape::MAX_PARTS};

/// Bytes for what does not grow with a body.
const BASE: usize = 64 << 10;

/// Bytes for what [`Provider::items`](crate::Provider::items) does, which looks at a body of
/// this length as a whole: which containers are open, where the items of a damaged body are,
/// and how often each item was seen.
pub const fn room_for_body(length: usize) -> usize {
    BASE + length / 2 + (48 + 24) * smaller(length / 2, MAX_ITEMS)
}

/// Bytes for reading the next item, none of which is longer or has more values than this:
/// the texts that are copied, and the tape and the `jsonb`, which grow with the values.
pub const fn room_for_item(longest: usize, most: usize) -> usize {
    BASE + 6 * longest + 128 * smaller(most, MAX_PARTS)
}

/// Bytes for reading a text of this length, whatever it holds.
pub const fn room_for_text(length: usize) -> usize {
    room_for_item(length, length / 2)
}

const fn smaller(a: usize, b: usize) -> usize {
    if a < b { a } else { b }
}
