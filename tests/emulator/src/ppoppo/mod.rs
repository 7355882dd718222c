//! Ppoppo: a gRPC server whose two streams the worker dials.
//!
//! From the published contract and the page "Event Streaming". [`story`] draws what becomes
//! of send requests, [`channel`] what is written in channels; [`mod@produce`] appends it to
//! a [`log`] as it happens, and [`requests`] is what is known of each send request.
//! [`service`] lets a caller follow a [`feed`] by [`subscription`], whose [`ending`] is
//! drawn too; [`cord`] is how a connection is cut, [`server`] who holds it. [`desk`] is who
//! may call: [`token`] and [`oauth`] are the access tokens, [`quota`] is what exhausts.
//! [`liberal`] has the forms that the contract leaves open, [`variant`] another schema.

mod channel;
mod cord;
mod desk;
mod ending;
mod feed;
mod liberal;
mod log;
mod oauth;
mod produce;
mod quota;
mod requests;
mod server;
mod service;
mod story;
mod subscription;
#[cfg(test)]
mod tests;
mod token;
mod variant;

pub(crate) use channel::Chats;
pub(crate) use desk::Access;
pub(crate) use ending::{Endings, Expiry, REFUSALS};
pub(crate) use feed::Feed;
pub(crate) use log::{Log, Manner};
pub(crate) use oauth::serve as serve_tokens;
pub(crate) use produce::produce;
pub(crate) use requests::Requests;
pub(crate) use server::{serve, serve_variant};
pub(crate) use service::Service;
pub(crate) use story::{Kinds, Stories};
pub(crate) use token::{Terms, Tokens};
