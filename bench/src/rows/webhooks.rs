//! Signed webhooks of one event each.

use super::assert_stored;
use crate::contest::{Bound, Contest, Row, ratio, value};
use crate::figures::Figures;
use crate::lab::contender::Receiver;
use crate::lab::{Bed, Lab};
use crate::load::bodies::Bodies;
use crate::load::http::{self, Pace, Request};
use crate::measure::meter::Meter;
use anyhow::{Result, bail, ensure};
use std::net::SocketAddr;
use std::time::Duration;
use tidings_harness::worker::Worker;

const TIDINGS: &str = "Tidings";
const RUST: &str = "actix-web + tokio-postgres, same indexes";
const FEW: &str = "the same over 10 connections";
const BARE: &str = "actix-web + tokio-postgres, no index";
const STATE: &str = "actix-web + tokio-postgres, same indexes, with state";
const EXPRESS: &str = "Express + pg, same indexes";
const TOGETHER: &str = "Tidings, 8 webhooks together every 8 ms";

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "webhooks",
        title: "Signed webhooks over 64 connections",
        about: "PushPushGo's webhooks: an event of about 240 bytes in each, signed with HMAC-SHA1. Each connection sends the next one as soon as it has its answer. The receivers check the signature and insert one row a request, within a transaction of its own, over 32 connections to Postgres (10 is a usual default of pools); they keep no log and no refused request, and no state, except for the contender \"with state\", whose statement also keeps the message's status in a table that has the columns and indexes of `tidings.message`.",
        unit: "webhook",
        contenders: &[TIDINGS, RUST, FEW, BARE, STATE, EXPRESS],
        marks: &[
            ratio(
                "rate against the Rust receiver with the same indexes",
                "rate",
                TIDINGS,
                RUST,
                Bound::AtLeast(1.5),
            ),
            ratio(
                "rate against the Rust receiver over 10 connections",
                "rate",
                TIDINGS,
                FEW,
                Bound::Stated,
            ),
            ratio(
                "rate against the Rust receiver without indexes",
                "rate",
                TIDINGS,
                BARE,
                Bound::Stated,
            ),
            ratio(
                "rate against the Rust receiver with state",
                "rate",
                TIDINGS,
                STATE,
                Bound::Stated,
            ),
            ratio(
                "rate against Express",
                "rate",
                TIDINGS,
                EXPRESS,
                Bound::AtLeast(4.0),
            ),
            value(
                "CPU of a webhook in the worker",
                "proc_us",
                TIDINGS,
                Bound::AtMost(35.0),
            ),
        ],
        set: |lab| Webhooks::set(lab, None),
    },
    Row {
        name: "webhooks-1000",
        title: "1,000 webhooks a second",
        about: "The same webhooks, one each millisecond, whatever became of those before; times are counted from that moment to the answer.",
        unit: "webhook",
        contenders: &[TIDINGS, TOGETHER, RUST, STATE, EXPRESS],
        marks: &[
            ratio(
                "p50 against the Rust receiver",
                "p50",
                TIDINGS,
                RUST,
                Bound::AtMost(2.0),
            ),
            value("p99", "p99", TIDINGS, Bound::AtMost(10.0)),
            value(
                "cores of Postgres",
                "pg_cores",
                TIDINGS,
                Bound::AtMost(0.35),
            ),
        ],
        set: |lab| Webhooks::set(lab, Some(Pace::one(Duration::from_millis(1)))),
    },
];

const CONNECTIONS: usize = 64;
/// More than anyone answers in a second.
const GREATEST_RATE: u64 = 40_000;

/// Connections to Postgres of a receiver.
const MANY: u32 = 32;

type Start = fn(&Bed, &str, &str, u32) -> Result<Receiver>;

struct Webhooks {
    bed: Bed,
    pace: Option<Pace>,
    warm_up: Vec<Request>,
    requests: Vec<Request>,
    window: Duration,
}

impl Webhooks {
    fn set(lab: &Lab, pace: Option<Pace>) -> Result<Box<dyn Contest>> {
        let mut bodies = Bodies::new(1);
        let window = lab.window();
        let mut draw = |count: u64| -> Result<Vec<Request>> {
            (0..count)
                .map(|_| {
                    let (body, signature) = bodies.webhook()?;
                    Ok(http::post(
                        "/hooks/web-push",
                        Some(("x-ppg-signature", &signature)),
                        &body,
                    ))
                })
                .collect()
        };
        let seconds = window.as_secs().max(1);
        let rate = if pace.is_some() { 1000 } else { GREATEST_RATE };
        Ok(Box::new(Self {
            warm_up: draw(lab.pick(200, 4000))?,
            requests: draw(lab.pick(rate.min(20_000), rate * seconds))?,
            bed: lab.bed(&[])?,
            pace,
            window,
        }))
    }

    fn measure(
        &self,
        to: SocketAddr,
        process: u32,
        database: &str,
        table: &str,
        pace: Option<Pace>,
    ) -> Result<Figures> {
        let mut client = self.bed.connect(database)?;
        let long = Duration::from_secs(60);
        let warm = http::closed(to, self.warm_up.clone(), CONNECTIONS, long)?;
        let requests = self.requests.clone();
        let meter = Meter::start(self.bed.watched(Some(process)), &mut client)?;
        let mut answered = match pace {
            Some(pace) => http::open(to, requests, CONNECTIONS, pace)?,
            None => http::closed(to, requests, CONNECTIONS, self.window)?,
        };
        let count = answered.times.len();
        let figures = meter.stop_after(answered.took, count.try_into()?, &mut client)?;
        ensure!(
            count < self.requests.len() || pace.is_some(),
            "there were too few requests"
        );
        assert_stored(&mut client, table, warm.times.len() + count)?;
        Ok(figures
            .with("p50", answered.times.percentile(0.5))
            .with("p99", answered.times.percentile(0.99)))
    }
}

impl Contest for Webhooks {
    fn play(&mut self, contender: &str) -> Result<Figures> {
        let database = self.bed.database()?;
        let receiver = |start: Start, table: &str, connections: u32| {
            let receiver = start(&self.bed, &database, table, connections)?;
            self.measure(receiver.http, receiver.id(), &database, table, self.pace)
        };
        let figures = match contender {
            TIDINGS | TOGETHER => {
                let worker: Worker = self.bed.worker(&database, &[])?;
                let together = Pace {
                    together: 8,
                    every: Duration::from_millis(8),
                };
                let pace = if contender == TOGETHER {
                    Some(together)
                } else {
                    self.pace
                };
                self.measure(worker.http, worker.id(), &database, "tidings.event", pace)?
            }
            RUST => receiver(Receiver::rust, "contender.event", MANY)?,
            FEW => receiver(Receiver::rust, "contender.event", 10)?,
            BARE => receiver(Receiver::rust, "contender.bare_event", MANY)?,
            STATE => receiver(Receiver::rust_with_state, "contender.event", MANY)?,
            EXPRESS => receiver(Receiver::express, "contender.event", MANY)?,
            other => bail!("there is no contender {other}"),
        };
        self.bed.drop_database(&database)?;
        Ok(figures)
    }
}
