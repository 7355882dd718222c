//! Ingest into tables that have millions of rows already.

use super::ingest::ingest;
use crate::contest::{Bound, Contest, Row, ratio, value};
use crate::figures::Figures;
use crate::lab::prefill::{self, QUICK};
use crate::lab::{Bed, Lab, Size};
use crate::load::bodies::Bodies;
use crate::measure::meter::Meter;
use anyhow::{Context as _, Result, ensure};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

const SMALL: &str = "at 100,000 events";
const M1: &str = "at 1 million events";
const M10: &str = "at 10 million events";
const M30: &str = "at 30 million events";
const NO_IMAGES_M10: &str = "at 10 million events, `full_page_writes = off`";
const NO_IMAGES_M30: &str = "at 30 million events, `full_page_writes = off`";

/// The first rows, which are also those of the contender at 100,000.
const FEW: u64 = 100_000;

const ABOUT: &str = "Arpoone's arrays of 1000 SMS states, by one session; a body is a transaction. Half of its items are about new messages, half are the second event of a message of the body before. The old rows are written by INSERT .. SELECT: two events a message, all in the current week's partition, ids of messages and recipients spread evenly, so that new ones touch the indexes everywhere. Except with `full_page_writes = off`, a checkpoint begins with each turn and runs beside it (`checkpoint_timeout = 1h` keeps others away), so that every page that is touched is a whole image in the WAL again: a turn, of 8 s after a second that does not count, is the time that follows a checkpoint, in which ingest is slowest. At 100,000 events a turn has a fresh copy and 3 s. `LONG=1` measures ten minutes with the default `checkpoint_timeout` instead, and whatever checkpoints these have. The turns with `full_page_writes = off` have no checkpoint, and only show what full-page images cost: without these images a power failure can corrupt the data.";

macro_rules! row {
    ($name:literal, $title:literal, $events:expr, $bound:expr, $at:ident $(, $beside:ident)*) => {
        Row {
            name: $name,
            title: $title,
            about: ABOUT,
            unit: "event",
            contenders: &[SMALL, $at $(, $beside)*],
            marks: &[
                ratio(
                    "rate against that at 100,000",
                    "rate",
                    $at,
                    SMALL,
                    Bound::AtLeast($bound),
                ),
                value("WAL of an event", "wal", $at, Bound::Stated),
            ],
            set: |lab| Sizes::set(lab, $events),
        }
    };
}

pub(super) const ROWS: &[Row] = &[
    row!("size-1m", "Ingest at 1 million events", 1_000_000, 0.85, M1),
    row!(
        "size-10m",
        "Ingest at 10 million events",
        10_000_000,
        0.7,
        M10,
        NO_IMAGES_M10
    ),
    row!(
        "size-30m",
        "Ingest at 30 million events",
        30_000_000,
        0.6,
        M30,
        NO_IMAGES_M30
    ),
];

struct Sizes {
    small: Bed,
    /// The database that is copied for each turn.
    few: String,
    large: Bed,
    many: String,
    window: Duration,
    long: bool,
    seed: u64,
}

impl Sizes {
    fn set(lab: &Lab, events: u64) -> Result<Box<dyn Contest>> {
        let few = lab.pick(1_000, FEW);
        let (small, few) = filled(lab, few)?;
        let (large, many) = filled(lab, lab.pick(10_000, events))?;
        Ok(Box::new(Self {
            small,
            few,
            large,
            many,
            window: lab.window(),
            long: lab.size == Size::Long,
            seed: 100,
        }))
    }
}

/// A durable cluster with a database that has so many events.
pub(super) fn filled(lab: &Lab, events: u64) -> Result<(Bed, String)> {
    // The windows have their own checkpoints.
    let pause = [("checkpoint_timeout", "1h")];
    let more: &[_] = if lab.size == Size::Long { &[] } else { &pause };
    let mut bed = lab.bed(&[&QUICK, more].concat())?;
    prefill::require_disk(&bed, events)?;
    let database = bed.database()?;
    lab.progress.say(&format!("writing {events} old events"));
    let began = Instant::now();
    prefill::fill(&mut bed, &database, events)?;
    let seconds = began.elapsed().as_secs();
    lab.progress
        .print(&format!("{events} old events were written in {seconds} s"));
    Ok((bed, database))
}

