//! Millions of old rows, which ingest only meets in indexes: written by INSERT .. SELECT
//! rather than ingested, which would take hours.
//!
//! - The rows are copies of one that was ingested. What an index has is made anew: ids of the
//!   log and of events rise, and ids of messages and recipients are spread evenly over the
//!   whole space of such ids, so that new random ones fall everywhere between them.
//! - They rise with the rows, so that the indexes are built without sorting.
//! - There are two events for each message, all of the current week, in one partition. Their
//!   payloads are empty.
//! - Columns and indexes are those of the catalog.

use super::Bed;
use super::tables::columns;
use crate::load::bodies::Bodies;
use crate::rows::ingest;
use anyhow::{Context as _, Result, bail};
use postgres::Client;
use std::process::Command;
use tidings_harness::step;

/// While rows are written, nothing has to survive a crash.
pub(crate) const QUICK: [(&str, &str); 3] = [
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("fsync", "off"),
];

/// Bytes of disk for each event, with its share of a message.
pub(crate) const BYTES: u64 = 600;

/// Fills a database of a cluster that was started with [`QUICK`], and makes it durable.
pub(crate) fn fill(bed: &mut Bed, database: &str, events: u64) -> Result<()> {
    let mut client = bed.connect(database)?;
    ingest::ingest(&mut client, &Bodies::new(4).numbered(1, "DELIVERED"))?;
    let partition: String = client
        .query_one("select tableoid::regclass::text from tidings.event", &[])?
        .try_get(0)?;
    let messages = events / 2;
    drop(client);
    let fill = |table: &str, rows: u64, per_message: u64| -> Result<()> {
        fill_table(&mut bed.connect(database)?, table, rows, per_message)
            .with_context(|| format!("cannot fill {table}"))
    };
    // Each on a core of its own.
    std::thread::scope(|scope| {
        let state = scope.spawn(|| fill("tidings.message", messages, 1));
        fill(&partition, events, 2)?;
        state
            .join()
            .unwrap_or_else(|_| bail!("the thread that fills messages failed"))
    })?;
    make_durable(bed)
}

fn fill_table(client: &mut Client, table: &str, rows: u64, per_message: u64) -> Result<()> {
    let listed = columns(client, table)?;
    let values = client.query(
        "select quote_ident(attname), attname::text, atttypid::regtype::text
         from pg_attribute
         where attrelid = $1::text::regclass and attnum > 0 and not attisdropped and attgenerated = ''
         order by attnum",
        &[&table],
    )?;
    let messages = rows / per_message;
    let mut expressions = Vec::new();
    for value in values {
        let (quoted, name, kind): (String, String, String) =
            (value.try_get(0)?, value.try_get(1)?, value.try_get(2)?);
        expressions.push(made(&quoted, &name, &kind, messages, per_message));
    }
    let indexes = client.query(
        "select i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid), c.conname::text, pg_get_constraintdef(c.oid)
         from pg_index i left join pg_constraint c on c.conindid = i.indexrelid
         where i.indrelid = $1::text::regclass order by i.indexrelid",
        &[&table],
    )?;
    let (mut drops, mut creates) = (Vec::new(), Vec::new());
    for index in indexes {
        let (name, definition): (String, String) = (index.try_get(0)?, index.try_get(1)?);
        let constraint: Option<String> = index.try_get(2)?;
        match constraint {
            Some(constraint) => {
                let definition: String = index.try_get(3)?;
                drops.push(format!(
                    "alter table {table} drop constraint \"{constraint}\""
                ));
                creates.push(format!(
                    "alter table {table} add constraint \"{constraint}\" {definition}"
                ));
            }
            None => {
                drops.push(format!("drop index {name}"));
                creates.push(definition);
            }
        }
    }
    client.batch_execute(&format!(
        "set maintenance_work_mem = '1GB'; set max_parallel_maintenance_workers = 1;
         create temp table old as select * from {table} limit 1;
         begin;
         truncate {table};
         {};
         insert into {table} ({listed}) select {} from old, generate_series(1::bigint, {rows}) i;
         {};
         commit",
        drops.join("; "),
        expressions.join(", "),
        creates.join("; "),
    ))?;
    // A restart after a crash forgets that there were so many inserts, so that no autovacuum
    // begins because of them.
    client.batch_execute(&format!("analyze {table}"))?;
    Ok(())
}

/// The value of a column in row `i`: made anew if an index may have it, otherwise the old
/// one's.
fn made(quoted: &str, name: &str, kind: &str, messages: u64, per_message: u64) -> String {
    let step = Bodies::NUMBERS / messages.max(1);
    let number = format!("({} + i / {per_message} * {step})", Bodies::FIRST_NUMBER);
    // 32 bits that are spread evenly, then the number of the message.
    let hex = format!(
        "lpad(to_hex(i / {per_message} * 4294967296 / {messages}), 8, '0') || lpad(to_hex(i / {per_message}), 24, '0')"
    );
    match (name, kind) {
        ("message_id" | "message_key", "text") => {
            format!(
                "case when old.{quoted} is not null then {number}::text || '{}' end",
                Bodies::SUFFIX
            )
        }
        ("recipient", _) => format!(
            "({} + i / {per_message} * {} / {messages})::text",
            Bodies::FIRST_RECIPIENT,
            Bodies::RECIPIENTS
        ),
        ("payload", _) => "'{}'".to_owned(),
        ("id" | "event_id", _) => "tidings.gen_ulid()".to_owned(),
        // A key that is derived from the others.
        (_, "uuid") => format!("({hex})::uuid"),
        (_, "bytea") => format!("substr(decode({hex}, 'hex'), 1, length(old.{quoted}))"),
        (name, "bigint") if name.contains("key") || name.contains("hash") => {
            format!("(('x' || substr({hex}, 1, 16))::bit(64)::bigint)")
        }
        _ => format!("old.{quoted}"),
    }
}

/// Restarts the cluster with the settings of all others.
fn make_durable(bed: &mut Bed) -> Result<()> {
    let mut client = bed.connect("postgres")?;
    for (name, _) in QUICK {
        let usual = match name {
            "wal_level" => "replica",
            "fsync" => "on",
            _ => "10",
        };
        client.batch_execute(&format!("alter system set {name} = '{usual}'"))?;
    }
    client.batch_execute("checkpoint")?;
    drop(client);
    bed.cluster.kill()?;
    bed.cluster.restart()?;
    Ok(())
}

/// Fails unless the disk has room for so many events.
pub(crate) fn require_disk(bed: &Bed, events: u64) -> Result<()> {
    let needed = events * BYTES + (8 << 30);
    let free = free(bed)?;
    if free < needed {
        bail!(
            "{} GiB are free in {}, and {} are needed: set TMPDIR to a larger disk",
            free >> 30,
            bed.cluster.folder().display(),
            needed >> 30
        );
    }
    Ok(())
}

/// Free bytes of the cluster's disk.
fn free(bed: &Bed) -> Result<u64> {
    let shown = step::output(
        Command::new("df")
            .args(["--output=avail", "-B1"])
            .arg(bed.cluster.folder()),
    )?;
    let bytes = shown.lines().last().unwrap_or_default().trim();
    bytes.parse().with_context(|| format!("df says `{shown}`"))
}
