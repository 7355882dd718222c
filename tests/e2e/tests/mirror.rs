//! A mirror of the events in a Postgres that has no extension: a table that a subscription fills,
//! with the steps of docs/mirror.md.

use anyhow::{Context as _, Result, ensure};
use postgres::Client;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tidings_e2e::{eventually, on_cluster_with};
use tidings_harness::cluster::Cluster;
use tidings_harness::stage::DATABASE;

const MIRROR: &str = "mirror";
const WRITERS: usize = 16;
/// Batches of each writer, and events of a batch.
const BATCHES: usize = 63;
const EVENTS: usize = 100;
/// Times at which the worker that applies the changes is ended.
const KILLS: usize = 2;
/// Pause between two updates of the horizon, and between two looks, which would take the whole
/// machine otherwise.
const PAUSE: Duration = Duration::from_millis(50);
const ERASED: &str = "351910000007";

const PUBLISHER: &str = r#"
    select tidings.add_source('sms', 'arpoone', null, '{"allow_unauthenticated": true}');
    create schema mirror;
    create table mirror.horizon (one_row boolean primary key default true check (one_row), position text);
    insert into mirror.horizon default values;
    create publication mirror for table tidings.event, mirror.horizon with (publish_via_partition_root = true)"#;

/// Ids are texts there, and sort by their bytes as ulids do.
const SUBSCRIBER: &str = r#"
    create schema tidings;
    create table tidings.event (
      id text collate "C" not null unique,
      event_id text collate "C" not null,
      source_id int not null,
      provider text not null,
      kind text not null,
      provider_kind text not null,
      channel text,
      occurred_at timestamptz not null,
      received_at timestamptz not null,
      request_id text,
      message_id text,
      recipient text,
      campaign text,
      error_code text,
      reason text,
      payload jsonb not null,
      primary key (event_id, occurred_at, source_id)
    );
    create schema mirror;
    create table mirror.horizon (one_row boolean primary key, position text collate "C");
    create role mirror superuser login;
    alter schema tidings owner to mirror;
    alter schema mirror owner to mirror;
    alter table tidings.event owner to mirror;
    alter table mirror.horizon owner to mirror"#;

#[test]
fn a_mirror_without_the_extension_has_every_event_and_its_readers_miss_none() -> Result<()> {
    on_cluster_with("alter system set wal_level = logical", |cluster| {
        let mut publisher = cluster.connect(DATABASE)?;
        publisher.batch_execute(PUBLISHER)?;
        publisher
            .batch_execute("select pg_create_logical_replication_slot('mirror', 'pgoutput')")?;
        cluster.create_database(MIRROR)?;
        let mut mirror = cluster.connect(MIRROR)?;
        mirror.batch_execute(SUBSCRIBER)?;
        subscribe(cluster, &mut mirror)?;

        let over = AtomicBool::new(false);
        let read = thread::scope(|scope| -> Result<_> {
            let horizon = scope.spawn(|| raise(cluster, &over));
            let reader = scope.spawn(|| follow(cluster, &over));
            let written = write_and_maintain(cluster, &mut publisher, &mut mirror);
            over.store(true, Ordering::SeqCst);
            let horizon = horizon
                .join()
                .ok()
                .context("the horizon's thread panicked")?;
            let read = reader.join().ok().context("the reader panicked")?;
            written.and(horizon).and(read)
        })?;

        let erased = publisher.query("select * from tidings.erase_recipient($1)", &[&ERASED])?;
        ensure!(erased.iter().any(|row| row.get::<_, i64>("rows") > 0));
        publisher.batch_execute("update mirror.horizon set position = tidings.log_end()")?;
        same_rows(&mut publisher, &mut mirror)?;
        let own = ids(&mut publisher, "tidings.event")?;
        let missed: Vec<_> = own.difference(&read).collect();
        ensure!(missed.is_empty(), "{} events missed", missed.len());
        println!("{} events read", read.len());

        // A partition that retention drops stays in the mirror, which has a retention of its own.
        let there = ids(&mut mirror, "tidings.event")?;
        publisher.batch_execute("update tidings.retention set keep_events = '20 days'")?;
        let dropped = publisher.query(
            "select from tidings.maintain() where action = 'dropped' and rows > 0",
            &[],
        )?;
        ensure!(!dropped.is_empty(), "no partition was dropped");
        publisher.batch_execute("update mirror.horizon set position = '0'")?;
        eventually("the mirror has come so far", || {
            let horizon = mirror.query_one("select position from mirror.horizon", &[])?;
            Ok((horizon.get::<_, Option<String>>(0).as_deref() == Some("0")).then_some(()))
        })?;
        ensure!(
            ids(&mut mirror, "tidings.event")? == there,
            "the mirror has lost rows"
        );

        let errors = mirror.query_one(
            "select apply_error_count + sync_error_count from pg_stat_subscription_stats",
            &[],
        )?;
        ensure!(errors.get::<_, i64>(0) == 0, "{errors:?}");
        mirror.batch_execute(
            "alter subscription mirror disable;
             alter subscription mirror set (slot_name = none);
             drop subscription mirror",
        )?;
        Ok(())
    })
}

