//! The sources that Postgres lists, and who follows those that are dialed.

pub(crate) mod control;
pub(crate) mod lease;
pub(crate) mod registry;
pub(crate) mod source;
