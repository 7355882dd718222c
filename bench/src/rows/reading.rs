//! Following the log, beside the queue that lives in Postgres.

use super::ingest::ingest;
use crate::contest::{Bound, Contest, Row, ratio};
use crate::figures::Figures;
use crate::lab::{Bed, Lab};
use crate::load::bodies::{Bodies, ITEMS};
use crate::measure::meter::Meter;
use anyhow::{Result, bail, ensure};
use bytes::BytesMut;
use postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, Statement};
use std::error::Error;
use tidings_harness::step::Missing;

const AFTER: &str = "tidings.events_after";
const POLL: &str = "tidings.poll and ack";
const PLAIN: &str = "SELECT by id, which may skip events";
const BARE: &str = "SELECT by id, without the payload";
const WITHOUT_PAYLOAD: &str = "id, event_id, source_id, provider, kind, provider_kind, channel, occurred_at, received_at, request_id, message_id, recipient, campaign, error_code, reason";
const PGQ: &str = "PgQ: next_batch, get_batch_events, finish_batch";

pub(super) const ROWS: &[Row] = &[Row {
    name: "reading",
    title: "Reading the log in pages of 1000",
    about: "One session reads the same events from the first to the last, with all columns unless the table says otherwise; a position is passed as the 16 bytes of an event's id. A page of a consumer's, and a batch of PgQ's, is one transaction. PgQ has an event for each of ours, with the payload, the kind and the four most important texts; a tick stands after each 1000 of them.",
    unit: "event",
    contenders: &[AFTER, POLL, PGQ, PLAIN, BARE],
    marks: &[
        ratio(
            "events_after against PgQ",
            "rate",
            AFTER,
            PGQ,
            Bound::AtLeast(1.0),
        ),
        ratio(
            "poll and ack against PgQ",
            "rate",
            POLL,
            PGQ,
            Bound::AtLeast(1.0),
        ),
    ],
    set: Reading::set,
}];

struct Reading {
    bed: Bed,
    database: String,
    events: u64,
    turns: u32,
    has_pgq: bool,
}

impl Reading {
    fn set(lab: &Lab) -> Result<Box<dyn Contest>> {
        let bed = lab.bed(&[])?;
        let database = bed.database()?;
        let mut client = bed.connect(&database)?;
        let mut bodies = Bodies::new(5);
        let pages = lab.pick(3, 200);
        lab.progress.say("storing the events to read");
        for _ in 0..pages {
            ingest(&mut client, &bodies.sms(ITEMS, "DELIVERED"))?;
        }
        let found = client.query(
            "select from pg_available_extensions where name = 'pgq'",
            &[],
        )?;
        let has_pgq = !found.is_empty();
        if has_pgq {
            queue(&mut client, pages)?;
        }
        client.batch_execute("vacuum analyze")?;
        Ok(Box::new(Self {
            bed,
            database,
            events: pages * ITEMS,
            turns: 0,
            has_pgq,
        }))
    }
}

/// A queue of PgQ's with the same events, and a tick after each page.
fn queue(client: &mut Client, pages: u64) -> Result<()> {
    client.batch_execute(
        "create extension pgq;
         select pgq.create_queue('bench');
         select pgq.set_queue_config('bench', 'ticker_max_count', '1');
         select pgq.ticker('bench')",
    )?;
    let insert = client.prepare(
        "select count(pgq.insert_event('bench', kind, payload::text, message_id, recipient, event_id::text, occurred_at::text))
         from (select * from tidings.event order by id offset $1 limit $2) e",
    )?;
    for page in 0..i64::try_from(pages)? {
        let items = i64::try_from(ITEMS)?;
        let inserted: i64 = client
            .query_one(&insert, &[&(page * items), &items])?
            .try_get(0)?;
        ensure!(inserted == items, "{inserted} events were queued");
        client.batch_execute("select pgq.ticker('bench')")?;
    }
    Ok(())
}

