//! The price of one commit and of one page as the history grows: partitions and sources.

use super::ingest::ingest;
use crate::contest::{Bound, Contest, Row, ratio, value};
use crate::figures::Figures;
use crate::lab::{Bed, Lab, URL_TOKEN};
use crate::load::bodies::Bodies;
use crate::measure::meter::Meter;
use crate::measure::stats::Times;
use anyhow::{Context as _, Result, ensure};
use jiff::{Timestamp, ToSpan as _};
use postgres::Client;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Instant;

const P2: &str = "2 partitions";
const P27: &str = "27 partitions";
const P105: &str = "105 partitions";
const P261: &str = "261 partitions";
const S1: &str = "1 source";
const S1101: &str = "1,101 sources";
const S6101: &str = "6,101 sources";

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "partitions",
        title: "One commit, one page and nothing new, as partitions grow",
        about: "A partition for each week, back from the current one, and the default partition: 261 are five years. All have 20,000 old events, spread over their weeks, and 2,000 of this week. One event is committed, 1,000 events are read by `events_after`, and a consumer polls when there is nothing new, each many times in a warm session; the median of each. Locks are those that a warm session has at the end of an ingest transaction.",
        unit: "commit",
        contenders: &[P2, P27, P105, P261],
        marks: &[
            ratio(
                "one commit at 261 partitions against 2",
                "commit",
                P261,
                P2,
                Bound::AtMost(1.15),
            ),
            ratio("a page of 1000", "page", P261, P2, Bound::AtMost(1.15)),
            ratio("nothing new", "empty", P261, P2, Bound::AtMost(1.15)),
            value(
                "locks of an ingest transaction",
                "locks",
                P261,
                Bound::AtMost(59.0),
            ),
        ],
        set: |lab| {
            Growth::set(
                lab,
                &[(P2, 2), (P27, 27), (P105, 105), (P261, 261)],
                partitions,
            )
        },
    },
    Row {
        name: "sources",
        title: "One commit as sources grow",
        about: "As above, at two partitions.",
        unit: "commit",
        contenders: &[S1, S1101, S6101],
        marks: &[ratio(
            "one commit at 6,101 sources against 1",
            "commit",
            S6101,
            S1,
            Bound::AtMost(1.15),
        )],
        set: |lab| Growth::set(lab, &[(S1, 1), (S1101, 1101), (S6101, 6101)], sources),
    },
];

struct Growth {
    bed: Bed,
    databases: BTreeMap<&'static str, String>,
    commits: usize,
    reads: usize,
    turns: u64,
}

