//! What became of each Ppoppo send request, as the provider has it: a JSON line for each
//! request, `{"source", "id", "status", "recipients": [{"ppnum", "status", "message_id",
//! "error_code"}]}`. The emulator (`--requests`) and the Python peer write it.

use anyhow::{Context as _, Result};
use postgres::Client;
use std::path::Path;

use crate::ledger;

/// Loads the file into the temporary tables `request_outcome` (source, request_id, status)
/// and `recipient_outcome` (source, request_id, recipient, status, message_id, error_code).
/// The statuses are the provider's words, such as `PENDING_CONSENT`.
pub fn load(client: &mut Client, path: &Path) -> Result<()> {
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
