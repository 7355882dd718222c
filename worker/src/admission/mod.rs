//! What may come in: known sources, within their share of what is pending.

pub(crate) mod budget;
pub(crate) mod directory;
