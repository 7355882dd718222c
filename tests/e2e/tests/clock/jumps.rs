//! Many writers while the clock jumps by up to a day, forwards and backwards, and while
//! partitions are made.

use super::{Clock, Clocked, ids, ingest, joined};
use anyhow::{Context as _, Result, ensure};
use postgres::error::SqlState;
use rand::Rng as _;
use std::collections::BTreeSet;
use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tidings_harness::stage::DATABASE;

const WRITERS: usize = 16;
/// Seconds for which they write, unless `CLOCK_SECONDS` is set.
const SECONDS: u64 = 8;
const MOST_EVENTS: usize = 5;
const MOST_MS: u64 = 30;
const ROLLED_BACK: f64 = 0.05;
/// A writer takes a new connection after so many: it knows nothing of earlier ids.
const TRANSACTIONS_OF_A_CONNECTION: usize = 10;
const DAY: i64 = 24 * 60 * 60;

const BY_THE_LOG: &str = "select id::text from tidings.events_after($1::text::tidings.ulid, $2)";
/// The query of an application that follows ids without the log.
const NAIVE: &str = "select id::text from tidings.event
    where $1::text is null or id > $1::text::tidings.ulid order by id limit $2::int";
const PAGES: [i32; 4] = [1, 3, 50, 1000];

#[test]
fn no_reader_misses_an_event_while_clocks_jump() -> Result<()> {
    let seconds = match env::var("CLOCK_SECONDS") {
        Ok(text) => text.parse().context("CLOCK_SECONDS")?,
        Err(_) => SECONDS,
    };
    Clocked::run(|server| {
        let mut client = server.database(DATABASE, None)?;
        let (written, complete) = (AtomicBool::new(false), AtomicBool::new(false));
        let (seen, naive) = thread::scope(|scope| -> Result<_> {
            let seen = scope.spawn(|| read(server, BY_THE_LOG, &complete));
            let naive = scope.spawn(|| read(server, NAIVE, &complete));
            let others = [
                scope.spawn(|| jump(server, &written)),
                scope.spawn(|| maintain(server, &written)),
            ];
            let until = Instant::now() + Duration::from_secs(seconds);
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| scope.spawn(move || write(server, writer, until)))
                .collect();
            let outcome = writers
                .into_iter()
                .map(|writer| joined(writer.join()))
                .fold(Ok(()), Result::and);
            written.store(true, Ordering::SeqCst);
            let outcome = others
                .into_iter()
                .map(|other| joined(other.join()))
                .fold(outcome, Result::and);
            // Only then does an empty answer mean that nothing is left to read.
            complete.store(true, Ordering::SeqCst);
            let readers = (joined(seen.join())?, joined(naive.join())?);
            outcome.map(|()| readers)
        })?;

        ensure!(
            seen.is_sorted_by(|before, after| before < after),
            "the log was not in order, or repeated a row"
        );
        let stored: BTreeSet<String> = ids(&mut client, "select id::text from tidings.event", &[])?
            .into_iter()
            .collect();
        let seen: BTreeSet<String> = seen.into_iter().collect();
        let missed = stored.difference(&seen).count();
        eprintln!(
            "{} events; missed: {missed}, by the naive reader {}",
            stored.len(),
            stored.len() - naive.len()
        );
        ensure!(
            seen == stored,
            "{missed} of {} rows were missed",
            stored.len()
        );
        // Otherwise this workload could not have shown a fault of the log.
        ensure!(
            naive.len() < stored.len(),
            "the naive reader missed nothing"
        );
        Ok(())
    })
}

/// Each jump may come at any point of a transaction.
fn jump(server: &Clocked, written: &AtomicBool) -> Result<()> {
    let mut random = rand::rng();
    while !written.load(Ordering::SeqCst) {
        let most = if random.random_bool(0.5) { DAY } else { 5 };
        server.set(&Clock::Off(random.random_range(-most..=most)))?;
        thread::sleep(Duration::from_millis(random.random_range(0..5)));
    }
    server.set(&Clock::Off(0))
}

/// Makes partitions, moves events to them, and merges the rows of the log.
fn maintain(server: &Clocked, written: &AtomicBool) -> Result<()> {
    let mut client = server.cluster.connect(DATABASE)?;
    while !written.load(Ordering::SeqCst) {
        client.batch_execute("select tidings.maintain()")?;
    }
    Ok(())
}

/// Each transaction takes its ids, lingers, and commits or not.
fn write(server: &Clocked, writer: usize, until: Instant) -> Result<()> {
    let mut random = rand::rng();
    let mut client = server.cluster.connect(DATABASE)?;
    for transaction in 0.. {
        if Instant::now() >= until {
            break;
        }
        if transaction % TRANSACTIONS_OF_A_CONNECTION == 0 {
            client = server.cluster.connect(DATABASE)?;
        }
        let messages: Vec<_> = (0..random.random_range(1..=MOST_EVENTS))
            .map(|number| format!("{writer}-{transaction}-{number}"))
            .collect();
        let end = if random.random_bool(ROLLED_BACK) {
            "rollback"
        } else {
            "commit"
        };
        let linger = Duration::from_millis(random.random_range(0..=MOST_MS));
        let outcome = client
            .batch_execute("begin")
            .map_err(anyhow::Error::from)
            .and_then(|()| ingest(&mut client, &messages))
            .and_then(|()| {
                thread::sleep(linger);
                Ok(client.batch_execute(end)?)
            });
        if let Err(error) = outcome {
            ensure!(idled(&error) || client.is_closed(), error);
            client = server.cluster.connect(DATABASE)?;
        }
    }
    Ok(())
}

/// Whether the server ended a transaction for idling: where its clock jumps, a day has passed.
fn idled(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<postgres::Error>()
        .and_then(postgres::Error::code)
        .is_some_and(|code| *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT)
}

/// Follows the cursor from the start until the log is complete and read.
fn read(server: &Clocked, query: &str, complete: &AtomicBool) -> Result<Vec<String>> {
    let mut client = server.cluster.connect(DATABASE)?;
    let mut seen = Vec::new();
    for page in PAGES.into_iter().cycle() {
        // Asked before reading: what comes after is read by the next turn.
        let last_turn = complete.load(Ordering::SeqCst);
        let cursor: Option<String> = seen.last().cloned();
        let rows = ids(&mut client, query, &[&cursor, &page])?;
        if rows.is_empty() && last_turn {
            return Ok(seen);
        }
        seen.extend(rows);
    }
    Ok(seen)
}
