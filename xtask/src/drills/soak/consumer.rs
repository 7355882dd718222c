//! A consumer of the log, like an application's: it polls, acknowledges and counts the
//! events, so that every row is read once.

use anyhow::{Context as _, Result};
use postgres::Client;
use std::collections::BTreeMap;

const NAME: &str = "soak";
/// The most that a poll returns.
const MOST: i32 = 10_000;

/// The consumer owns its session, because events are acknowledged in the session that
/// polled them.
pub(super) struct Consumer {
    client: Client,
    counts: BTreeMap<String, u64>,
}

impl Consumer {
    pub(super) fn start(mut client: Client) -> Result<Self> {
        client
            .execute("select tidings.create_consumer($1)", &[&NAME])
            .context("cannot make a consumer")?;
        Ok(Self {
            client,
            counts: BTreeMap::new(),
        })
    }

    /// Reads on to the end of the log as it stands.
    pub(super) fn advance(&mut self) -> Result<()> {
        loop {
            let rows = self
                .client
                .query(
                    "select s.name, e.count, e.last::text
                     from (select source_id, count(*), max(id) as last
                           from tidings.poll($1, $2) group by 1) e
                     join tidings.source s on s.id = e.source_id",
                    &[&NAME, &MOST],
                )
                .context("cannot poll")?;
            let (mut polled, mut last) = (0, None);
            for row in rows {
                let count: i64 = row.try_get(1)?;
                polled += count;
                *self.counts.entry(row.try_get(0)?).or_default() += u64::try_from(count)?;
                // The text form of a ULID sorts as the ULID does.
                last = last.max(Some(row.try_get::<_, String>(2)?));
            }
            if last.is_some() {
                self.client
                    .execute(
                        "select tidings.ack($1, $2::text::tidings.ulid)",
                        &[&NAME, &last],
                    )
                    .context("cannot acknowledge")?;
            }
            if polled < i64::from(MOST) {
                return Ok(());
            }
        }
    }

    /// Events of one source.
    pub(super) fn count(&self, source: &str) -> u64 {
        self.counts.get(source).copied().unwrap_or_default()
    }

    pub(super) fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}
