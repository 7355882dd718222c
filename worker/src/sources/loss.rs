//! Gaps that do not come from a stream, on their way to `tidings.gap`.

use std::time::SystemTime;

use actix::prelude::*;

/// A gap to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewGap {
    pub(crate) source: String,
    /// A word of `tidings.gap.cause`.
    pub(crate) cause: &'static str,
    /// When the requests arrived.
    pub(crate) from: Option<SystemTime>,
    pub(crate) to: SystemTime,
    pub(crate) detail: String,
    /// The provider that the source must have.
    pub(crate) provider: Option<String>,
    /// Headers (a JSON object) that the source must accept.
    pub(crate) headers: Option<String>,
    /// Whether nothing is written if there is such a gap already, open or closed.
    pub(crate) once: bool,
}

/// The reason why a gap or a refused request is not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unwritten {
    /// There is no connection, or it is of no use any more.
    #[error("{0}")]
    Away(String),
    #[error("there is no such source")]
    NoSource,
    /// Postgres refuses to write this, and answers other questions.
    #[error("{0}")]
    Refused(String),
}

/// Writes a gap; the answer is its id, or `None` if something that must hold does not.
#[derive(Debug, Message)]
#[rtype(result = "Result<Option<i64>, Unwritten>")]
pub(crate) struct WriteGap(pub(crate) NewGap);
