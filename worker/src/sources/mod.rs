//! The sources that Postgres lists, and who follows those that are dialed.

pub(crate) mod control;
pub(crate) mod gap;
mod lease;
pub(crate) mod queries;
pub(crate) mod source;
pub(crate) mod streams;
