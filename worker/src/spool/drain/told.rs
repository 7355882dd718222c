//! The fate of a request of the spool by its outcome, and the lines of the log about it. The
//! provider was told that the request is stored, so that no request is lost in silence.
//!
//! - What Postgres refuses is in `tidings.rejected`: a warning names the source, how many
//!   requests there are, and what to do.
//! - A source that Postgres does not know may be one that is still to come, because the
//!   database was created anew or is being restored. Its requests stay for [`GRACE`].

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use strum::{EnumIter, IntoEnumIterator};
use tokio::time::Instant;
use tracing::warn;

use super::super::{Entry, Spool};
use crate::pipeline::request::{Outcome, Refusal, Verdict};

/// Time for which Postgres must not have known a source, so that its requests are given up.
pub(in crate::spool) const GRACE: Duration = Duration::from_secs(24 * 3600);
/// Time between two warnings of the same kind about a source.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// Time between two warnings about a source that Postgres does not know.
const REMIND_EVERY: Duration = Duration::from_secs(3600);

/// The fate of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The entry is done with: committed, or refused for good.
    Done(Done),
    /// The entry may pass later: it was acknowledged, so nothing but a verdict ends it.
    Stays,
    /// Nothing is known of the entry: Postgres takes nothing at present, or an entry beside it
    /// is slow.
    Untried,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, EnumIter)]
pub(super) enum Done {
    Accepted,
    /// `tidings.rejected` has it.
    Unauthorized,
    /// `tidings.rejected` has it.
    Malformed,
    /// The source of the entry was dropped: nobody is left to keep the entry for.
    UnknownSource,
}

impl Done {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Unauthorized => "unauthorized",
            Self::Malformed => "malformed",
            Self::UnknownSource => "unknown_source",
        }
    }
}

/// The ways in which requests leave the spool, in the words of the metric.
pub(crate) fn outcomes() -> impl Iterator<Item = &'static str> {
    Done::iter().map(Done::as_str)
}

/// Kinds of warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Notice {
    Unauthorized,
    Malformed,
    /// Items of requests that were accepted.
    Items,
    GivenUp,
}

/// The number that was not yet said of a source, and the time at which something was said last.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    untold: u64,
    told: Option<Instant>,
}

/// A source that Postgres does not know.
#[derive(Clone, Copy, Debug)]
struct Unknown {
    since: Instant,
    reminded: Instant,
}

/// The outcomes that the drain remembers.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) spool_bytes: u64,
    counts: BTreeMap<(Arc<str>, Notice), Count>,
    unknown: HashMap<Arc<str>, Unknown>,
}

impl Told {
    pub(super) fn new(spool: &Spool) -> Self {
        Self {
            spool_bytes: spool.size(),
            counts: BTreeMap::new(),
            unknown: HashMap::new(),
        }
    }

    /// The fate of this entry. If Postgres is not telling, it may be being restored.
    pub(super) fn fate(&mut self, entry: &Entry, outcome: &Outcome, is_telling: bool) -> Fate {
        let receipt = match outcome {
            Ok(receipt) => receipt,
            Err(Refusal::Declined(_)) => return Fate::Stays,
            Err(
                Refusal::Late
                | Refusal::Failed(_)
                | Refusal::Busy
                | Refusal::Overloaded
                | Refusal::Stopping,
            ) => return Fate::Untried,
        };
        let source = &entry.source;
        if receipt.verdict == Verdict::UnknownSource {
            if !is_telling {
                self.unknown.remove(source);
                return Fate::Untried;
            }
            if !self.is_dropped(source) {
                return Fate::Stays;
            }
            self.count(source, Notice::GivenUp, 1);
            return Fate::Done(Done::UnknownSource);
        }
        self.unknown.remove(source);
        match receipt.verdict {
            Verdict::Accepted => {
                self.count(source, Notice::Items, u64::from(receipt.rejected));
                Fate::Done(Done::Accepted)
            }
            Verdict::Unauthorized => {
                self.count(source, Notice::Unauthorized, 1);
                Fate::Done(Done::Unauthorized)
            }
            Verdict::Malformed => {
                self.count(source, Notice::Malformed, 1);
                Fate::Done(Done::Malformed)
            }
            Verdict::UnknownSource | Verdict::Disabled | Verdict::Fenced => Fate::Stays,
        }
    }

    /// Whether Postgres has not known the source for so long that it was dropped.
    fn is_dropped(&mut self, source: &Arc<str>) -> bool {
        let now = Instant::now();
        let known = self.unknown.get(source).copied();
        let is_due = match known {
            Some(unknown) if now - unknown.since >= GRACE => return true,
            Some(unknown) => now - unknown.reminded >= REMIND_EVERY,
            None => true,
        };
        if is_due {
            let hours = GRACE.as_secs() / 3600;
            warn!(%source, "Postgres does not know the source of spooled requests; they stay in the spool, and are given up if the source does not exist for {hours} hours: add it if it is missing");
            let since = known.map_or(now, |unknown| unknown.since);
            let reminded = now;
            self.unknown
                .insert(source.clone(), Unknown { since, reminded });
        }
        false
    }