/// Its owner is an ordinary role afterwards, as on a managed server.
fn subscribe(cluster: &Cluster, mirror: &mut Client) -> Result<()> {
    mirror.batch_execute(&format!(
        "set session authorization mirror;
         create subscription mirror connection '{}' publication mirror
           with (slot_name = 'mirror', create_slot = false);
         reset session authorization",
        cluster.url(DATABASE)
    ))?;
    let major = mirror.query_one(
        "select current_setting('server_version_num')::int / 10000",
        &[],
    )?;
    if major.get::<_, i32>(0) >= 16 {
        mirror.batch_execute("alter subscription mirror set (password_required = false)")?;
    }
    mirror.batch_execute("alter role mirror nosuperuser")?;
    // Until then each table is copied by itself.
    eventually("both tables are synchronized", || {
        let row = mirror.query_one(
            "select count(*) = 2 and bool_and(srsubstate = 'r') from pg_subscription_rel",
            &[],
        )?;
        Ok(row.get::<_, bool>(0).then_some(()))
    })
}

/// Says again and again, in a transaction of its own, up to where the log is complete.
fn raise(cluster: &Cluster, over: &AtomicBool) -> Result<()> {
    let mut client = cluster.connect(DATABASE)?;
    while !over.load(Ordering::SeqCst) {
        client.batch_execute("update mirror.horizon set position = tidings.log_end()")?;
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Reads the mirror up to its horizon, until all is read. Returns the positions.
fn follow(cluster: &Cluster, over: &AtomicBool) -> Result<BTreeSet<String>> {
    let mut client = cluster.connect(MIRROR)?;
    let (mut reached, mut read) = (String::new(), BTreeSet::new());
    loop {
        let is_last = over.load(Ordering::SeqCst);
        let horizon = client.query_opt("select coalesce(position, '') from mirror.horizon", &[])?;
        if let Some(horizon) = horizon {
            let horizon: String = horizon.get(0);
            let rows = client.query(
                "select id from tidings.event where id > $1 and id <= $2 order by id",
                &[&reached, &horizon],
            )?;
            read.extend(rows.iter().map(|row| row.get::<_, String>(0)));
            reached = horizon;
        }
        if is_last {
            return Ok(read);
        }
        thread::sleep(PAUSE);
    }
}

fn write_and_maintain(
    cluster: &Cluster,
    publisher: &mut Client,
    mirror: &mut Client,
) -> Result<()> {
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| scope.spawn(move || write(cluster, writer)))
            .collect();
        for _ in 0..KILLS {
            // Made, with the rows that are there; and dropped.
            publisher.query("select * from tidings.maintain()", &[])?;
            eventually("the worker that applies runs, and is ended", || {
                let ended = mirror.query(
                    "select pg_terminate_backend(pid) from pg_stat_subscription where pid is not null",
                    &[],
                )?;
                Ok((!ended.is_empty()).then_some(()))
            })?;
        }
        for writer in writers {
            writer.join().ok().context("a writer panicked")??;
        }
        publisher.query("select * from tidings.maintain()", &[])?;
        // The reader's last look comes after all is there.
        publisher.batch_execute("update mirror.horizon set position = tidings.log_end()")?;
        same_rows(publisher, mirror)?;
        eventually("the horizon of the mirror is that of the log", || {
            let own = publisher.query_one("select tidings.log_end()::text", &[])?;
            let there = mirror.query_one("select position from mirror.horizon", &[])?;
            let (own, there): (String, Option<String>) = (own.get(0), there.get(0));
            Ok((there.as_ref() == Some(&own)).then_some(()))
        })
    })
}

/// Events of these and of past weeks.
fn write(cluster: &Cluster, writer: usize) -> Result<()> {
    let mut client = cluster.connect(DATABASE)?;
    for batch in 0..BATCHES {
        let prefix = format!("{writer}-{batch}");
        client.query(
            "select tidings.ingest('sms', convert_to((
               select jsonb_agg(jsonb_build_object('MessageId', $1::text || '-' || n, 'Status', 'DELIVERED', 'Msisdn', 35191000000 || (n % 10)::text,
                 'ReportDateTime', to_char((now() - n % 7 * interval '5 days') at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')))
               from generate_series(1, $2::int) n)::text, 'UTF8'))",
            &[&prefix, &i32::try_from(EVENTS)?],
        )?;
    }
    Ok(())
}

fn same_rows(publisher: &mut Client, mirror: &mut Client) -> Result<()> {
    const COUNT: &str = "select count(*) from tidings.event";
    // The binary forms of the two ids differ, and their texts do not.
    const DIGEST: &str = "select coalesce(sum(hashtext(concat_ws('|', id, event_id, source_id, provider, kind, channel, occurred_at, received_at, message_id, recipient, payload))::bigint), 0)::text from tidings.event";
    let own: i64 = publisher.query_one(COUNT, &[])?.get(0);
    let mut there: i64 = 0;
    eventually("the mirror has all rows", || {
        there = mirror.query_one(COUNT, &[])?.get(0);
        thread::sleep(PAUSE);
        Ok((own == there).then_some(()))
    })
    .with_context(|| format!("{there} of {own}"))?;
    let digest =
        |client: &mut Client| -> Result<String> { Ok(client.query_one(DIGEST, &[])?.get(0)) };
    let (own, there) = (digest(publisher)?, digest(mirror)?);
    ensure!(own == there, "{own} and {there}");
    Ok(())
}

fn ids(client: &mut Client, table: &str) -> Result<BTreeSet<String>> {
    let rows = client.query(&format!("select id::text from {table}"), &[])?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
