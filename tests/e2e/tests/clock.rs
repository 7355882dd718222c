//! The log has no gaps when the server's clock steps back: its ids go on above those that
//! were committed, and readers wait until the clock has caught up.
//!
//! The server runs under libfaketime, which adds to the clock what a file says. Nothing
//! else of the machine sees it: writers linger by the clock of this program.

use anyhow::{Context as _, Result, ensure};
use postgres::Client;
use rand::Rng as _;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use tidings_e2e::{eventually, server};
use tidings_harness::cluster::{Cluster, Durability};
use tidings_harness::faketime;
use tidings_harness::stage::DATABASE;

/// Nobody waits until the clock has caught up: it is set right before.
const STEP_SECONDS: i64 = 60;
const WRITERS: usize = 6;
/// So many transactions are committed before, between and after the steps.
const TRANSACTIONS: usize = 150;
const MOST_EVENTS: usize = 5;
/// A writer takes a new connection after so many: it knows nothing of earlier ids.
const TRANSACTIONS_OF_A_CONNECTION: usize = 10;
const PROBES: usize = 20;

const AFTER: &str = "select id::text from tidings.events_after($1::text::tidings.ulid, 1000)";

/// Where the server's clock is behind the greatest id.
const BEHIND: &str =
    "select coalesce(max(e.id) >= tidings.ulid_at(clock_timestamp()), false) from (
    select id from tidings.event order by id desc limit 1) e";

#[test]
fn the_log_goes_on_where_the_clock_steps_back() -> Result<()> {
    let library = faketime::library()?;
    let cluster = Cluster::start_with(&server()?, Durability::Fast, |folder| {
        let file = offset_file(folder);
        faketime::environment(&library, ("FAKETIME_TIMESTAMP_FILE", file.into()))
    })?;
    steps(&cluster).inspect_err(|_| eprintln!("--- the server's log\n{}", cluster.log()))
}

fn steps(cluster: &Cluster) -> Result<()> {
    cluster.create_database(DATABASE)?;
    let mut client = cluster.connect(DATABASE)?;
    client.batch_execute(
        r#"create extension tidings;
           select tidings.add_source('log', 'arpoone', null, '{"allow_unauthenticated": true}')"#,
    )?;

    let committed = AtomicUsize::new(0);
    let (stop, complete) = (AtomicBool::new(false), AtomicBool::new(false));
    let seen = thread::scope(|scope| {
        let reader = scope.spawn(|| follow(cluster, &complete));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (committed, stop) = (&committed, &stop);
                scope.spawn(move || write(cluster, writer, committed, stop))
            })
            .collect();
        let outcome = step_back_and_forth(cluster, &mut client, &committed);
        stop.store(true, Ordering::SeqCst);
        let outcome = writers
            .into_iter()
            .map(|writer| joined(writer.join()))
            .fold(outcome, Result::and)
            // Only then does an empty answer mean that nothing is left to read.
            .and_then(|()| caught_up(&mut client));
        complete.store(true, Ordering::SeqCst);
        let seen = joined(reader.join());
        outcome.and(seen)
    })?;

    ensure!(
        seen.is_sorted_by(|before, after| before < after),
        "the log was not in order, or repeated a row"
    );
    let stored: BTreeSet<String> = ids(&mut client, "select id::text from tidings.event", &[])?
        .into_iter()
        .collect();
    let seen: BTreeSet<String> = seen.into_iter().collect();
    ensure!(
        seen == stored,
        "the reader missed {} of {} rows",
        stored.difference(&seen).count(),
        stored.len()
    );
    Ok(())
}

/// While the writers write.
fn step_back_and_forth(
    cluster: &Cluster,
    client: &mut Client,
    committed: &AtomicUsize,
) -> Result<()> {
    let file = offset_file(cluster.folder());
    more(committed)?;

    let before = clocks(client)?;
    offset(&file, -STEP_SECONDS)?;
    for (before, after) in before.into_iter().zip(clocks(client)?) {
        ensure!(after < before, "the clock went from {before} to {after}");
    }
    let behind = (0..PROBES)
        .map(|probe| stored_above_all(cluster, client, probe))
        .sum::<Result<usize>>()?;
    ensure!(
        behind > 0,
        "the clock caught up before anything was checked"
    );
    more(committed)?;

    offset(&file, 0)?;
    more(committed)
}

