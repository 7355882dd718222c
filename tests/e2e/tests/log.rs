//! The log has no gaps, whatever the order in which transactions commit.

use anyhow::{Context as _, Result, ensure};
use postgres::Client;
use rand::Rng as _;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tidings_e2e::on_cluster;
use tidings_harness::cluster::Cluster;
use tidings_harness::stage::DATABASE;

const WRITERS: usize = 16;
const TRANSACTIONS: usize = 60;
const MOST_EVENTS: usize = 10;

/// The reader under test.
const BY_THE_LOG: &str = "select id::text from tidings.events_after($1::text::tidings.ulid, 1000)";
/// The query of an application that follows ids without it.
const NAIVE: &str = "select id::text from tidings.event
    where $1::text is null or id > $1::text::tidings.ulid order by id limit 1000";

#[test]
fn a_reader_of_the_log_misses_nothing_where_a_naive_one_does() -> Result<()> {
    on_cluster(|cluster| {
        cluster.connect(DATABASE)?.batch_execute(
            r#"select tidings.add_source('log', 'arpoone', null, '{"allow_unauthenticated": true}')"#,
        )?;
        let written = AtomicBool::new(false);
        let (by_the_log, naive) = thread::scope(|scope| -> Result<_> {
            let by_the_log = scope.spawn(|| read(cluster, BY_THE_LOG, &written));
            let naive = scope.spawn(|| read(cluster, NAIVE, &written));
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| scope.spawn(move || write(cluster, writer)))
                .collect();
            let outcome = writers
                .into_iter()
                .try_for_each(|writer| joined(writer.join()));
            written.store(true, Ordering::SeqCst);
            let readers = (joined(by_the_log.join())?, joined(naive.join())?);
            outcome.map(|()| readers)
        })?;
        let mut client = cluster.connect(DATABASE)?;
        let stored: BTreeSet<String> = ids(&mut client, "select id::text from tidings.event", &[])?
            .into_iter()
            .collect();
        ensure!(stored.len() >= WRITERS * TRANSACTIONS);

        ensure!(
            by_the_log.is_sorted_by(|before, after| before < after),
            "the log was not in order, or repeated a row"
        );
        let seen: BTreeSet<String> = by_the_log.into_iter().collect();
        ensure!(
            seen == stored,
            "the log's reader missed {} of {} rows",
            stored.difference(&seen).count(),
            stored.len()
        );
        // Otherwise this workload could not have shown a fault of the log.
        ensure!(
            naive.len() < stored.len(),
            "the naive reader missed nothing: the workload proves nothing"
        );
        Ok(())
    })
}

/// Each transaction takes its ids, lingers, and commits.
fn write(cluster: &Cluster, writer: usize) -> Result<()> {
    let mut client = cluster.connect(DATABASE)?;
    let mut random = rand::rng();
    for transaction in 0..TRANSACTIONS {
        let events: Vec<_> = (0..random.random_range(1..=MOST_EVENTS))
            .map(|event| {
                serde_json::json!({
                    "Msisdn": "351913462111",
                    "Status": "DELIVERED",
                    "MessageId": format!("{writer:08x}-0000-4000-8000-{transaction:06x}{event:06x}"),
                    "OrganizationId": "00000000-0000-4000-8000-000000000000",
                    "ReportDescription": "delivered",
                    "ReportDateTime": "2026-01-01T00:00:00",
                    "TotalSegments": 1,
                })
            })
            .collect();
        let body = serde_json::to_vec(&events)?;
        let mut open = client.transaction()?;
        let inserted: i32 = open
            .query_one("select inserted from tidings.ingest('log', $1)", &[&body])?
            .get(0);
        ensure!(usize::try_from(inserted)? == events.len());
        let seconds = f64::from(random.random_range(1..=30_u16)) / 1000.0;
        open.execute("select pg_sleep($1)", &[&seconds])?;
        open.commit()?;
    }
    Ok(())
}

/// Follows the cursor from the start until nothing comes after the last write.
fn read(cluster: &Cluster, query: &str, written: &AtomicBool) -> Result<Vec<String>> {
    let mut client = cluster.connect(DATABASE)?;
    let mut seen = Vec::new();
    loop {
        // Asked before reading: what comes after is read by the next turn.
        let last_turn = written.load(Ordering::SeqCst);
        let cursor: Option<String> = seen.last().cloned();
        let rows = ids(&mut client, query, &[&cursor])?;
        if rows.is_empty() && last_turn {
            return Ok(seen);
        }
        seen.extend(rows);
    }
}

fn ids(
    client: &mut Client,
    query: &str,
    parameters: &[&(dyn postgres::types::ToSql + Sync)],
) -> Result<Vec<String>> {
    client
        .query(query, parameters)?
        .iter()
        .map(|row| Ok(row.try_get(0)?))
        .collect()
}

fn joined<T>(result: thread::Result<Result<T>>) -> Result<T> {
    result.ok().context("a thread panicked")?
}
