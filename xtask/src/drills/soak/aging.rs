//! Occasional events of three weeks ago, and a retention that alternately keeps and drops
//! them, so that the worker's upkeep creates and drops partitions while events are
//! stored.
//!
//! The emulator's events are of the last hours and never dropped, so that all of them can
//! be reconciled. At the end no event of the aging source is left.

use anyhow::{Context as _, Result, ensure};
use postgres::Client;
use std::time::{Duration, Instant};
use tidings_harness::stage;

pub(super) const SOURCE: &str = "aging";
/// Longer than two of the worker's rounds of upkeep.
const EVERY: Duration = Duration::from_secs(90);
const END_TIMEOUT: Duration = Duration::from_secs(120);

const STORE: &str = "
select inserted from tidings.ingest('aging', convert_to(jsonb_build_array(jsonb_build_object(
  'Msisdn', '351910000001', 'Status', 'DELIVERED', 'MessageId', 'aged-' || $1::bigint,
  'ReportDateTime', to_char(now() at time zone 'utc' - interval '21 days', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')
))::text, 'utf8'), '{\"url-token\": \"aging-token\"}')";

/// Counts what the upkeep does meanwhile.
pub(super) struct Aging {
    turned: Instant,
    turns: i64,
    partitions: u64,
    pub(super) made: u64,
    pub(super) dropped: u64,
}

impl Aging {
    pub(super) fn start(client: &mut Client) -> Result<Self> {
        client.execute(
            "select tidings.add_source($1, 'arpoone', 'aging-token')",
            &[&SOURCE],
        )?;
        let mut aging = Self {
            turned: Instant::now(),
            turns: 0,
            partitions: made_ahead(client)?,
            made: 0,
            dropped: 0,
        };
        aging.turn(client)?;
        Ok(aging)
    }

    /// To be called every few seconds, with the partitions that there are.
    pub(super) fn look(&mut self, client: &mut Client, partitions: u64) -> Result<()> {
        let before = std::mem::replace(&mut self.partitions, partitions);
        self.made += partitions.saturating_sub(before);
        self.dropped += before.saturating_sub(partitions);
        if self.turned.elapsed() >= EVERY {
            self.turned = Instant::now();
            self.turn(client)?;
        }
        Ok(())
    }

    fn turn(&mut self, client: &mut Client) -> Result<()> {
        if self.turns % 2 == 0 {
            keep(client, None)?;
            let row = client.query_one(STORE, &[&self.turns])?;
            let inserted: i32 = row.try_get(0).context("tidings.ingest")?;
            ensure!(
                inserted == 1,
                "{inserted} events of three weeks ago are stored, not 1"
            );
        } else {
            keep(client, Some("8 days"))?;
        }
        self.turns += 1;
        Ok(())
    }

    /// Has all that aged dropped; the consumer must have acknowledged it.
    pub(super) fn end(&mut self, client: &mut Client) -> Result<()> {
        keep(client, Some("8 days"))?;
        let deadline = Instant::now() + END_TIMEOUT;
        loop {
            client.execute("select tidings.maintain()", &[])?;
            let left: i64 = client
                .query_one(
                    "select count(*) from tidings.event
                     where source_id = (select id from tidings.source where name = $1)",
                    &[&SOURCE],
                )?
                .try_get(0)?;
            if left == 0 {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{left} expired events are not dropped after {END_TIMEOUT:?}"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// The worker's first round of upkeep makes them, and the default one is there before.
fn made_ahead(client: &mut Client) -> Result<u64> {
    let deadline = Instant::now() + END_TIMEOUT;
    loop {
        let found = stage::partitions(client)?;
        if found > 1 {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "the worker makes no partitions");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn keep(client: &mut Client, time: Option<&str>) -> Result<()> {
    client
        .execute(
            "update tidings.retention set keep_events = $1::text::interval",
            &[&time],
        )
        .context("cannot set tidings.retention")?;
    Ok(())
}