    fn count(&mut self, source: &Arc<str>, notice: Notice, requests: u64) {
        if requests > 0 {
            let count = self.counts.entry((source.clone(), notice)).or_default();
            count.untold += requests;
        }
    }

    /// Warns of what has not been warned of, each source at most once a minute.
    pub(super) fn tell(&mut self) {
        let now = Instant::now();
        self.tell_if(|count| count.told.is_none_or(|told| now - told >= WARN_EVERY));
    }

    /// Warns of all that is left, because nothing more comes soon.
    pub(super) fn tell_all(&mut self) {
        self.tell_if(|_| true);
    }

    fn tell_if(&mut self, is_due: impl Fn(&Count) -> bool) {
        for ((source, notice), count) in &mut self.counts {
            if count.untold > 0 && is_due(count) {
                warn_of(source, *notice, count.untold);
                *count = Count {
                    untold: 0,
                    told: Some(Instant::now()),
                };
            }
        }
    }
}

fn warn_of(source: &str, notice: Notice, requests: u64) {
    match notice {
        Notice::Unauthorized => {
            warn!(
                source,
                requests,
                "spooled requests are refused as unauthorized, and kept in tidings.rejected; if the provider has another secret now, call tidings.rotate_secret and then tidings.replay_rejected"
            );
        }
        Notice::Malformed => {
            warn!(
                source,
                requests,
                "spooled requests are refused as malformed, and kept in tidings.rejected with the reason; call tidings.replay_rejected when the cause is removed"
            );
        }
        Notice::Items => {
            warn!(
                source,
                items = requests,
                "items of spooled requests are not events, and kept in tidings.rejected with the reason; call tidings.replay_rejected when the cause is removed"
            );
        }
        Notice::GivenUp => {
            warn!(
                source,
                requests, "spooled requests are given up, because their source no longer exists"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        pipeline::request::{Receipt, fake},
        testing::Log,
    };

    fn entry(source: &str) -> Entry {
        Entry {
            received: 1,
            source: source.into(),
            headers: "{}".to_owned(),
            body: "[]".into(),
        }
    }

    fn told() -> Told {
        Told {
            spool_bytes: 1,
            counts: BTreeMap::new(),
            unknown: HashMap::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_is_warned_of_once_a_minute_with_what_came_meanwhile() {
        let log = Log::default();
        let _listening = log.listen();
        let mut told = told();
        let items = Receipt {
            rejected: 3,
            ..fake::receipt(Verdict::Accepted)
        };
        let refused = Ok(fake::receipt(Verdict::Unauthorized));
        for second in 0..150 {
            let fate = told.fate(&entry("a"), &refused, true);
            assert_eq!(fate, Fate::Done(Done::Unauthorized));
            if second < 2 {
                told.fate(&entry("b"), &Ok(items.clone()), true);
            }
            told.tell();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        told.tell_all();
        told.tell_all();
        let text = log.text();
        for said in [
            r#"source="a" requests=1"#,
            r#"source="a" requests=60"#,
            r#"source="a" requests=29"#,
            r#"source="b" items=3"#,
        ] {
            assert!(text.contains(said), "{said} in {text}");
        }
        assert_eq!(text.lines().count(), 4 + 2, "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_is_dropped_if_it_was_unknown_throughout() {
        let mut told = told();
        let unknown = Ok(fake::receipt(Verdict::UnknownSource));
        let disabled = Ok(fake::receipt(Verdict::Disabled));
        let almost = GRACE - Duration::from_secs(1);
        // It is there meanwhile, or nothing is known of it.
        for (outcome, is_telling) in [(&disabled, true), (&unknown, false)] {
            assert_eq!(told.fate(&entry("a"), &unknown, true), Fate::Stays);
            tokio::time::sleep(almost).await;
            assert_eq!(told.fate(&entry("a"), &unknown, true), Fate::Stays);
            told.fate(&entry("a"), outcome, is_telling);
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        assert_eq!(told.fate(&entry("a"), &unknown, true), Fate::Stays);
        tokio::time::sleep(GRACE).await;
        assert_eq!(told.fate(&entry("b"), &unknown, true), Fate::Stays);
        let dropped = told.fate(&entry("a"), &unknown, true);
        assert_eq!(dropped, Fate::Done(Done::UnknownSource));
    }

    #[test]
    fn a_database_that_lacks_the_extension_ends_nothing() {
        for reason in ["no such function (42883)", "no such schema (3F000)"] {
            let mut told = told();
            let failed = Err(Refusal::Failed(reason.into()));
            assert_eq!(told.fate(&entry("a"), &failed, true), Fate::Untried);
            let declined = Err(Refusal::Declined(reason.into()));
            assert_eq!(told.fate(&entry("a"), &declined, true), Fate::Stays);
        }
    }
}
