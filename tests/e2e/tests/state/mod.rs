//! The state is a function of the set of events: neither their order, nor repeats, nor
//! how they are cut into batches, nor who else ingests at the same time, matters.
//!
//! The events are drawn from few messages, recipients and times, so that most of them
//! meet: ties, conflicts and overtakings are the rule. `STATE_SEED=n` repeats a run.

mod case;

use self::case::{Batch, Case, PROVIDERS};
use anyhow::{Context as _, Result, ensure};
use postgres::Client;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::env;
use std::sync::Barrier;
use std::thread;
use tidings_e2e::on_cluster;
use tidings_harness::cluster::Cluster;
use tidings_harness::stage::DATABASE;

const LANES: usize = 2;
const CASES_OF_A_LANE: usize = 600;
const CONNECTIONS_OF_A_LANE: usize = 3;

/// All rows of all state tables, as texts.
const ROWS: &str = "
    select 'message ' || to_jsonb(t)::text as row, message_key as key from tidings.message t
    union all select 'consent ' || to_jsonb(t)::text, recipient from tidings.consent t
    union all select 'subscriber ' || to_jsonb(t)::text, recipient from tidings.subscriber t
    union all select 'request_summary ' || to_jsonb(t)::text, request_id from tidings.request_summary t
    union all select 'request ' || to_jsonb(t)::text, request_id from tidings.request t";

#[test]
fn the_state_depends_on_nothing_but_the_set_of_events() -> Result<()> {
    let seed = match env::var("STATE_SEED") {
        Ok(seed) => seed.parse().context("STATE_SEED is not a number")?,
        Err(_) => rand::rng().random(),
    };
    on_cluster(|cluster| {
        thread::scope(|scope| {
            let lanes: Vec<_> = (0..LANES)
                .map(|lane| scope.spawn(move || play(cluster, lane, seed)))
                .collect();
            lanes.into_iter().try_for_each(|lane| joined(lane.join()))
        })?;
        let mut client = cluster.connect(DATABASE)?;
        everything_was_met(&mut client)?;
        rebuilding_changes_nothing(&mut client)
    })
    .with_context(|| format!("STATE_SEED={seed} repeats it"))
}

/// The cases of the other test are small: here many rows are wanted by all at once. Ppoppo
/// has no part in it, since batches of one of its sources wait for each other anyway.
#[test]
fn large_batches_about_the_same_messages_do_not_deadlock() -> Result<()> {
    const ROUNDS: usize = 40;
    const CONNECTIONS: usize = 4;
    const SUBJECTS: usize = 60;
    on_cluster(|cluster| {
        let mut client = cluster.connect(DATABASE)?;
        add_sources(&mut client, 0)?;
        let mut clients = (0..CONNECTIONS)
            .map(|_| cluster.connect(DATABASE))
            .collect::<Result<Vec<_>>>()?;
        for round in 0..ROUNDS {
            let batches: Vec<_> = (0..CONNECTIONS)
                .map(|connection| {
                    let moment = round * CONNECTIONS + connection;
                    // Apart, or the rows of one table would order those who want the other.
                    let provider = ["arpoone", "pushpushgo"][connection % 2];
                    vec![Batch::of_all(&mut rand::rng(), provider, moment, SUBJECTS)]
                })
                .collect();
            let inserted = deliver(&mut clients, &batches)?;
            ensure!(inserted == (SUBJECTS * CONNECTIONS) as i64);
        }
        rebuilding_changes_nothing(&mut client)
    })
}

