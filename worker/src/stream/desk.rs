//! The queries of a stream to the owner of the control connection.

use std::sync::Arc;

use actix::prelude::*;

use super::gap::Gap;

/// The cursor after which a stream is resumed, and its bearer token if the database has
/// one.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Resume {
    pub(crate) cursor: Option<String>,
    pub(crate) secret: Option<String>,
}

impl std::fmt::Debug for Resume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resume")
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

/// Asks where the stream of this source is resumed.
#[derive(Debug, Message)]
#[rtype(result = "Result<Resume, String>")]
pub(crate) struct WhereToResume(pub(crate) Arc<str>);

/// Writes a gap, and answers with its id after the commit; `None` if another worker has the
/// stream since, so that nothing was written.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Option<i64>, String>")]
pub(crate) struct ReportGap {
    pub(crate) source: Arc<str>,
    /// Epoch of the lease under which the stream is followed.
    pub(crate) epoch: i64,
    pub(crate) gap: Gap,
}
