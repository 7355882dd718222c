//! A reader of the log, like an application's. It counts each source's events by
//! following the cursor, so that every row is read once, and adds up the hashes of their
//! ids, which distinguishes different sets of equally many rows.

use anyhow::{Context as _, Result, bail};
use postgres::Client;
use std::collections::BTreeMap;

/// Limit on the events of one call.
const MAX_EVENTS: i32 = 20_000;

/// A cursor, and the counts of the events before it.
#[derive(Debug, Default)]
pub struct Follower {
    cursor: Option<String>,
    /// Without answers about send requests, which no provider has sent as events.
    counts: BTreeMap<String, u64>,
    answers: u64,
    /// The id of each source's last event.
    lasts: BTreeMap<String, String>,
    digest: i128,
}

impl Follower {
    /// Reads on to the end of the log as it stands.
    pub fn advance(&mut self, client: &mut Client) -> Result<()> {
        loop {
            let rows = client
                .query(
                    "select s.name, e.is_answer, e.count, e.last::text, e.digest::text
                     from (select source_id, starts_with(provider_kind, 'GetSendRequestStatus/') as is_answer,
                                  count(*), max(id) as last,
                                  sum(hashtextextended(id::text, 0)) as digest
                           from tidings.events_after($1::text::tidings.ulid, $2)
                           group by 1, 2) e
                     join tidings.source s on s.id = e.source_id",
                    &[&self.cursor, &MAX_EVENTS],
                )
                .context("cannot read the log")?;
            let mut read = 0;
            for row in rows {
                let count: i64 = row.try_get(2)?;
                let last: String = row.try_get(3)?;
                read += count;
                let source: String = row.try_get(0)?;
                let digest: String = row.try_get(4)?;
                self.digest = self.digest.wrapping_add(digest.parse()?);
                if row.try_get(1)? {
                    self.answers += u64::try_from(count)?;
                } else {
                    self.lasts.insert(source.clone(), last.clone());
                    *self.counts.entry(source).or_default() += u64::try_from(count)?;
                }
                // The text form of a ULID sorts as the ULID does.
                self.cursor = self.cursor.take().max(Some(last));
            }
            if read < i64::from(MAX_EVENTS) {
                return Ok(());
            }
        }
    }

    /// The events of each source.
    pub fn counts(&self) -> &BTreeMap<String, u64> {
        &self.counts
    }

    /// The events of all sources.
    pub fn events(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Every row, answers included.
    pub fn total(&self) -> u64 {
        self.events() + self.answers
    }

    /// When a source's last event was stored, in milliseconds of the Unix epoch.
    pub fn last_of(&self, source: &str) -> Option<u64> {
        const DIGITS: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        // A ULID begins with its time, in ten digits of five bits.
        let time = self.lasts.get(source)?.get(..10)?;
        time.to_ascii_uppercase()
            .chars()
            .try_fold(0, |time, digit| {
                Some(time << 5 | u64::try_from(DIGITS.find(digit)?).ok()?)
            })
    }

    /// An error unless it has read every row that is stored, each of them once.
    pub fn check(&self, client: &mut Client) -> Result<()> {
        let row = client.query_one(
            "select count(*), coalesce(sum(hashtextextended(id::text, 0)), 0)::text
             from tidings.event",
            &[],
        )?;
        let (stored, digest): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
        let total = self.total();
        if u64::try_from(stored)? != total {
            bail!("{stored} rows are stored, but a reader of the log saw {total}");
        }
        if digest.parse::<i128>()? != self.digest {
            bail!("a reader of the log saw as many rows as are stored, but others");
        }
        Ok(())
    }

    /// When the last event was stored, in seconds of the Unix epoch.
    pub fn last_stored_at(&self, client: &mut Client) -> Result<Option<f64>> {
        let row = client.query_one(
            "select extract(epoch from $1::text::tidings.ulid::timestamptz)::float8",
            &[&self.cursor],
        )?;
        Ok(row.try_get(0)?)
    }
}
