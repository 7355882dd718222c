//! A report that events of a source may be missing.

use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use strum::EnumIter;

/// Why events may be missing, of those causes that are not a stream's.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cause {
    /// Requests that were answered 200 cannot be brought to Postgres.
    SpoolDiscarded,
    /// A request was refused, and its provider does not send it again.
    ProviderGaveUp,
}

impl Cause {
    /// Its word in `tidings.gap` and in the metric.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::SpoolDiscarded => "spool_discarded",
            Self::ProviderGaveUp => "provider_gave_up",
        }
    }
}

/// What two reports have in common that are one: one open gap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) source: String,
    pub(crate) cause: Cause,
    /// What happened, in words without a colon: the gap's detail begins with them.
    pub(crate) what: String,
    pub(crate) proof: Option<Proof>,
}

/// What must hold, so that the requests of a report were the source's own. Postgres is asked
/// when the gap is written, because it may be away when a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Proof {
    /// The provider whose rule was applied.
    pub(crate) provider: String,
    /// The headers with which the requests came, a JSON object.
    pub(crate) headers: String,
}

/// How many requests (0 if that is not known), and when they arrived, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Extent {
    /// `None` if unknown.
    pub(crate) from: Option<u64>,
    pub(crate) to: u64,
    pub(crate) requests: u64,
    /// `None` if their bodies were not read.
    pub(crate) bytes: Option<u64>,
}

impl Extent {
    /// Both together.
    pub(crate) fn join(&mut self, other: Self) {
        self.from = self.from.into_iter().chain(other.from).min();
        self.to = self.to.max(other.to);
        self.requests = self.requests.saturating_add(other.requests);
        let bytes = self.bytes.zip(other.bytes);
        self.bytes = bytes.map(|(one, other)| one.saturating_add(other));
    }
}

/// A report, perhaps of several requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) key: Key,
    pub(crate) extent: Extent,
    /// Further details, such as where a file is; the newest count.
    pub(crate) detail: String,
}

impl Report {
    /// The detail of a gap of this kind.
    pub(crate) fn text(&self, extent: &Extent) -> String {
        // How many is not known.
        if extent.requests == 0 {
            return format!("{}: {}", self.key.what, self.detail);
        }
        let mut text = format!("{}: {}", self.key.what, counted(extent.requests));
        if let Some(bytes) = extent.bytes {
            let _ = write!(text, ", {bytes} bytes");
        }
        if !self.detail.is_empty() {
            let _ = write!(text, "; {}", self.detail);
        }
        text
    }
}

fn counted(requests: u64) -> String {
    match requests {
        1 => "1 request".to_owned(),
        _ => format!("{requests} requests"),
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(from: Option<u64>, to: u64, requests: u64, bytes: Option<u64>) -> Extent {
        Extent {
            from,
            to,
            requests,
            bytes,
        }
    }

    #[test]
    fn extents_widen_and_add_up() {
        let mut sum = extent(Some(5), 7, 1, Some(10));
        sum.join(extent(Some(2), 6, 2, Some(1)));
        assert_eq!(sum, extent(Some(2), 7, 3, Some(11)));
        sum.join(extent(None, 9, 1, None));
        assert_eq!(sum, extent(Some(2), 9, 4, None));
    }

    #[test]
    fn the_detail_begins_with_what_happened() {
        let report = Report {
            key: Key {
                source: "s".to_owned(),
                cause: Cause::SpoolDiscarded,
                what: "moved away".to_owned(),
                proof: None,
            },
            extent: extent(None, 1, 1, None),
            detail: String::new(),
        };
        assert_eq!(report.text(&report.extent), "moved away: 1 request");
        let text = Report {
            detail: "it is in /x".to_owned(),
            ..report
        };
        let extent = extent(None, 1, 2, Some(30));
        assert_eq!(
            text.text(&extent),
            "moved away: 2 requests, 30 bytes; it is in /x"
        );
    }
}
