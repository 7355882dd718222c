//! The time from a commit until a consumer has its events.

use crate::contest::{Bound, Contest, Row, value};
use crate::figures::Figures;
use crate::lab::{Bed, URL_TOKEN};
use crate::load::bodies::Bodies;
use crate::load::http::{self, Pace, Request};
use crate::measure::meter::Meter;
use crate::measure::stats::Times;
use anyhow::{Context as _, Result, bail, ensure};
use postgres::Client;
use postgres::fallible_iterator::FallibleIterator as _;
use std::collections::HashMap;
use std::time::{Duration, Instant};

const WOKEN: &str = "a consumer that is woken";
const POLLING: &str = "a consumer that polls every 10 ms";

pub(super) const ROWS: &[Row] = &[Row {
    name: "lag",
    title: "From commit to a consumer, at 10,000 events a second",
    about: "The worker receives an array of 20 SMS states every 2 ms. A consumer listens, polls until there is nothing new, and acknowledges each page in the same transaction. The time is from the worker's answer, which it gives after the commit, to the moment at which the consumer has the array's last event; a consumer that is earlier than the answer counts as 0.",
    unit: "event",
    contenders: &[WOKEN, POLLING],
    marks: &[
        value("p50", "p50", WOKEN, Bound::AtMost(2.0)),
        value("p99", "p99", WOKEN, Bound::AtMost(15.0)),
    ],
    set: |lab| {
        Ok(Box::new(Lag {
            bed: lab.bed(&[])?,
            requests: lab.pick(200, 2500),
            turns: 0,
        }))
    },
}];

const EVERY: Duration = Duration::from_millis(2);
pub(super) const ITEMS: u64 = 20;
/// Time without an event after which the consumer gives up.
const PATIENCE: Duration = Duration::from_secs(20);

struct Lag {
    bed: Bed,
    requests: usize,
    turns: u64,
}

/// Arrays of [`ITEMS`] each, as requests, and which request the last message of each is in.
pub(super) fn arrays(count: usize, seed: u64) -> (Vec<Request>, HashMap<String, usize>) {
    let mut bodies = Bodies::new(seed);
    let mut last = HashMap::new();
    let path = format!("/hooks/sms/{URL_TOKEN}");
    let requests = (0..count).map(|at| {
        let messages = bodies.messages(ITEMS);
        if let Some((message, _)) = messages.last() {
            last.insert(message.clone(), at);
        }
        http::post(&path, None, &bodies.sms_of(&messages, "DELIVERED"))
    });
    (requests.collect(), last)
}

impl Contest for Lag {
    fn play(&mut self, contender: &str) -> Result<Figures> {
        self.turns += 1;
        let pause = match contender {
            WOKEN => None,
            POLLING => Some(Duration::from_millis(10)),
            other => bail!("there is no contender {other}"),
        };
        let database = self.bed.database()?;
        let worker = self.bed.worker(&database, &[])?;
        let mut watch = self.bed.connect(&database)?;
        let mut client = self.bed.connect(&database)?;
        client.batch_execute("select tidings.create_consumer('bench'); listen tidings")?;
        let (requests, last) = arrays(self.requests, self.turns);
        let events = u64::try_from(self.requests)? * ITEMS;
        let meter = Meter::start(self.bed.watched(Some(worker.id())), &mut watch)?;
        let (answered, had) = std::thread::scope(|scope| -> Result<_> {
            let consumer = scope.spawn(move || consume(client, events, &last, pause));
            let answered = http::open(worker.http, requests, 64, Pace::one(EVERY))?;
            let had = consumer.join().ok().context("the consumer failed")??;
            Ok((answered, had))
        })?;
        let figures = meter.stop_after(answered.took, events, &mut watch)?;
        let mut times = Times::default();
        for (request, at) in &answered.at {
            let had = had.get(request).context("the consumer missed an array")?;
            times.push(had.saturating_duration_since(*at));
        }
        drop((worker, watch));
        self.bed.drop_database(&database)?;
        let figures = figures.only(&["rate", "pg_us", "pg_cores", "proc_us", "proc_cores"]);
        Ok(figures
            .with("p50", times.percentile(0.5))
            .with("p99", times.percentile(0.99)))
    }
}

/// Follows until it has all events; returns when it had the last one of each request.
fn consume(
    mut client: Client,
    events: u64,
    last: &HashMap<String, usize>,
    pause: Option<Duration>,
) -> Result<HashMap<usize, Instant>> {
    let poll =
        client.prepare("select e.*, e.id::text as cursor from tidings.poll('bench', 1000) e")?;
    let ack = client.prepare("select tidings.ack('bench', $1::text::tidings.ulid)")?;
    let mut had = HashMap::new();
    let (mut read, mut since) = (0, Instant::now());
    while read < events {
        let mut transaction = client.transaction()?;
        let rows = transaction.query(&poll, &[])?;
        let now = Instant::now();
        if let Some(newest) = rows.last() {
            let cursor: String = newest.try_get("cursor")?;
            transaction.execute(&ack, &[&cursor])?;
        }
        transaction.commit()?;
        for row in &rows {
            if let Some(request) = last.get(row.try_get::<_, &str>("message_id")?) {
                had.insert(*request, now);
            }
        }
        read += u64::try_from(rows.len())?;
        if !rows.is_empty() {
            since = now;
            continue;
        }
        ensure!(since.elapsed() < PATIENCE, "{read} of {events} events came");
        match pause {
            Some(pause) => std::thread::sleep(pause),
            None => {
                // Those that have come meanwhile say nothing new.
                let mut notifications = client.notifications();
                notifications.timeout_iter(Duration::from_secs(1)).next()?;
                while notifications.iter().next()?.is_some() {}
            }
        }
    }
    Ok(had)
}
