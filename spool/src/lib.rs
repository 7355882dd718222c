//! The file of the worker's spool: requests that were acknowledged and are not yet in
//! Postgres. Apart from the worker, so that files that somebody damaged can be fuzzed.
//!
//! # Layout
//! - [`entry`]: one request as it lies there
//! - [`mod@file`]: the file that holds them, which one process has at a time
//! - `reserve`: room for emptying it where the disk is full
//! - [`error`]: why it cannot be used, and what to do

pub mod entry;
pub mod error;
pub mod file;
mod reserve;

pub use entry::Entry;
pub use error::SpoolError;
pub use file::{Batch, Change, Mode, ReadLimits, SpoolFile};
