//! What a stream asks whoever knows the database.

use std::sync::Arc;

use actix::prelude::*;

/// Where a stream goes on, and its bearer token if the database holds one.
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

/// Where the stream of this source goes on.
#[derive(Debug, Message)]
#[rtype(result = "Result<Resume, String>")]
pub(crate) struct WhereToResume(pub(crate) Arc<str>);
