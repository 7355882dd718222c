//! Effects are exactly once: what a consumer does in the transaction of its ack is done
//! for every event, once and in order, wherever the application crashes and whatever
//! retention removes meanwhile.
//!
//! What was stored is written down by a trigger, so that it is known after retention has
//! removed it. `CONSUMERS_SEED=n` repeats what is drawn, though not how it interleaves.

mod application;

use self::application::Application;
use anyhow::{Context as _, Result, ensure};
use postgres::Client;
use postgres::error::SqlState;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::collections::BTreeMap;
use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tidings_e2e::{eventually, on_cluster};
use tidings_harness::cluster::Cluster;
use tidings_harness::stage::DATABASE;

const CONSUMERS: [&str; 4] = ["audit", "billing", "mail", "search"];
const WRITERS: usize = 8;
const TRANSACTIONS: usize = 150;
const MOST_EVENTS: usize = 8;
/// The writers go through these weeks of the past, one after another ..
const WEEKS: usize = 6;
/// .. and draw the events of each from so many: most come more than once.
const EVENTS_OF_A_WEEK: usize = 800;
/// So often an event is of any week before, whose partition may be gone.
const LATE: f64 = 0.003;

const PREPARE: &str = r#"
    select tidings.add_source('log', 'arpoone', null, '{"allow_unauthenticated": true}');
    update tidings.retention set partitions_ahead = 10;
    create table written (id tidings.ulid);
    create function write_down() returns trigger language plpgsql as $$
    begin
      insert into public.written select id from stored;
      return null;
    end $$;
    create trigger write_down after insert on tidings.event
      referencing new table as stored for each statement execute function public.write_down();"#;

/// Partitions are made by the first of these settings; by the second they are expired.
const KEEP: [Option<&str>; 2] = [None, Some("3 days")];

#[derive(Debug, Default)]
struct Reached {
    dropped: AtomicBool,
    written: AtomicBool,
    followed: AtomicBool,
}

#[test]
fn each_event_has_its_effect_exactly_once() -> Result<()> {
    let seed = match env::var("CONSUMERS_SEED") {
        Ok(seed) => seed.parse().context("CONSUMERS_SEED is not a number")?,
        Err(_) => rand::rng().random(),
    };
    on_cluster(|cluster| play(cluster, seed))
        .with_context(|| format!("CONSUMERS_SEED={seed} draws the same"))
}

fn play(cluster: &Cluster, seed: u64) -> Result<()> {
    let mut client = cluster.connect(DATABASE)?;
    client.batch_execute(PREPARE)?;
    for consumer in CONSUMERS {
        client.batch_execute(&format!(
            "select tidings.create_consumer('{consumer}');
             create table effect_{consumer} (n bigint generated always as identity, id tidings.ulid)"
        ))?;
    }
    let times = times(&mut client)?;

    let reached = Reached::default();
    let draws = |n: usize| StdRng::seed_from_u64(seed.wrapping_add(n as u64));
    let upkeep = thread::scope(|scope| {
        let upkeep = scope.spawn(|| maintain(cluster, &reached));
        let applications: Vec<_> = (0..)
            .zip(CONSUMERS)
            .map(|(n, consumer)| {
                let (reached, random) = (&reached, draws(n));
                scope.spawn(move || {
                    Application::start(cluster, consumer, random)?
                        .run(&reached.written)
                        // Then nobody need wait for it.
                        .inspect_err(|_| reached.dropped.store(true, Ordering::SeqCst))
                })
            })
            .collect();
        let writers: Vec<_> = (0..WRITERS)
            .map(|n| {
                let (times, dropped) = (&times, &reached.dropped);
                let random = draws(CONSUMERS.len() + n);
                scope.spawn(move || write(cluster, times, random, dropped))
            })
            .collect();
        let outcome = all(writers.into_iter().map(|writer| writer.join()));
        reached.written.store(true, Ordering::SeqCst);
        let outcome = outcome.and(all(applications.into_iter().map(|a| a.join())));
        reached.followed.store(true, Ordering::SeqCst);
        let upkeep = joined(upkeep.join());
        outcome.and(upkeep)
    })?;

    for consumer in CONSUMERS {
        exactly_once(&mut client, consumer)?;
    }
    // Otherwise retention was not tried; what was left at the end is gone, all being read.
    for action in ["created", "kept", "dropped"] {
        ensure!(upkeep.contains_key(action), "none was {action}: {upkeep:?}");
    }
    let left: i64 = client
        .query_one("select count(*) from tidings.event", &[])?
        .try_get(0)?;
    ensure!(left == 0, "{left} events were not removed");
    Ok(())
}

