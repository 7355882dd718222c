//! What only looks, or is run by hand: `tidings-worker check`, `schema` and `spool`.

pub(crate) mod check;
pub(crate) mod reach;
pub(crate) mod reflect;
pub(crate) mod schema;
pub(crate) mod spool;
