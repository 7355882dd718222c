//! What became of each Ppoppo send request, as the provider has it: a JSON line for each
//! request, `{"source", "id", "status", "recipients": [{"ppnum", "status", "message_id",
//! "error_code"}]}`. The emulator (`--requests`) and the Python peer write it,
//! and the state in the database must come to the same.

use anyhow::{Context as _, Result, bail};
use postgres::Client;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::{ledger, paths, step};

/// Loads the file into the temporary tables `request_outcome` (source, request_id, status)
/// and `recipient_outcome` (source, request_id, recipient, status, message_id, error_code).
/// The statuses are the provider's words, such as `PENDING_CONSENT`.
fn load(client: &mut Client, path: &Path) -> Result<()> {
    ledger::load_lines(client, path, "outcome_line")?;
    client
        .batch_execute(
            "drop table if exists pg_temp.request_outcome, pg_temp.recipient_outcome;
             create temp table request_outcome as
             select told.source, told.id as request_id, told.status
             from outcome_line,
                  jsonb_to_record(line::jsonb) as told(source text, id text, status text);
             create temp table recipient_outcome as
             select told.source, told.id as request_id, who.ppnum as recipient, who.status,
                    who.message_id, who.error_code
             from outcome_line,
                  jsonb_to_record(line::jsonb) as told(source text, id text, recipients jsonb),
                  jsonb_to_recordset(told.recipients) as who(
                    ppnum text, status text, message_id text, error_code text);
             drop table outcome_line;
             analyze request_outcome;
             analyze recipient_outcome",
        )
        .context("the list of send requests is not as documented")
}

/// Asks, by `tidings-worker reconcile`, about the send requests of which the database knows
/// nothing, because all of their events were lost: only who sent them knows their ids. Returns
/// how many there were.
pub fn ask_for_unknown(client: &mut Client, path: &Path, url: &str) -> Result<usize> {
    load(client, path)?;
    let unknown = client.query(
        "select told.source, told.request_id
         from request_outcome told
         join tidings.source s on s.name = told.source
         where not exists (
           select from tidings.request r where r.source_id = s.id and r.request_id = told.request_id)",
        &[],
    )?;
    let mut by_source: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in &unknown {
        let ids = by_source.entry(row.try_get(0)?).or_default();
        ids.push(row.try_get(1)?);
    }
    for (source, ids) in &by_source {
        let named = ids.iter().flat_map(|id| ["--request", id]);
        let mut command = Command::new(paths::program("tidings-worker")?);
        command.args(["reconcile", source]).args(named);
        step::output(command.env("DATABASE_URL", url))?;
    }
    Ok(unknown.len())
}

/// What is wrong of each message, consent and send request in the database, by the tables of
/// [`load`]. The consent of a recipient of several requests is left out, because the order of
/// the requests decides.
const DIFFERENCES: &str = "
select format('message of %s to %s: %s, where the provider has %s',
              told.request_id, told.recipient, to_jsonb(m), to_jsonb(told)) as said
from recipient_outcome told
join tidings.source s on s.name = told.source
left join tidings.message m
  on m.source_id = s.id and m.message_key = told.request_id and m.recipient = told.recipient
where not coalesce(
  case told.status
    when 'DELIVERED' then m.status = 'message.delivered' and m.message_id = told.message_id
    when 'FAILED' then m.status = 'message.failed' and m.error_code is not distinct from told.error_code
    when 'PENDING_CONSENT' then m.status = 'message.pending' and m.consent_requested_at is not null
    when 'PENDING' then m.status is null or m.status = 'message.pending' and m.consent_requested_at is null
  end, false)
union all
select format('consent of %s: %s, where the provider has %s', told.recipient, to_jsonb(c), to_jsonb(told))
from recipient_outcome told
join (select source, recipient from recipient_outcome group by 1, 2 having count(*) = 1) once
  using (source, recipient)
join tidings.source s on s.name = told.source
left join tidings.consent c on c.source_id = s.id and c.recipient = told.recipient
where not coalesce(
  case
    when told.error_code = 'consent_denied' then c.status = 'consent.denied'
    when told.error_code = 'consent_expired' then c.status = 'consent.expired'
    when told.status = 'PENDING_CONSENT' then c.status = 'consent.requested'
    when told.status = 'DELIVERED' then c.status is null or c.status = 'consent.granted'
    else c.status is null
  end, false)
union all
select format('send request %s: %s, where the provider has %s', told.request_id, to_jsonb(r), to_jsonb(told))
from request_outcome told
join tidings.source s on s.name = told.source
left join tidings.request r on r.source_id = s.id and r.request_id = told.request_id
where not coalesce(
  case told.status
    when 'COMPLETED' then r.completed_at is not null and r.failed_at is null
    when 'FAILED' then r.failed_at is not null
    else r.completed_at is null and r.failed_at is null
  end, false)";

/// How many differences are shown.
const SHOWN: usize = 5;

/// Compares the state with the provider's list, and returns how many recipients it has. Fails
/// unless every message, consent and send request is as the provider has it.
pub fn check(client: &mut Client, path: &Path) -> Result<u64> {
    load(client, path)?;
    let differences = client
        .query(DIFFERENCES, &[])
        .context("cannot compare the state with the list of send requests")?;
    if !differences.is_empty() {
        let shown = differences.iter().take(SHOWN);
        let shown: Vec<String> = shown.map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        bail!(
            "{} differences from the provider's list, for example:\n  {}",
            differences.len(),
            shown.join("\n  ")
        );
    }
    let recipients = client.query_one("select count(*) from recipient_outcome", &[])?;
    Ok(u64::try_from(recipients.try_get::<_, i64>(0)?)?)
}
