//! Which `.proto` files the gRPC providers speak.
//!
//! The variant has other packages, methods, names, numbers and types, and carries events
//! and answers in batches: what a provider's own files might look like, compared with
//! those reconstructed from its page. Its types are generated here, so that a receiver
//! that is given the files as text is met by code that never read that text.

use clap::ValueEnum;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Schema {
    Documented,
    Variant,
}
