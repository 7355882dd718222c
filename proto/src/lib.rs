//! The wire schemas of the providers that speak gRPC.
//!
//! Neither provider publishes its `.proto` file, so these are reconstructed from
//! their documentation: field names are documented, field numbers are not.

#![allow(
    missing_debug_implementations,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "generated code"
)]

/// Every schema of this crate as an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Ppoppo's event stream (`chat.external`), which the worker dials.
pub mod ppoppo {
    tonic::include_proto!("chat.external");
}

/// Pushwoosh's event streaming (`pushwoosh.event_streaming.v1`), which the worker serves.
pub mod pushwoosh {
    tonic::include_proto!("pushwoosh.event_streaming.v1");
}
