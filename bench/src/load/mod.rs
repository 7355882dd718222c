//! The load: bodies as the providers send them, and clients that send them to 127.0.0.1.

pub(crate) mod bodies;
pub(crate) mod http;
pub(crate) mod push;
