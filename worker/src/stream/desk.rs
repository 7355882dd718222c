//! The queries of a stream to the owner of the control connection.

use std::sync::Arc;

use actix::prelude::*;

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
