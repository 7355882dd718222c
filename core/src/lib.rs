//! What delivery events mean, without a database: no I/O, no clock, no randomness.
//!
//! # Layout
//!
//! Data flows one way, top to bottom.
//!
//! - [`signature`]: HMAC-SHA1 over the bytes as received, and secrets compared in constant time
//! - [`policy`]: whether a request carries what its source demands
//! - [`json`]: a body cut into items, and what of an item Postgres can store
//! - [`provider`]: the registry, and one module for each provider: an item becomes an event
//! - [`event`], [`kind`]: an event and the vocabulary it is told in
//! - [`time`]: the providers' clocks, read into microseconds
//! - [`identity`]: the id an event carries however often it arrives
//! - [`ulid`]: the 128-bit sortable id
//! - [`log`]: the ids that give each event its place in the log
//! - [`wire`]: gRPC messages by their descriptors, into the JSON that [`provider`] reads

#![forbid(unsafe_code)]

pub mod event;
pub mod identity;
pub mod json;
pub mod kind;
pub mod log;
pub mod policy;
pub mod provider;
pub mod signature;
pub mod time;
pub mod ulid;
pub mod wire;

pub use event::{Event, Facts, Item, ItemError, Malformed};
pub use kind::Kind;
pub use provider::{Provider, Settings};
pub use ulid::Ulid;
