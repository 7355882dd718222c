//! Ppoppo: a gRPC server whose event stream the worker dials.
//!
//! Page: "Event Streaming". [`story`] draws the events, [`mod@produce`] appends them to the
//! [`log`] as they happen, [`service`] lets a caller follow it by [`subscription`], whose
//! [`ending`] is drawn too; [`cord`] is how a connection is cut.

mod cord;
mod ending;
mod log;
mod produce;
mod service;
mod story;
mod subscription;
#[cfg(test)]
mod tests;

pub(crate) use ending::Endings;
pub(crate) use log::Log;
pub(crate) use produce::produce;
pub(crate) use service::{Service, serve};
pub(crate) use story::Stories;
