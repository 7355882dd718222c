//! The rows, a file for each group of them.

mod functions;
mod ingest;
mod webhooks;

use crate::contest::Row;
use anyhow::{Result, ensure};
use postgres::Client;

/// All rows, in the order of the page.
pub(crate) fn all() -> Vec<Row> {
    let groups: [&[Row]; 3] = [webhooks::ROWS, ingest::ROWS, functions::ROWS];
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
