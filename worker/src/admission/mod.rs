//! Admission of requests: known sources, within their share of the pending requests.

pub(crate) mod budget;
pub(crate) mod directory;
