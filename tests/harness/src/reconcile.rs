//! Compares the ledger with the database, event by event: whether each is stored, and as
//! often as it may be.

use crate::ledger::{self, Demand};
use anyhow::{Context as _, Result, bail};
use postgres::Client;
use std::path::Path;

/// Computes the key of each stored event from its payload, by the same rule as the
/// ledger. Arpoone's field names may be in any case, and its other webhooks have other
/// names.
const STORED: &str = "
create or replace function pg_temp.field(payload jsonb, name text) returns text
language sql immutable as $$
  select coalesce(payload->>name,
                  (select value from jsonb_each_text(payload)
                   where lower(key) = lower(name) and value is not null))
$$;
create temp table stored as
select s.name as source, k.key, count(*) as rows
from tidings.event e
     join tidings.source s on s.id = e.source_id,
     lateral (select case s.provider
       when 'ppoppo' then coalesce(e.payload->>'event_id', e.payload#>>'{message,id}')
       when 'pushwoosh' then coalesce(e.payload->>'uuid', e.payload->>'user_id')
       when 'arpoone' then concat_ws('|',
         coalesce(pg_temp.field(e.payload, 'MessageId'), pg_temp.field(e.payload, 'Id')),
         coalesce(pg_temp.field(e.payload, 'Status'), pg_temp.field(e.payload, 'EventType')),
         coalesce(pg_temp.field(e.payload, 'ReportDateTime'), pg_temp.field(e.payload, 'Time'),
                  pg_temp.field(e.payload, 'ReceiveDateTime'),
                  pg_temp.field(e.payload, 'ReportDescription')))
       when 'pushpushgo' then concat_ws('|', e.payload->>'kind',
                                        coalesce(e.payload->>'messageId', e.payload->>'customId'),
                                        e.payload->>'ts', e.payload->>'clickAction')
       end) k(key)
-- The emulator did not send answers to the worker's questions as events.
where e.payload->'reconciled' is null
group by 1, 2";

const COMPARED: &str = "
select coalesce(l.source, s.source),
       coalesce(sum(greatest(l.least, least(l.most, coalesce(s.rows, 0)))), 0)::bigint as emitted,
       coalesce(sum(s.rows), 0)::bigint as stored,
       coalesce(sum(greatest(l.least - coalesce(s.rows, 0), 0)), 0)::bigint as missing,
       coalesce(sum(greatest(s.rows - l.most, 0)), 0)::bigint as doubled,
       coalesce(sum(s.rows) filter (where l.key is null), 0)::bigint as unknown,
       (min(told) filter (where l.least > coalesce(s.rows, 0))) as first_missing,
       (min(told) filter (where s.rows > l.most)) as first_doubled,
       (min(s.key) filter (where l.key is null)) as first_unknown
from ledger l full join stored s on s.source = l.source and s.key = l.key,
     format('%s, emitted %s times, acknowledged %s times, to be stored %s times, stored %s times',
            l.key, l.emissions, l.acknowledged, l.least, coalesce(s.rows, 0)) told
group by 1 order by 1";

/// One source's outcome, in events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub source: String,
    /// Rows that must be stored. For an event with neither identity nor time, any number
    /// from its acknowledgements to its emissions is right; the one nearest to the stored
    /// number is used.
    pub emitted: u64,
    pub stored: u64,
    pub missing: u64,
    pub doubled: u64,
    /// Rows that no line of the ledger explains.
    pub unknown: u64,
    /// An example of each fault, for its report.
    pub examples: Vec<String>,
}

/// All sources, ordered by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconciliation {
    pub outcomes: Vec<Outcome>,
}

impl Reconciliation {
    /// Compares the ledger with the database, demanding all emitted events.
    pub fn of(client: &mut Client, ledger_path: &Path) -> Result<Self> {
        Self::by(client, ledger_path, Demand::Emitted)
    }

    /// As [`Reconciliation::of`], with the given demand.
    pub fn by(client: &mut Client, ledger_path: &Path, demand: Demand) -> Result<Self> {
        ledger::load(client, ledger_path, demand)?;
        client
            .batch_execute("drop table if exists pg_temp.stored")
            .and_then(|()| client.batch_execute(STORED))
            .context("cannot read the stored events")?;
        let rows = client
            .query(COMPARED, &[])
            .context("cannot compare the ledger with the stored events")?;
        let mut outcomes = Vec::new();
        for row in rows {
            let number =
                |column: usize| -> Result<u64> { Ok(row.try_get::<_, i64>(column)?.try_into()?) };
            let mut examples = Vec::new();
            for (column, fault) in [(6, "missing"), (7, "doubled"), (8, "unknown")] {
                if let Some(key) = row.try_get::<_, Option<String>>(column)? {
                    examples.push(format!("{fault}: {key}"));
                }
            }
            outcomes.push(Outcome {
                source: row.try_get(0)?,
                emitted: number(1)?,
                stored: number(2)?,
                missing: number(3)?,
                doubled: number(4)?,
                unknown: number(5)?,
                examples,
            });
        }
        Ok(Self { outcomes })
    }

    pub fn total(&self) -> Outcome {
        let mut total = Outcome {
            source: "total".to_owned(),
            ..Outcome::default()
        };
        for outcome in &self.outcomes {
            total.emitted += outcome.emitted;
            total.stored += outcome.stored;
            total.missing += outcome.missing;
            total.doubled += outcome.doubled;
            total.unknown += outcome.unknown;
        }
        total
    }

    /// Fails unless every event is stored exactly once. The error names the sources, with
    /// an example.
    pub fn check(&self) -> Result<()> {
        let total = self.total();
        if total.emitted == 0 {
            bail!("nothing was emitted");
        }
        if (total.missing, total.doubled, total.unknown) == (0, 0, 0) {
            return Ok(());
        }
        let mut faults = Vec::new();
        for outcome in &self.outcomes {
            for example in &outcome.examples {
                faults.push(format!("{} {example}", outcome.source));
            }
        }
        bail!(
            "{} missing, {} doubled, {} unknown; for example:\n  {}",
            total.missing,
            total.doubled,
            total.unknown,
            faults.join("\n  ")
        )
    }
}
