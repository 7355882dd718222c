//! Requests to the pipeline, and an outcome for each.

use std::sync::Arc;

use bytes::Bytes;
use strum::EnumIter;

use super::headers::HeaderText;

/// One request of a provider, as the extension gets it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) source: Arc<str>,
    /// The bytes as received, which a signature covers.
    pub(crate) body: Bytes,
    /// A JSON object of header names in lower case, with the receipt id.
    pub(crate) headers: HeaderText,
}

impl Request {
    pub(crate) fn len(&self) -> usize {
        self.source.len() + self.body.len() + self.headers.len()
    }
}

/// The extension's answer for one request, after its transaction has committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) verdict: Verdict,
    pub(crate) inserted: u32,
    pub(crate) duplicate: u32,
    pub(crate) rejected: u32,
    pub(crate) detail: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter)]
pub(crate) enum Verdict {
    Accepted,
    Unauthorized,
    Malformed,
    UnknownSource,
    Disabled,
    /// The events were read from a stream that another worker follows now.
    Fenced,
}

impl Verdict {
    /// `None` for an unknown verdict.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "accepted" => Self::Accepted,
            "unauthorized" => Self::Unauthorized,
            "malformed" => Self::Malformed,
            "unknown_source" => Self::UnknownSource,
            "disabled" => Self::Disabled,
            "fenced" => Self::Fenced,
            _ => return None,
        })
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Unauthorized => "unauthorized",
            Self::Malformed => "malformed",
            Self::UnknownSource => "unknown_source",
            Self::Disabled => "disabled",
            Self::Fenced => "fenced",
        }
    }
}

/// Why a request has no receipt. It is not known to be stored, and its sender should
/// retry.
#[derive(Clone, Debug, PartialEq, Eq, EnumIter, thiserror::Error)]
pub(crate) enum Refusal {
    /// A limit of the worker was reached.
    #[error("too many requests are pending")]
    Busy,
    /// More requests come than Postgres stores, and this one has waited for too long.
    #[error("more requests come than can be stored")]
    Overloaded,
    /// No commit came in time: Postgres is away, or slow.
    #[error("no commit came in time")]
    Late,
    /// Postgres takes no request at present, whichever it is.
    #[error("Postgres did not store it: {0}")]
    Failed(Arc<str>),
    /// Postgres declines this request, regardless of the others in its batch. An invalid
    /// request gets a verdict; this, however, is for the operator to fix, for example a
    /// trigger or an index of theirs that refuses the request or takes longer than the
    /// statement timeout. Other requests are not affected.
    #[error("Postgres declines this request: {0}")]
    Declined(Arc<str>),
    /// The worker is ending.
    #[error("the worker is stopping")]
    Stopping,
}

impl Refusal {
    /// The word for it in answers and metrics.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Overloaded => "overloaded",
            Self::Late => "commit_timeout",
            Self::Failed(_) => "commit_failed",
            Self::Declined(_) => "declined",
            Self::Stopping => "stopping",
        }
    }
}

pub(crate) type Outcome = Result<Receipt, Refusal>;

/// Builders for tests.
#[cfg(test)]
pub(crate) mod fake {
    use super::*;

    pub(crate) fn request(source: &str, body: &str) -> Request {
        Request {
            source: source.into(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            headers: "{}".to_owned().into(),
        }
    }

    pub(crate) fn receipt(verdict: Verdict) -> Receipt {
        Receipt {
            verdict,
            inserted: u32::from(verdict == Verdict::Accepted),
            duplicate: 0,
            rejected: 0,
            detail: None,
        }
    }
}
