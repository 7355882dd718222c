//! The meaning of delivery events, without a database: no I/O, no clock, no randomness.
//!
//! # Layout
//!
//! Data flows one way, top to bottom.
//!
//! - [`signature`]: HMAC-SHA1 over the bytes as received, and secrets compared in constant time
//! - [`encoding`], [`network`]: content codings of a body, and the networks of a sender
//! - [`policy`]: whether a request carries what its source demands
//! - [`json`]: a body cut into items, and whether Postgres can store an item
//! - [`provider`]: the registry, and one module for each provider: an item becomes an event
//! - [`event`], [`kind`]: an event and the vocabulary that describes it
//! - [`time`]: the providers' times, converted to microseconds
//! - [`identity`]: the id that is the same however often an event arrives
//! - [`ulid`]: the 128-bit sortable id
//! - [`log`]: the ids that give each event its position in the log
//! - [`wire`]: gRPC messages by their descriptors, into the JSON that [`provider`] reads

#![forbid(unsafe_code)]

pub mod encoding;
pub mod event;
pub mod identity;
pub mod json;
pub mod kind;
pub mod log;
pub mod network;
pub mod policy;
pub mod provider;
pub mod signature;
pub mod time;
pub mod ulid;
pub mod wire;

pub use event::{Event, Facts, Item, ItemError, Malformed, Pause};
pub use kind::Kind;
pub use provider::{Items, Provider, Settings};
pub use ulid::Ulid;
