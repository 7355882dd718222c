//! A reader of the log, as an application would have one: counts each
//! source's events by following the cursor, so that every row is read once.

use anyhow::{Context as _, Result};
use postgres::Client;
use std::collections::BTreeMap;

/// So many events are read by one call at most.
const MAX_EVENTS: i32 = 20_000;

/// A cursor, and what it has passed.
#[derive(Debug, Default)]
pub struct Follower {
    cursor: Option<String>,
    counts: BTreeMap<String, u64>,
}

impl Follower {
    /// Reads on to the end of the log as it stands.
    pub fn advance(&mut self, client: &mut Client) -> Result<()> {
        loop {
            let rows = client
                .query(
                    "select s.name, e.count, e.last::text
                     from (select source_id, count(*), max(id) as last
                           from tidings.events_after($1::text::tidings.ulid, $2)
                           group by 1) e
                     join tidings.source s on s.id = e.source_id",
                    &[&self.cursor, &MAX_EVENTS],
                )
                .context("cannot read the log")?;
            let mut read = 0;
            for row in rows {
                let count: i64 = row.try_get(1)?;
                let last: String = row.try_get(2)?;
                read += count;
                *self.counts.entry(row.try_get(0)?).or_default() += u64::try_from(count)?;
                // The text form of a ULID sorts as the ULID does.
                self.cursor = self.cursor.take().max(Some(last));
            }
            if read < i64::from(MAX_EVENTS) {
                return Ok(());
            }
        }
    }

    /// By source.
    pub fn counts(&self) -> &BTreeMap<String, u64> {
        &self.counts
    }

    pub fn total(&self) -> u64 {
        self.counts.values().sum()
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
