//! Everything that others connect to: webhooks, probes, and gRPC.

pub(crate) mod gate;
pub(crate) mod grpc;
pub(crate) mod http;
pub(crate) mod peer;
pub(crate) mod refusal;
pub(crate) mod tls;