impl Growth {
    fn set(
        lab: &Lab,
        sizes: &[(&'static str, u64)],
        grow: fn(&mut Client, u64) -> Result<()>,
    ) -> Result<Box<dyn Contest>> {
        let bed = lab.bed(&[])?;
        let mut databases = BTreeMap::new();
        for &(name, size) in sizes {
            lab.progress.say(&format!("making {name}"));
            let database = bed.database()?;
            let mut client = bed.connect(&database)?;
            // The template has partitions ahead of time.
            let ahead = client.query(
                "select inhrelid::regclass::text from pg_inherits
                 where inhparent = 'tidings.event'::regclass and inhrelid <> 'tidings.event_default'::regclass",
                &[],
            )?;
            for partition in ahead {
                let name: String = partition.try_get(0)?;
                client.batch_execute(&format!("drop table {name}"))?;
            }
            grow(&mut client, size)?;
            client.batch_execute("vacuum analyze")?;
            databases.insert(name, database);
        }
        Ok(Box::new(Self {
            bed,
            databases,
            commits: lab.pick(10, 300),
            reads: lab.pick(5, 60),
            turns: 0,
        }))
    }
}

/// A partition for each of so many weeks, the default one included; then the events.
fn partitions(client: &mut Client, count: u64) -> Result<()> {
    const OLD: u64 = 20_000;
    let weeks = i64::try_from(count)? - 1;
    client.batch_execute(&format!(
        r#"do $$
           declare
             starts timestamptz;
             name text;
           begin
             for week in 0..{weeks} - 1 loop
               starts := date_trunc('week', now(), 'UTC') - week * interval '1 week';
               name := to_char(starts at time zone 'UTC', '"event_"IYYY"w"IW');
               execute format('create table tidings.%I (like tidings.event_default including all excluding comments)', name);
               execute format('alter table tidings.event attach partition tidings.%I for values from (%L) to (%L)',
                 name, starts, starts + interval '1 week');
             end loop;
           end
           $$"#
    ))?;
    let mut bodies = Bodies::new(3);
    let now = Timestamp::now();
    // Oldest first, as they would have come.
    let times: Vec<Timestamp> = (0..OLD)
        .map(|at| {
            let week = (OLD - 1 - at) * u64::try_from(weeks).unwrap_or(1) / OLD;
            let hours = i64::try_from(week)? * 7 * 24;
            Ok(now.checked_sub(hours.hours())?)
        })
        .collect::<Result<_>>()?;
    for times in times.chunks(1000) {
        ingest(client, &bodies.sms_at(times, "DELIVERED"))?;
    }
    let made: i64 = client
        .query_one(
            "select count(*) from pg_inherits where inhparent = 'tidings.event'::regclass",
            &[],
        )?
        .try_get(0)?;
    ensure!(
        u64::try_from(made)? == count,
        "there are {made} partitions instead of {count}"
    );
    recent(client, &mut bodies)
}

/// So many sources beside the one that is used, at two partitions.
fn sources(client: &mut Client, count: u64) -> Result<()> {
    partitions(client, 2)?;
    client.batch_execute("select tidings.drop_source('web-push')")?;
    client.execute(
        "select count(tidings.add_source('source-' || i, 'arpoone', 'token-' || i)) from generate_series(2, $1::int8) i",
        &[&i64::try_from(count)?],
    )?;
    let made: i64 = client
        .query_one("select count(*) from tidings.source", &[])?
        .try_get(0)?;
    ensure!(
        u64::try_from(made)? == count,
        "there are {made} sources instead of {count}"
    );
    Ok(())
}

fn recent(client: &mut Client, bodies: &mut Bodies) -> Result<()> {
    for _ in 0..2 {
        ingest(client, &bodies.sms(1000, "DELIVERED"))?;
    }
    Ok(())
}

impl Contest for Growth {
    fn play(&mut self, contender: &str) -> Result<Figures> {
        let database = self
            .databases
            .get(contender)
            .context("there is no such database")?;
        self.turns += 1;
        let mut bodies = Bodies::new(1000 + self.turns);
        let headers = json!({ "url-token": URL_TOKEN });
        let mut figures = Figures::default();
        self.bed.checkpoint()?;

        let mut client = self.bed.connect(database)?;
        let mut watch = self.bed.connect(database)?;
        let ingest = client.prepare(
            "select inserted from tidings.ingest_batch(array['sms'], array[$1::bytea], array[$2::jsonb])",
        )?;
        let mut commit = |client: &mut Client| -> Result<std::time::Duration> {
            let body = bodies.sms(1, "DELIVERED");
            let began = Instant::now();
            let inserted: i32 = client.query_one(&ingest, &[&body, &headers])?.try_get(0)?;
            ensure!(inserted == 1, "an event was not stored");
            Ok(began.elapsed())
        };
        figures.set("cold", commit(&mut client)?.as_secs_f64() * 1e3);
        for _ in 0..20 {
            commit(&mut client)?;
        }
        let mut times = Times::default();
        let meter = Meter::start(self.bed.watched(None), &mut watch)?;
        for _ in 0..self.commits {
            times.push(commit(&mut client)?);
        }
        let spent = meter.stop(self.commits.try_into()?, &mut watch)?;
        figures.set("pg_us", spent.get("pg_us").unwrap_or_default());
        figures.set("commit", times.percentile(0.5));

        client.batch_execute("begin")?;
        commit(&mut client)?;
        let locks: i64 = client
            .query_one(
                "select count(*) from pg_locks where pid = pg_backend_pid()",
                &[],
            )?
            .try_get(0)?;
        client.batch_execute("rollback")?;
        figures.set("locks", locks as f64);

        figures.set("page", page(&mut client, self.reads)?);
        let consumer = format!("consumer-{}", self.turns);
        figures.set("empty", empty(&mut client, &consumer, self.reads)?);
        Ok(figures)
    }
}

/// The median time of a page of 1000, the newest ones.
fn page(client: &mut Client, reads: usize) -> Result<f64> {
    let after: String = client
        .query_one(
            "select id::text from tidings.event order by id desc offset 1000 limit 1",
            &[],
        )?
        .try_get(0)?;
    let read =
        client.prepare("select * from tidings.events_after($1::text::tidings.ulid, 1000)")?;
    let mut times = Times::default();
    for _ in 0..reads {
        let began = Instant::now();
        let rows = client.query(&read, &[&after])?.len();
        times.push(began.elapsed());
        ensure!(rows == 1000, "a page has {rows} events");
    }
    Ok(times.percentile(0.5))
}

/// The median time of a poll when there is nothing new.
fn empty(client: &mut Client, consumer: &str, polls: usize) -> Result<f64> {
    client.execute(
        "select tidings.create_consumer($1, (select max(id) from tidings.event))",
        &[&consumer],
    )?;
    let poll = client.prepare("select * from tidings.poll($1, 1000)")?;
    let mut times = Times::default();
    for _ in 0..polls {
        let began = Instant::now();
        let rows = client.query(&poll, &[&consumer])?.len();
        times.push(began.elapsed());
        ensure!(rows == 0, "an empty poll has {rows} events");
    }
    client.execute("select tidings.drop_consumer($1)", &[&consumer])?;
    Ok(times.percentile(0.5))
}
