//! Pushwoosh's event streaming, by both of its transports.
//!
//! Page: "Event streaming integration". [`message`] draws the events, [`http`] posts them
//! in batches, [`grpc`] streams them in [`chunk`]s.

mod chunk;
pub(crate) mod grpc;
pub(crate) mod http;
mod item;
mod liberal;
mod message;
mod variant;
