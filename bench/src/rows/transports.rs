//! The ways by which events arrive, beside each other.

use super::assert_stored;
use super::ingest::ingest;
use crate::contest::{Bound, Contest, Row, ratio, value};
use crate::figures::Figures;
use crate::lab::{Bed, URL_TOKEN};
use crate::load::bodies::{Bodies, ITEMS};
use crate::load::{http, push};
use crate::measure::meter::Meter;
use anyhow::{Result, bail, ensure};
use postgres::Client;
use serde_json::json;
use std::time::{Duration, Instant};
use tidings_harness::emulator::{Emulator, Play};

const STREAM: &str = "a stream that the worker dials (Ppoppo)";
const PUSH: &str = "one stream that is pushed (Pushwoosh)";
const ARRAYS: &str = "arrays of 1000 by HTTP (Arpoone)";
const SQL: &str = "the same arrays by SQL";

pub(super) const ROWS: &[Row] = &[Row {
    name: "transports",
    title: "Streams, pushes and arrays",
    about: "Through the worker, as fast as it takes them. The stream is the emulator's, which shares the cores; its rate is that between the first and the last tenth of its events, by their positions in the log. The pushes are one gRPC call, of which each event is answered; the arrays come over 4 connections.",
    unit: "event",
    contenders: &[STREAM, PUSH, ARRAYS, SQL],
    marks: &[
        value("stream", "rate", STREAM, Bound::AtLeast(35_000.0)),
        ratio(
            "push against stream",
            "rate",
            PUSH,
            STREAM,
            Bound::AtLeast(0.8),
        ),
        ratio(
            "arrays against ingest by SQL",
            "rate",
            ARRAYS,
            SQL,
            Bound::AtLeast(0.9),
        ),
    ],
    set: |lab| {
        let bodies = lab.pick(2, 100);
        let mut random = Bodies::new(6);
        Ok(Box::new(Transports {
            bed: lab.bed(&[])?,
            bodies: (0..bodies)
                .map(|_| random.sms(ITEMS, "DELIVERED"))
                .collect(),
        }))
    },
}];

struct Transports {
    bed: Bed,
    bodies: Vec<Vec<u8>>,
}

impl Contest for Transports {
    fn play(&mut self, contender: &str) -> Result<Figures> {
        let database = self.bed.database()?;
        let mut client = self.bed.connect(&database)?;
        let figures = match contender {
            STREAM => self.stream(&database, &mut client)?,
            PUSH => self.push(&database, &mut client)?,
            ARRAYS => self.arrays(&database, &mut client)?,
            SQL => self.sql(&database, &mut client)?,
            other => bail!("there is no contender {other}"),
        };
        drop(client);
        self.bed.drop_database(&database)?;
        Ok(figures.only(&["rate", "pg_us", "proc_us", "wal"]))
    }
}

impl Transports {
    fn events(&self) -> u64 {
        ITEMS * u64::try_from(self.bodies.len()).unwrap_or_default()
    }

    fn stream(&self, database: &str, client: &mut Client) -> Result<Figures> {
        let worker = self.bed.worker(database, &[])?;
        let play = Play {
            events: self.events(),
            seed: 1,
            duplicates: 0.0,
            rate: 0,
            only: Some("ppoppo"),
            // Its streams then end at the beginning alone.
            flags: &["--faults", "goaway"],
            http: worker.http,
            grpc: worker.grpc,
        };
        let mut emulator = Emulator::start(&play, self.bed.cluster.folder())?;
        let options = json!({
            "endpoint": format!("http://{}/ext", emulator.ppoppo),
            "reconcile": false,
        });
        let add = "select tidings.add_source('ppoppo', 'ppoppo', 'ppoppo-dev-token', $1)";
        client.execute(add, &[&options])?;
        let meter = Meter::start(self.bed.watched(Some(worker.id())), client)?;
        emulator.begin()?;
        let count = "select count(*) from tidings.event";
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            std::thread::sleep(Duration::from_millis(20));
            emulator.listen()?;
            if emulator.is_done() {
                let stored: i64 = client.query_one(count, &[])?.try_get(0)?;
                if u64::try_from(stored)? >= self.events() {
                    break;
                }
            }
            ensure!(
                Instant::now() < deadline,
                "the stream took too long\n{}",
                worker.tail()
            );
        }
        let figures = meter.stop(self.events(), client)?;
        emulator.finish()?;
        let stored = client.query_one(
            "select count(*), count(distinct event_id) from tidings.event",
            &[],
        )?;
        let (rows, distinct): (i64, i64) = (stored.try_get(0)?, stored.try_get(1)?);
        ensure!(
            rows == distinct && u64::try_from(rows)? == self.events(),
            "{rows} events, {distinct} distinct"
        );
        let middle: f64 = client
            .query_one(
                "select (count(*) / extract(epoch from max(id)::timestamptz - min(id)::timestamptz))::float8
                 from (select id, ntile(10) over (order by id) as tenth from tidings.event) e
                 where tenth between 2 and 9",
                &[],
            )?
            .try_get(0)?;
        Ok(figures.with("rate", middle))
    }

    fn push(&self, database: &str, client: &mut Client) -> Result<Figures> {
        let add = "select tidings.add_source('push', 'pushwoosh', $1)";
        client.execute(add, &[&push::AUTHORIZATION])?;
        let worker = self.bed.worker(database, &[])?;
        let events = push::events(self.events());
        let meter = Meter::start(self.bed.watched(Some(worker.id())), client)?;
        let took = push::send(worker.grpc, events)?;
        let figures = meter.stop_after(took, self.events(), client)?;
        assert_stored(client, "tidings.event", self.events().try_into()?)?;
        Ok(figures)
    }

    fn arrays(&self, database: &str, client: &mut Client) -> Result<Figures> {
        let worker = self.bed.worker(database, &[])?;
        let path = format!("/hooks/sms/{URL_TOKEN}");
        let requests = self
            .bodies
            .iter()
            .map(|body| http::post(&path, None, body))
            .collect();
        let meter = Meter::start(self.bed.watched(Some(worker.id())), client)?;
        let answered = http::closed(worker.http, requests, 4, Duration::from_secs(60))?;
        let figures = meter.stop_after(answered.took, self.events(), client)?;
        assert_stored(client, "tidings.event", self.events().try_into()?)?;
        Ok(figures)
    }

    fn sql(&self, database: &str, client: &mut Client) -> Result<Figures> {
        let mut session = self.bed.connect(database)?;
        let meter = Meter::start(self.bed.watched(None), client)?;
        self.bodies
            .iter()
            .try_for_each(|body| ingest(&mut session, body))?;
        let figures = meter.stop(self.events(), client)?;
        assert_stored(client, "tidings.event", self.events().try_into()?)?;
        Ok(figures)
    }
}
