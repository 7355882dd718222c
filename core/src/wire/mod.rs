//! gRPC messages by descriptor: from bytes to the JSON that [`provider`](crate::provider)
//! reads, and from names and values to the bytes of requests and replies.
//!
//! There is one path for every message of every provider, whether its schema is ours or
//! a source's own, so a [`Schema`] is a value and nothing is generated. A source's own
//! schema is a descriptor set, a method, and [`Names`] that map its names to ours; they
//! are applied to the descriptors once, so that decoding costs nothing more.
//!
//! Invariants:
//! - Nothing of an event is lost. Fields that its schema does not know are kept, encoded,
//!   under `@unknown`; an event that cannot be decoded becomes
//!   `{"@undecodable": .., "@error": ..}` with its bytes in base64, which ends as rejected.
//! - One bad event of a message never fails those beside it.
//! - No descriptor set and no message, whoever made it, leads to a panic or to recursion
//!   without a bound.
//!
//! # Layout
//!
//! - `compile`: the text of a `.proto` file, into a descriptor set
//! - `set`, `names`: a descriptor set from outside, checked, reduced and renamed
//! - `call`, `schema`, `locate`: what a provider's call needs, and where a schema has it
//! - `envelope`: a message, cut into the events that it carries
//! - `frame`: what a message says of its stream, beside events
//! - `key`, `event`, `time`, `json`, `well_known`: an event, as JSON
//! - `question`: the call that returns the status of a send request
//! - `text`, `status`: values of requests and replies, in the form a schema gives them

mod call;
mod compile;
mod envelope;
mod error;
mod event;
mod frame;
mod json;
mod key;
mod locate;
mod names;
mod question;
mod schema;
mod set;
mod status;
mod text;
mod time;
mod well_known;

pub use prost_reflect::bytes::Bytes;

pub use self::{
    call::{Call, Frame, Inquiry, Proto, Role, Start},
    compile::compile,
    envelope::{Piece, Pieces},
    error::SchemaError,
    event::Decoded,
    frame::Notice,
    key::Key,
    names::Names,
    question::Question,
    schema::{Reply, Schema},
};