/// The cases of one lane, one after another; its sources are its own.
fn play(cluster: &Cluster, lane: usize, seed: u64) -> Result<()> {
    let mut client = cluster.connect(DATABASE)?;
    let mut clients = (0..CONNECTIONS_OF_A_LANE)
        .map(|_| cluster.connect(DATABASE))
        .collect::<Result<Vec<_>>>()?;
    add_sources(&mut client, lane)?;
    for number in 0..CASES_OF_A_LANE {
        let number = lane * CASES_OF_A_LANE + number;
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
        let case = Case::draw(&mut random, lane, number);
        let at_once = case.at_once();
        let batches = case.shares(&mut random, clients.len());
        let (expected, events) = rolled_back(&mut client, &case, &at_once)?;
        let outcome = deliver(&mut clients, &batches).and_then(|inserted| {
            ensure!(inserted == events, "{inserted} events, not {events}");
            let rows = rows(&mut client, &case)?;
            ensure!(
                rows == expected,
                "at once:\n{expected}\nin batches:\n{rows}"
            );
            Ok(())
        });
        outcome.with_context(|| format!("case {number}\n{at_once}---\n{}", shown(&batches)))?;
    }
    Ok(())
}

fn add_sources(client: &mut Client, lane: usize) -> Result<()> {
    for provider in PROVIDERS {
        let options = match provider {
            "ppoppo" => r#"{"endpoint": "https://localhost"}"#,
            _ => r#"{"allow_unauthenticated": true}"#,
        };
        client.execute(
            "select tidings.add_source($1, $2, null, $3::text::jsonb)",
            &[&case::source(provider, lane), &provider, &options],
        )?;
    }
    Ok(())
}

/// The state after one statement with all events, and their number; nothing is kept.
fn rolled_back(client: &mut Client, case: &Case, batch: &Batch) -> Result<(String, i64)> {
    client.batch_execute("begin")?;
    let inserted = ingest(client, batch)
        .with_context(|| format!("case {}, at once\n{batch}", case.prefix()))?;
    let rows = rows(client, case)?;
    client.batch_execute("rollback")?;
    Ok((rows, inserted))
}

/// Each connection sends its batches, all of them at the same time.
fn deliver(clients: &mut [Client], shares: &[Vec<Batch>]) -> Result<i64> {
    let start = Barrier::new(shares.len());
    thread::scope(|scope| {
        let senders: Vec<_> = clients
            .iter_mut()
            .zip(shares)
            .map(|(client, batches)| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    batches
                        .iter()
                        .map(|batch| ingest(client, batch))
                        .sum::<Result<i64>>()
                })
            })
            .collect();
        senders
            .into_iter()
            .map(|sender| joined(sender.join()))
            .sum()
    })
}

/// One statement; the number of events that were new. No error is accepted, and none is
/// retried: concurrent batches must not even deadlock.
fn ingest(client: &mut Client, batch: &Batch) -> Result<i64> {
    let row = client
        .query_one(
            "select count(*), sum(inserted), bool_and(verdict = 'accepted' and rejected = 0), min(detail)
             from tidings.ingest_batch($1, $2, $3)",
            &[&batch.sources(), &batch.bodies(), &batch.headers()],
        )
        .with_context(|| format!("ingesting\n{batch}"))?;
    let accepted: bool = row.try_get(2)?;
    ensure!(
        accepted,
        "not accepted: {:?}\n{batch}",
        row.try_get::<_, Option<String>>(3)?
    );
    Ok(row.try_get(1)?)
}

fn rows(client: &mut Client, case: &Case) -> Result<String> {
    let sql = format!(
        "select coalesce(string_agg(row, chr(10) order by row collate \"C\"), '')
         from ({ROWS}) r where starts_with(key, $1)"
    );
    Ok(client.query_one(&sql, &[&case.prefix()])?.try_get(0)?)
}

