//! Requests that were refused before Postgres saw them, on their way to `tidings.rejected`.

use std::{sync::Arc, time::SystemTime};

use actix::prelude::*;
use bytes::Bytes;

use super::loss::Unwritten;

/// Keeps a refused request.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "Result<(), Unwritten>")]
pub(crate) struct KeepRefusal {
    pub(crate) source: Arc<str>,
    /// The time at which the request arrived.
    pub(crate) received: SystemTime,
    pub(crate) reason: String,
    /// A JSON object of header names in lower case.
    pub(crate) headers: String,
    /// The beginning of the body, as far as it was read.
    pub(crate) body: Bytes,
    /// Length of the whole body in bytes, as far as it is known.
    pub(crate) bytes: i64,
}
