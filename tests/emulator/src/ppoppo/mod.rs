//! Ppoppo: a gRPC server whose event stream the worker dials.
//!
//! Page: "Event Streaming". [`story`] draws the events, [`mod@produce`] appends them to the
//! [`log`] as they happen, [`service`] lets a caller follow it by [`subscription`], whose
//! [`ending`] is drawn too; [`cord`] is how a connection is cut, [`server`] who holds it.
//! [`token`] and [`oauth`] are the access tokens, [`quota`] is what exhausts,
//! [`liberal`] the forms that the page leaves open, [`variant`] another schema.

mod cord;
mod ending;
mod liberal;
mod log;
mod oauth;
mod produce;
mod quota;
mod server;
mod service;
mod story;
mod subscription;
#[cfg(test)]
mod tests;
mod token;
mod variant;

pub(crate) use ending::{Endings, REFUSALS};
pub(crate) use log::{Log, Manner};
pub(crate) use oauth::serve as serve_tokens;
pub(crate) use produce::produce;
pub(crate) use server::serve;
pub(crate) use service::{Access, Service};
pub(crate) use story::Stories;
pub(crate) use token::{Terms, Tokens};
pub(crate) use variant::NoticeServiceServer;