/// The clocks of the extension and of the server, in milliseconds.
fn clocks(client: &mut Client) -> Result<[i64; 2]> {
    let row = client.query_one(
        "select tidings._clock_ms(), (extract(epoch from clock_timestamp()) * 1000)::bigint",
        &[],
    )?;
    Ok([row.try_get(0)?, row.try_get(1)?])
}

/// Stores an event by a connection that has never stored one: above everything, and out
/// of the readers' sight. 0 where the clock is no longer behind, and nothing was checked.
fn stored_above_all(cluster: &Cluster, client: &mut Client, probe: usize) -> Result<usize> {
    let newest: String = client
        .query_one(
            "select id::text from tidings.event order by id desc limit 1",
            &[],
        )?
        .try_get(0)?;
    let message = format!("probe-{probe}");
    ingest(&mut cluster.connect(DATABASE)?, &[event(&message)])?;
    let row = client.query_one(
        "select (select e.id::text from tidings.event e where e.message_id = $1),
                (select max(e.id)::text from tidings.events_after(max_events => 1000000) e)",
        &[&message],
    )?;
    let (id, last): (String, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
    // The clock is asked last: if it is behind now, it was all the time.
    if !client.query_one(BEHIND, &[])?.try_get::<_, bool>(0)? {
        return Ok(0);
    }
    ensure!(id > newest, "{id} was stored after {newest}");
    ensure!(
        last.as_ref().is_none_or(|last| *last < id),
        "{last:?} was read while the clock was behind {id}"
    );
    Ok(1)
}

/// Waits for so many commits from now on.
fn more(committed: &AtomicUsize) -> Result<()> {
    let wanted = committed.load(Ordering::SeqCst) + TRANSACTIONS;
    eventually("the writers commit", || {
        Ok((committed.load(Ordering::SeqCst) >= wanted).then_some(()))
    })
}

fn caught_up(client: &mut Client) -> Result<()> {
    eventually("the clock passes the greatest id", || {
        let behind: bool = client.query_one(BEHIND, &[])?.try_get(0)?;
        Ok((!behind).then_some(()))
    })
}

/// Each transaction takes its ids, lingers, and commits.
fn write(
    cluster: &Cluster,
    writer: usize,
    committed: &AtomicUsize,
    stop: &AtomicBool,
) -> Result<()> {
    let mut random = rand::rng();
    let mut client = cluster.connect(DATABASE)?;
    for transaction in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        if transaction % TRANSACTIONS_OF_A_CONNECTION == 0 {
            client = cluster.connect(DATABASE)?;
        }
        let events: Vec<_> = (0..random.random_range(1..=MOST_EVENTS))
            .map(|number| event(&format!("{writer}-{transaction}-{number}")))
            .collect();
        client.batch_execute("begin")?;
        ingest(&mut client, &events)?;
        thread::sleep(Duration::from_millis(random.random_range(0..=15)));
        client.batch_execute("commit")?;
        committed.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

fn event(message: &str) -> serde_json::Value {
    serde_json::json!({"MessageId": message, "Status": "DELIVERED", "ReportDateTime": "2026-01-01T00:00:00"})
}

fn ingest(client: &mut Client, events: &[serde_json::Value]) -> Result<()> {
    let inserted: i32 = client
        .query_one(
            "select inserted from tidings.ingest('log', $1)",
            &[&serde_json::to_vec(events)?],
        )?
        .try_get(0)?;
    ensure!(usize::try_from(inserted)? == events.len());
    Ok(())
}

/// Follows the cursor from the start until the log is complete and read.
fn follow(cluster: &Cluster, complete: &AtomicBool) -> Result<Vec<String>> {
    let mut client = cluster.connect(DATABASE)?;
    let mut seen = Vec::new();
    loop {
        // Asked before reading: what comes after is read by the next turn.
        let last_turn = complete.load(Ordering::SeqCst);
        let cursor: Option<String> = seen.last().cloned();
        let rows = ids(&mut client, AFTER, &[&cursor])?;
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

/// Without the file, the clock is what it is.
fn offset_file(folder: &Path) -> PathBuf {
    folder.join("clock")
}

/// Steps the server's clock to so many seconds from the real one, at once for all of it.
fn offset(file: &Path, seconds: i64) -> Result<()> {
    let next = file.with_extension("next");
    fs::write(&next, format!("{seconds:+}s\n"))?;
    fs::set_permissions(&next, fs::Permissions::from_mode(0o644))?;
    Ok(fs::rename(&next, file)?)
}

fn joined<T>(result: thread::Result<Result<T>>) -> Result<T> {
    result.ok().context("a thread panicked")?
}
