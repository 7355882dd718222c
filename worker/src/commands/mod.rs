//! The commands beside `run`: `tidings-worker check`, `schema`, `reconcile` and `spool`.

pub(crate) mod check;
pub(crate) mod reach;
pub(crate) mod reconcile;
pub(crate) mod reflect;
pub(crate) mod schema;
pub(crate) mod spool;