/// A moment in each of the weeks, the earliest first, as the provider writes it.
fn times(client: &mut Client) -> Result<Vec<String>> {
    client
        .query(
            "select to_char(now() - make_interval(weeks => 1 + week), 'YYYY-MM-DD\"T\"HH24:MI:SS')
             from generate_series($1, 1, -1) week",
            &[&i32::try_from(WEEKS)?],
        )?
        .iter()
        .map(|row| Ok(row.try_get(0)?))
        .collect()
}

/// No error is accepted: neither other writers nor upkeep may make one fail.
fn write(
    cluster: &Cluster,
    times: &[String],
    mut random: StdRng,
    dropped: &AtomicBool,
) -> Result<()> {
    let mut client = cluster.connect(DATABASE)?;
    for transaction in 0..TRANSACTIONS {
        if transaction == TRANSACTIONS / 2 {
            eventually("upkeep drops a partition that all have read", || {
                Ok(dropped.load(Ordering::SeqCst).then_some(()))
            })?;
        }
        let now = transaction * WEEKS / TRANSACTIONS;
        let events: Vec<_> = (0..random.random_range(1..=MOST_EVENTS))
            .map(|_| {
                let week = match random.random_bool(LATE) {
                    true => random.random_range(0..=now),
                    false => now,
                };
                serde_json::json!({
                    "MessageId": format!("{week}-{}", random.random_range(0..EVENTS_OF_A_WEEK)),
                    "Status": "DELIVERED",
                    "ReportDateTime": times.get(week),
                })
            })
            .collect();
        client.batch_execute("begin")?;
        let stored: i32 = client
            .query_one(
                "select inserted + duplicate from tidings.ingest('log', $1)",
                &[&serde_json::to_vec(&events)?],
            )?
            .try_get(0)?;
        ensure!(usize::try_from(stored)? == events.len());
        // Others take ids meanwhile, and commit before.
        thread::sleep(Duration::from_millis(random.random_range(0..=10)));
        client.batch_execute("commit")?;
    }
    Ok(())
}

/// What upkeep did while events were written, and how often; and once more at the end.
fn maintain(cluster: &Cluster, reached: &Reached) -> Result<BTreeMap<String, usize>> {
    let mut client = cluster.connect(DATABASE)?;
    let mut done = BTreeMap::<String, usize>::new();
    loop {
        let (counts, last_turn) = (
            !reached.written.load(Ordering::SeqCst),
            reached.followed.load(Ordering::SeqCst),
        );
        for keep in KEEP {
            client.execute(
                "update tidings.retention set keep_events = $1::text::interval",
                &[&keep],
            )?;
            match client.query("select action from tidings.maintain()", &[]) {
                Ok(rows) if counts => {
                    for row in rows {
                        *done.entry(row.try_get(0)?).or_default() += 1;
                    }
                    let dropped = done.contains_key("dropped");
                    reached.dropped.fetch_or(dropped, Ordering::SeqCst);
                }
                Ok(_) => {}
                // It gives way where others hold the table for long.
                Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {}
                Err(error) => return Err(error).context("upkeep failed"),
            }
        }
        if last_turn {
            return Ok(done);
        }
    }
}

fn exactly_once(client: &mut Client, consumer: &str) -> Result<()> {
    let row = client.query_one(
        &format!(
            "with e as (select id, lag(id) over (order by n) as before from effect_{consumer})
             select
               (select count(*) from written),
               (select count(*) from written w where not exists (select from e where e.id = w.id)),
               (select count(*) - count(distinct id) from e),
               (select count(*) from e where id <= before),
               (select count(*) from e where not exists (select from written w where w.id = e.id))"
        ),
        &[],
    )?;
    let [written, missing, repeated, disordered, unknown]: [i64; 5] = [
        row.try_get(0)?,
        row.try_get(1)?,
        row.try_get(2)?,
        row.try_get(3)?,
        row.try_get(4)?,
    ];
    ensure!(written > 0, "nothing was written");
    ensure!(
        [missing, repeated, disordered, unknown] == [0; 4],
        "{consumer}: of {written} events {missing} had no effect; of its effects {repeated} were \
         repeated, {disordered} out of order and {unknown} of no event"
    );
    Ok(())
}

fn all<T>(results: impl Iterator<Item = thread::Result<Result<T>>>) -> Result<()> {
    // To the end, for all must have ended.
    results
        .map(|result| joined(result).map(drop))
        .fold(Ok(()), Result::and)
}

fn joined<T>(result: thread::Result<Result<T>>) -> Result<T> {
    result.ok().context("a thread panicked")?
}