/// Otherwise equality would prove little.
fn everything_was_met(client: &mut Client) -> Result<()> {
    let row = client.query_one(
        "select jsonb_build_object(
           'messages in conflict', (select count(*) from tidings.message where final_conflict),
           'messages overtaken', (select count(*) from tidings.message where is_final and last_event_at > status_at),
           'messages without a status', (select count(*) from tidings.message where status is null),
           'messages without a recipient', (select count(*) from tidings.message where recipient = ''),
           'messages told by their request', (select count(*) from tidings.message where message_id is null),
           'messages opened often', (select count(*) from tidings.message where opens > 1),
           'messages clicked often', (select count(*) from tidings.message where clicks > 1),
           'messages of each rank', (select min(n) from (select count(m.status_rank) as n
              from generate_series(1, 8) rank left join tidings.message m on m.status_rank = rank group by rank) r),
           'consents granted and denied', (select count(*) from tidings.consent where granted_at is not null and denied_at is not null),
           'consents said at one time', (select count(*) from tidings.consent where granted_at = denied_at),
           'messages held', (select count(*) from tidings.message where consent_requested_at is not null and status = 'message.pending'),
           'messages held and delivered', (select count(*) from tidings.message where consent_requested_at is not null and delivered_at is not null),
           'messages refused', (select count(*) from tidings.message where error_code = 'consent_denied'),
           'consents of each status', (select min(n) from (select count(c.status) as n
              from unnest('{consent.requested,consent.granted,consent.denied,consent.expired}'::text[]) status left join tidings.consent c using (status) group by status) s),
           'consents granted by a delivery', (select count(*) from tidings.consent c join tidings.event e on e.event_id = c.status_event_id and e.source_id = c.source_id
              where c.status = 'consent.granted' and e.kind = 'message.delivered'),
           'consents granted by an answer', (select count(*) from tidings.consent c join tidings.event e on e.event_id = c.status_event_id and e.source_id = c.source_id
              where c.status = 'consent.granted' and e.provider_kind like 'GetSendRequestStatus/%'),
           'consents that an older request does not overrule', (select count(*) from tidings.consent where status_at < greatest(requested_at, granted_at, denied_at, expired_at)),
           'subscribers without a status', (select count(*) from tidings.subscriber where status is null),
           'subscribers with an id of their own', (select count(*) from tidings.subscriber where custom_id is not null),
           'requests complete', (select count(*) from tidings.request_summary where summary is not null),
           'requests failed', (select count(*) from tidings.request where unprocessed is not null),
           'requests complete and failed', (select count(*) from tidings.request where completed_at is not null and failed_at is not null),
           'requests not complete', (select count(*) from tidings.request_summary where completed_at is null),
           'requests with a difference', (select count(*) from tidings.request where delivered_difference <> 0),
           'events of each provider', (select min(n) from (select count(*) as n from tidings.event group by provider having count(*) > 0) e),
           'positions in the state', (select (count(*) = 0)::int from (
              select status_event_id as id from tidings.message union all select status_event_id from tidings.consent
              union all select status_event_id from tidings.subscriber union all select custom_id_event_id from tidings.subscriber
              union all select completed_event_id from tidings.request_summary union all select failed_event_id from tidings.request_summary
              union all select delivered_event_id from tidings.message
            ) s join tidings.event e using (id)))",
        &[],
    )?;
    let met: serde_json::Value = row.try_get(0)?;
    let never: Vec<_> = met
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, count)| count.as_i64().unwrap_or(0) == 0)
        .map(|(what, _)| what)
        .collect();
    ensure!(never.is_empty(), "never met: {never:?}\n{met:#}");
    Ok(())
}

/// The events alone give the rows that ingest made, of all cases at once.
fn rebuilding_changes_nothing(client: &mut Client) -> Result<()> {
    client.batch_execute(&format!(
        "create temp table before as {ROWS};
         select tidings.rebuild_state();
         create temp table after as {ROWS};"
    ))?;
    let row = client.query_one(
        "select (select count(*) from after),
                (select string_agg('gone: ' || row, chr(10)) from (table before except all table after) d),
                (select string_agg('new: ' || row, chr(10)) from (table after except all table before) d)",
        &[],
    )?;
    let (rows, gone, new): (i64, Option<String>, Option<String>) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    ensure!(rows > 0, "there is no state");
    ensure!(
        gone.is_none() && new.is_none(),
        "{}\n{}",
        gone.unwrap_or_default(),
        new.unwrap_or_default()
    );
    Ok(())
}

fn shown(shares: &[Vec<Batch>]) -> String {
    shares
        .iter()
        .enumerate()
        .flat_map(|(connection, batches)| {
            batches
                .iter()
                .map(move |batch| format!("connection {connection}:\n{batch}"))
        })
        .collect()
}

fn joined<T>(result: thread::Result<Result<T>>) -> Result<T> {
    result.ok().context("a thread panicked")?
}