impl Sizes {
    /// A turn of the large one in which no page is written into the WAL as a whole.
    fn without_images(&self) -> Result<Figures> {
        let images = |value: &str| -> Result<()> {
            let mut client = self.large.connect("postgres")?;
            client.batch_execute(&format!("alter system set full_page_writes = {value}"))?;
            // The checkpointer obeys during the warm-up.
            client.batch_execute("select pg_reload_conf()")?;
            Ok(())
        };
        images("off")?;
        let turn = Turn {
            warm_up: WARM_UP,
            window: self.window * 8 / 5,
            checkpoint: false,
        };
        let figures = steady(&self.large, &self.many, self.seed, turn);
        images("on")?;
        figures
    }
}

impl Contest for Sizes {
    fn play(&mut self, contender: &str) -> Result<Figures> {
        self.seed += 1;
        if [NO_IMAGES_M10, NO_IMAGES_M30].contains(&contender) {
            return self.without_images();
        }
        if contender != SMALL {
            let turn = Turn {
                warm_up: WARM_UP,
                window: if self.long { LONG } else { self.window * 8 / 5 },
                checkpoint: !self.long,
            };
            return steady(&self.large, &self.many, self.seed, turn);
        }
        let copy = format!("copy_{}", self.seed);
        self.small
            .connect("postgres")?
            .batch_execute(&format!("create database {copy} template {}", self.few))?;
        let turn = Turn {
            warm_up: WARM_UP,
            window: self.window * 3 / 5,
            checkpoint: true,
        };
        let figures = steady(&self.small, &copy, self.seed, turn)?;
        self.small.drop_database(&copy)?;
        Ok(figures)
    }
}

/// Duration of a turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// Does not count.
    pub(super) warm_up: Duration,
    pub(super) window: Duration,
    /// Whether a checkpoint begins with the window, and runs beside it.
    pub(super) checkpoint: bool,
}

pub(super) const WARM_UP: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(600);

/// Ingests for so long.
pub(super) fn steady(bed: &Bed, database: &str, seed: u64, turn: Turn) -> Result<Figures> {
    let mut client = bed.connect(database)?;
    let mut watch = bed.connect(database)?;
    let bodies = bodies(seed);
    let mut send = |until: Duration| -> Result<u64> {
        let began = Instant::now();
        let mut events = 0;
        while began.elapsed() < until {
            let body = bodies.recv().context("there are no more bodies")?;
            ingest(&mut client, &body)?;
            events += BODY;
        }
        Ok(events)
    };
    let count = "select count(*) from tidings.event where id > $1::text::tidings.ulid";
    let mark = "select coalesce(max(id)::text, '00000000000000000000000000') from tidings.event";
    send(turn.warm_up.min(turn.window))?;
    let mark: String = watch.query_one(mark, &[])?.try_get(0)?;
    let figures = std::thread::scope(|scope| {
        let meter = Meter::start(bed.watched(None), &mut watch)?;
        let beside = turn.checkpoint.then(|| scope.spawn(|| bed.checkpoint()));
        let events = send(turn.window)?;
        let took = meter.elapsed();
        if let Some(beside) = beside {
            ensure!(matches!(beside.join(), Ok(Ok(()))), "the checkpoint failed");
        }
        let figures = meter.stop_after(took, events, &mut watch)?;
        let stored: i64 = watch.query_one(count, &[&mark])?.try_get(0)?;
        ensure!(
            u64::try_from(stored)? == events,
            "{stored} of {events} events are stored"
        );
        Ok(figures)
    })?;
    Ok(figures.only(&["rate", "pg_us", "wal"]))
}

/// Items of a body: the first half are new messages, the others the second event of the new
/// ones of the body before.
const BODY: u64 = 1000;

/// Draws bodies on a thread of their own, a few ahead, until nobody takes them.
fn bodies(seed: u64) -> Receiver<Vec<u8>> {
    let (sender, receiver) = sync_channel(8);
    std::thread::spawn(move || {
        let mut bodies = Bodies::new(seed);
        let mut before = bodies.messages(BODY / 2);
        loop {
            let new = bodies.messages(BODY / 2);
            let body = bodies.sms_pairs(&new, &before);
            before = new;
            if sender.send(body).is_err() {
                return;
            }
        }
    });
    receiver
}
