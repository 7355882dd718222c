//! Why a spool cannot be used, and what to do.

use std::path::Path;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpoolError {
    #[error(
        "another process holds the spool {0}: end it first, or give each worker a folder of its own"
    )]
    Held(String),
    #[error("there is no spool in {0}")]
    Absent(String),
    /// A damaged spool is never replaced automatically, because the requests in it were
    /// acknowledged.
    #[error(
        "the spool {path} is damaged ({reason}): restore the file, or move it away with \
         `tidings-worker spool set-aside` and keep it, because requests in it were answered 200 \
         and may not be in Postgres"
    )]
    Damaged { path: String, reason: String },
    /// The data is still in the open file.
    #[error(
        "the spool's file {path} was {what}, and the requests in it cannot be written to a new \
         file there: {reason}; make the folder writable, or restart the worker once the spool \
         is drained"
    )]
    Displaced {
        path: String,
        what: &'static str,
        reason: String,
    },
    #[error("the spool {path} cannot be used: {reason}")]
    Unusable { path: String, reason: String },
    #[error("the thread that serves the spool has ended")]
    Ended,
}

impl SpoolError {
    pub fn unusable(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Unusable {
            path: path.display().to_string(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn damaged(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Damaged {
            path: path.display().to_string(),
            reason: reason.to_string(),
        }
    }

    /// Converts an error of the database; damage is distinguished from transient errors.
    pub(crate) fn of(path: &Path, error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
                Self::Held(path.display().to_string())
            }
            redb::Error::Io(error) if error.kind() != std::io::ErrorKind::InvalidData => {
                Self::unusable(path, error)
            }
            error @ (redb::Error::PreviousIo | redb::Error::DatabaseClosed) => {
                Self::unusable(path, error)
            }
            error => Self::damaged(path, error),
        }
    }
}
