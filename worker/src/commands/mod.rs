//! The commands beside `run`: `tidings-worker check`, `schema` and `spool`.

pub(crate) mod check;
pub(crate) mod reach;
pub(crate) mod reflect;
pub(crate) mod schema;
pub(crate) mod spool;
