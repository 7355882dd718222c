//! The rows, a file for each group of them.

mod commits;
mod functions;
mod growth;
pub(crate) mod ingest;
mod lag;
mod memory;
mod reading;
mod settings;
mod sizes;
mod transports;
mod undated;
mod webhooks;

use crate::contest::Row;
use anyhow::{Result, ensure};
use postgres::Client;

/// All rows, in the order of the page.
pub(crate) fn all() -> Vec<Row> {
    let groups = [
        webhooks::ROWS,
        ingest::ROWS,
        transports::ROWS,
        growth::ROWS,
        sizes::ROWS,
        reading::ROWS,
        lag::ROWS,
        commits::ROWS,
        undated::ROWS,
        functions::ROWS,
        memory::ROWS,
        settings::ROWS,
    ];
    groups.concat()
}

/// Fails unless a table has exactly so many rows, each about another message.
fn assert_stored(client: &mut Client, table: &str, expected: usize) -> Result<()> {
    let row = client.query_one(
        &format!("select count(*), count(distinct message_id) from {table}"),
        &[],
    )?;
    let (rows, messages): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let expected = i64::try_from(expected)?;
    ensure!(
        rows == expected && messages == expected,
        "{table} has {rows} rows about {messages} messages, and should have {expected}"
    );
    Ok(())
}