impl Contest for Reading {
    fn play(&mut self, contender: &str) -> Result<Figures> {
        if contender == PGQ && !self.has_pgq {
            let reason = "this Postgres has no PgQ: `xtask/setup.sh bench` installs Debian's";
            bail!(Missing::new(reason.to_owned()));
        }
        self.turns += 1;
        let name = format!("reader-{}", self.turns);
        let mut client = self.bed.connect(&self.database)?;
        let mut watch = self.bed.connect(&self.database)?;
        match contender {
            POLL => {
                client.execute("select tidings.create_consumer($1)", &[&name])?;
            }
            PGQ => {
                let register = "select pgq.register_consumer_at('bench', $1, 1)";
                client.execute(register, &[&name])?;
            }
            _ => {}
        }
        let meter = Meter::start(self.bed.watched(None), &mut watch)?;
        let read = match contender {
            AFTER => after(&mut client)?,
            PLAIN => plain(&mut client, "*")?,
            BARE => plain(&mut client, WITHOUT_PAYLOAD)?,
            POLL => poll(&mut client, &name)?,
            PGQ => batches(&mut client, &name)?,
            other => bail!("there is no contender {other}"),
        };
        let figures = meter.stop(read, &mut watch)?;
        ensure!(
            read == self.events,
            "{read} of {} events were read",
            self.events
        );
        Ok(figures.only(&["rate", "pg_us", "wal"]))
    }
}

/// A position, as its 16 bytes: what a client keeps of a page that was read.
#[derive(Clone, Copy, Debug)]
struct Position([u8; 16]);

impl<'a> FromSql<'a> for Position {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw.try_into()?))
    }

    fn accepts(of: &Type) -> bool {
        of.name() == "ulid"
    }
}

impl ToSql for Position {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(of: &Type) -> bool {
        of.name() == "ulid"
    }

    to_sql_checked!();
}

fn after(client: &mut Client) -> Result<u64> {
    let page = client.prepare("select * from tidings.events_after($1, 1000)")?;
    pages(client, &page)
}

/// Reads the same rows, or some of their columns, by the index on positions alone, without the
/// rule of the log.
fn plain(client: &mut Client, columns: &str) -> Result<u64> {
    let page = client.prepare(&format!(
        "select {columns} from tidings.event
         where id > coalesce($1::tidings.ulid, '00000000000000000000000000') order by id limit 1000"
    ))?;
    pages(client, &page)
}

/// Reads page after page, each of which begins after the last event of the one before.
fn pages(client: &mut Client, page: &Statement) -> Result<u64> {
    let (mut position, mut read) = (None::<Position>, 0);
    loop {
        let rows = client.query(page, &[&position])?;
        let Some(last) = rows.last() else {
            return Ok(read);
        };
        position = Some(last.try_get("id")?);
        read += u64::try_from(rows.len())?;
    }
}

fn poll(client: &mut Client, name: &str) -> Result<u64> {
    let poll = client.prepare("select * from tidings.poll($1, 1000)")?;
    let ack = client.prepare("select tidings.ack($1, $2)")?;
    let mut read = 0;
    loop {
        let mut transaction = client.transaction()?;
        let rows = transaction.query(&poll, &[&name])?;
        let Some(last) = rows.last() else {
            return Ok(read);
        };
        let position: Position = last.try_get("id")?;
        transaction.execute(&ack, &[&name, &position])?;
        transaction.commit()?;
        read += u64::try_from(rows.len())?;
    }
}

fn batches(client: &mut Client, name: &str) -> Result<u64> {
    let next = client.prepare("select pgq.next_batch('bench', $1)")?;
    let events = client.prepare("select * from pgq.get_batch_events($1)")?;
    let finish = client.prepare("select pgq.finish_batch($1)")?;
    let mut read = 0;
    loop {
        let mut transaction = client.transaction()?;
        let batch: Option<i64> = transaction.query_one(&next, &[&name])?.try_get(0)?;
        let Some(batch) = batch else { return Ok(read) };
        read += u64::try_from(transaction.query(&events, &[&batch])?.len())?;
        transaction.execute(&finish, &[&batch])?;
        transaction.commit()?;
    }
}
