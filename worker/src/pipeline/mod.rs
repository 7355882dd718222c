//! From a request to its receipt: requests gather in batches, and each is answered after
//! the commit that holds it.

pub(crate) mod batcher;
pub(crate) mod courier;
pub(crate) mod headers;
pub(crate) mod lane;
mod lanes;
pub(crate) mod outcomes;
mod pace;
pub(crate) mod queue;
pub(crate) mod request;
pub(crate) mod settle;
pub(crate) mod store;
pub(crate) mod stored;
pub(crate) mod taking;
pub(crate) mod work;
