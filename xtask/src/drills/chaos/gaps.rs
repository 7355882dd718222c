//! The gaps that expired cursors have left, and what became of them.

use anyhow::{Result, bail};
use postgres::Client;
use std::fmt;
use tidings_harness::sources::CHANNELS;
use tidings_harness::table::number;

/// The gaps of one source.
#[derive(Clone, Debug)]
struct Gap {
    source: String,
    found: u64,
    closed: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Gaps {
    gaps: Vec<Gap>,
    /// Answers about send requests that were stored.
    answers: u64,
}

impl Gaps {
    pub(super) fn of(client: &mut Client) -> Result<Self> {
        let rows = client.query(
            "select source, count(*), count(closed_at) from tidings.gap
             where cause = 'cursor_expired' group by 1 order by 1",
            &[],
        )?;
        let gap = |row: &postgres::Row| -> Result<Gap> {
            Ok(Gap {
                source: row.try_get(0)?,
                found: u64::try_from(row.try_get::<_, i64>(1)?)?,
                closed: u64::try_from(row.try_get::<_, i64>(2)?)?,
            })
        };
        let answers = client.query_one(
            "select count(*) from tidings.event where provider_kind like 'GetSendRequestStatus/%'",
            &[],
        )?;
        Ok(Self {
            gaps: rows.iter().map(gap).collect::<Result<_>>()?,
            answers: u64::try_from(answers.try_get::<_, i64>(0)?)?,
        })
    }

    /// Whether none is open that the worker can close by asking the provider, who answers
    /// for send requests alone.
    pub(super) fn are_closed(&self) -> bool {
        let mut asked = self.gaps.iter().filter(|gap| gap.source != CHANNELS.name);
        asked.all(|gap| gap.closed == gap.found)
    }

    /// Fails if one is open, or if cursors have expired and nobody has noticed.
    pub(super) fn check(&self, have_expired: bool) -> Result<()> {
        if !self.are_closed() {
            bail!("a gap is not closed: {self}");
        }
        for source in ["ppoppo", CHANNELS.name] {
            if have_expired && !self.gaps.iter().any(|gap| gap.source == source) {
                bail!("nobody has noticed that a cursor of {source} had expired: {self}");
            }
        }
        Ok(())
    }
}

impl fmt::Display for Gaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.gaps.is_empty() {
            return f.write_str("0");
        }
        for Gap {
            source,
            found,
            closed,
        } in &self.gaps
        {
            write!(f, "{found} found, {closed} closed of {source}; ")?;
        }
        write!(f, "{} answers stored", number(self.answers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(of: &[(&str, u64, u64)]) -> Gaps {
        let gap = |&(source, found, closed): &(&str, u64, u64)| Gap {
            source: source.to_owned(),
            found,
            closed,
        };
        Gaps {
            gaps: of.iter().map(gap).collect(),
            answers: 1234,
        }
    }

    #[test]
    fn a_gap_that_can_be_closed_is_to_be_closed() {
        let closed = gaps(&[("ppoppo", 2, 2), ("ppoppo-channels", 2, 0)]);
        assert!(closed.check(true).is_ok());
        assert_eq!(
            closed.to_string(),
            "2 found, 2 closed of ppoppo; 2 found, 0 closed of ppoppo-channels; 1,234 answers stored"
        );
        assert!(gaps(&[("ppoppo", 2, 1)]).check(false).is_err());
        assert!(gaps(&[("ppoppo", 2, 2)]).check(true).is_err());
        assert!(gaps(&[]).check(false).is_ok());
    }
}
