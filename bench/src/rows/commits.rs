//! Many clients that ingest by SQL, and the wake-ups of those that wait for events.

use super::assert_stored;
use crate::contest::{Bound, Contest, Row, ratio};
use crate::figures::Figures;
use crate::lab::{Bed, URL_TOKEN};
use crate::load::bodies::Bodies;
use crate::measure::meter::Meter;
use crate::measure::stats::Times;
use anyhow::{Context as _, Result, bail};
use postgres::Client;
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const WITHOUT: &str = "without wake-ups";
const BESIDE: &str = "with wake-ups, every 5 ms by a session of its own";
const EACH: &str = "with a wake-up by each client after each commit";

pub(super) const ROWS: &[Row] = &[Row {
    name: "commits",
    title: "8 clients that commit by SQL",
    about: "Each session ingests one event in a transaction, and the next one after its commit. A session listens. The worker wakes those who listen as the second contender does: from its control connection, after its commits, every few milliseconds at most.",
    unit: "commit",
    contenders: &[WITHOUT, BESIDE, EACH],
    marks: &[
        ratio(
            "rate with wake-ups against without",
            "rate",
            BESIDE,
            WITHOUT,
            Bound::AtLeast(0.95),
        ),
        ratio(
            "rate with a wake-up by each client",
            "rate",
            EACH,
            WITHOUT,
            Bound::Stated,
        ),
    ],
    set: |lab| {
        Ok(Box::new(Commits {
            bed: lab.bed(&[])?,
            window: lab.window(),
        }))
    },
}];

const CLIENTS: u64 = 8;
const PAUSE: Duration = Duration::from_millis(5);

struct Commits {
    bed: Bed,
    window: Duration,
}

impl Contest for Commits {
    fn play(&mut self, contender: &str) -> Result<Figures> {
        let database = self.bed.database()?;
        let mut watch = self.bed.connect(&database)?;
        let mut listener = self.bed.connect(&database)?;
        listener.batch_execute("listen tidings")?;
        let each = match contender {
            WITHOUT | BESIDE => None,
            EACH => Some(wake_up(&mut watch)?),
            other => bail!("there is no contender {other}"),
        };
        let beside = (contender == BESIDE)
            .then(|| wake_up(&mut watch))
            .transpose()?;
        let done = AtomicBool::new(false);
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(self.bed.connect(&database)?);
        }
        let mut waker = self.bed.connect(&database)?;
        let window = self.window;
        let meter = Meter::start(self.bed.watched(None), &mut watch)?;
        let (mut times, took) = std::thread::scope(|scope| -> Result<(Times, Duration)> {
            let began = Instant::now();
            if let Some(wake_up) = &beside {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        let _ = waker.batch_execute(wake_up);
                        std::thread::sleep(PAUSE);
                    }
                });
            }
            let each = each.as_deref();
            let running: Vec<_> = clients
                .into_iter()
                .zip(1..)
                .map(|(client, seed)| {
                    scope.spawn(move || commit(client, seed, began + window, each))
                })
                .collect();
            let ended: Vec<_> = running.into_iter().map(|client| client.join()).collect();
            done.store(true, Ordering::Relaxed);
            let took = began.elapsed();
            let mut all = Times::default();
            for times in ended {
                let times = times.ok().context("a client failed")?;
                all.append(times?);
            }
            Ok((all, took))
        })?;
        let count = times.len();
        let figures = meter.stop_after(took, count.try_into()?, &mut watch)?;
        assert_stored(&mut watch, "tidings.event", count)?;
        drop((watch, listener, waker));
        self.bed.drop_database(&database)?;
        let figures = figures.only(&["rate", "pg_us", "wal"]);
        Ok(figures
            .with("p50", times.percentile(0.5))
            .with("p99", times.percentile(0.99)))
    }
}

/// The statement that wakes who listens.
fn wake_up(client: &mut Client) -> Result<String> {
    let has: bool = client
        .query_one("select to_regprocedure('tidings.wake()') is not null", &[])?
        .try_get(0)?;
    let statement = if has {
        "select tidings.wake()"
    } else {
        "notify tidings"
    };
    Ok(statement.to_owned())
}

fn commit(mut client: Client, seed: u64, until: Instant, after: Option<&str>) -> Result<Times> {
    let mut bodies = Bodies::new(seed);
    let headers = json!({ "url-token": URL_TOKEN });
    let ingest = client
        .prepare("select inserted from tidings.ingest_batch(array['sms'], array[$1::bytea], array[$2::jsonb])")?;
    let mut times = Times::default();
    while Instant::now() < until {
        let body = bodies.sms(1, "DELIVERED");
        let began = Instant::now();
        client.query_one(&ingest, &[&body, &headers])?;
        if let Some(after) = after {
            client.batch_execute(after)?;
        }
        times.push(began.elapsed());
    }
    Ok(times)
}
