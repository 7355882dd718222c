//! The sources that Postgres lists, and who follows those that are dialed.

pub(crate) mod control;
mod gaps;
mod lag;
mod lease;
pub(crate) mod loss;
pub(crate) mod queries;
pub(crate) mod readers;
pub(crate) mod refused;
pub(crate) mod source;
pub(crate) mod streams;
