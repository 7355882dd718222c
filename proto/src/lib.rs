//! The wire schemas of the providers that speak gRPC, as generated code: a module for
//! each provider's folder of `proto/`. Tests and the emulator use it; the worker itself
//! decodes by descriptor, from the same `.proto` files.
//!
//! A schema is written from what its provider has published. If a provider has published
//! none, the schema is reconstructed from its documentation, which has the names of the fields
//! and not their numbers. Each `.proto` file says which of the two holds.

#![allow(
    missing_debug_implementations,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::large_enum_variant,
    reason = "generated code"
)]

/// Every schema of this crate as an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

include!(concat!(env!("OUT_DIR"), "/providers.rs"));
