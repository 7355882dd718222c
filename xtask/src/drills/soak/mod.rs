//! `make soak`: runs the whole system at a steady rate for a long time, and checks that
//! nothing grows: memory, descriptors, backends, lag. It then proves that every event is
//! stored.
//!
//! - `sample` is one look at all of it, `verdict` what counts as growth.
//! - `consumer` follows the log meanwhile; `aging` has partitions made and dropped.
//!
//! Every sample is also written to `target/soak/<start>.csv`.

mod aging;
mod consumer;
mod sample;
mod verdict;

use self::aging::Aging;
use self::consumer::Consumer;
use self::sample::{CSV_HEADER, Sample};
use self::verdict::{Course, RULE, quantities};
use anyhow::{Context as _, Result, bail, ensure};
use postgres::Client;
use serde_json::json;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tidings_harness::cluster::Durability;
use tidings_harness::emulator::{Emulator, Play};
use tidings_harness::leash;
use tidings_harness::ledger::{self, Demand};
use tidings_harness::paths;
use tidings_harness::reconcile::Reconciliation;
use tidings_harness::server::Server;
use tidings_harness::sources::Wish;
use tidings_harness::stage::{DATABASE, Stage};
use tidings_harness::table::{number, render};

/// How often the processes are checked and the log is read.
const TICK: Duration = Duration::from_millis(500);
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
const LINE_EVERY: Duration = Duration::from_secs(60);
/// Time of the warm-up, which is not judged; a quarter of a short run.
const WARM_UP: Duration = Duration::from_secs(300);
/// Time without a stored event after which the run is given up.
const STALLED_AFTER: Duration = Duration::from_secs(120);
/// Start of the emulator's time, so that all events are of the last hours.
const PLAYED_FROM: &str = "6 hours";

/// What to play.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub minutes: u64,
    /// Events a second.
    pub rate: u64,
    pub seed: u64,
}

/// Runs the soak, and fails if something grew, or if an event is missing or doubled.
pub(crate) fn run(server: &Server, options: &Options) -> Result<()> {
    ensure!(options.minutes > 0, "give at least one minute");
    ensure!(options.rate > 0, "give a rate: a soak is steady");
    let flags = ["--maintain-every", "1m"];
    let mut stage = Stage::set_with_spool(server, Durability::Durable, &flags)?;
    let soaked = soak(&mut stage, options).inspect_err(|_| {
        leash::mute_after_signal();
        eprintln!("{}", stage.logs());
    })?;
    let flat = show(&soaked, options);
    soaked.reconciliation.check()?;
    let stored = soaked.reconciliation.total().stored;
    ensure!(
        soaked.consumed == stored,
        "{} rows are stored, but the consumer got {}",
        number(stored),
        number(soaked.consumed)
    );
    flat
}

struct Soaked {
    samples: Vec<Sample>,
    reconciliation: Reconciliation,
    consumed: u64,
    made: u64,
    dropped: u64,
    csv: PathBuf,
}

fn soak(stage: &mut Stage, options: &Options) -> Result<Soaked> {
    let mut client = stage.connect()?;
    let row = client.query_one(
        "select to_char(now() at time zone 'utc', 'YYYYMMDD\"T\"HH24MISS\"Z\"'),
                to_char((now() - $1::text::interval) at time zone 'utc',
                        'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')",
        &[&PLAYED_FROM],
    )?;
    let (start, from): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let play = Play {
        events: options.rate * 60 * options.minutes,
        seed: options.seed,
        duplicates: 0.05,
        rate: options.rate,
        only: None,
        flags: &["--from", &from],
        http: stage.worker.http,
        grpc: stage.worker.grpc,
    };
    // Its answers would be rows that the ledger does not know.
    let asks_nothing = Wish {
        source: "ppoppo",
        options: json!({ "reconcile": false }),
        secret: None,
    };
    let mut watch = Watch {
        aging: Aging::start(&mut client)?,
        consumer: Consumer::start(stage.connect()?)?,
        emulator: stage.add_emulator_with(&play, |_| vec![asks_nothing])?,
        samples: Vec::new(),
        csv: Csv::create(&start)?,
        client,
    };
    say(&format!(
        "{} events at {} a second, for {} minutes; samples in {}\nlook for yourself, while it runs:\n  {}\n",
        number(play.events),
        number(options.rate),
        options.minutes,
        watch.csv.path.display(),
        stage.cluster.psql_line(DATABASE),
    ));
    watch.play(stage)?;
    watch.aging.end(&mut watch.client)?;
    watch.emulator.finish()?;
    let reconciliation = Reconciliation::of(&mut watch.client, watch.emulator.ledger())?;
    Ok(Soaked {
        reconciliation,
        consumed: watch.consumer.total() - watch.consumer.count(aging::SOURCE),
        made: watch.aging.made,
        dropped: watch.aging.dropped,
        samples: watch.samples,
        csv: watch.csv.path,
    })
}

struct Watch {
    aging: Aging,
    consumer: Consumer,
    emulator: Emulator,
    samples: Vec<Sample>,
    csv: Csv,
    client: Client,
}

impl Watch {
    /// From the start line until all that is to be stored is stored and consumed.
    fn play(&mut self, stage: &mut Stage) -> Result<()> {
        let started = Instant::now();
        let (mut sampled, mut told) = (Duration::ZERO, Duration::ZERO);
        let (mut total, mut changed) = (0, Instant::now());
        self.emulator.begin()?;
        while !self.emulator.is_done() {
            std::thread::sleep(TICK);
            self.emulator.listen()?;
            stage.worker.check_running()?;
            self.consumer.advance()?;
            if self.consumer.total() != total {
                (total, changed) = (self.consumer.total(), Instant::now());
            }
            let at = started.elapsed();
            if at >= sampled + SAMPLE_EVERY && !self.emulator.is_done() {
                sampled = at;
                self.sample(stage, at)?;
            }
            if at >= told + LINE_EVERY {
                told = at;
                self.tell();
            }
            if changed.elapsed() >= STALLED_AFTER {
                bail!(
                    "nothing was stored for {STALLED_AFTER:?}\n{}",
                    self.emulator.tail()
                );
            }
        }
        self.catch_up()
    }

    fn sample(&mut self, stage: &Stage, at: Duration) -> Result<()> {
        let before = self.samples.last().copied().unwrap_or_default();
        let sample = Sample::take(
            stage,
            &self.emulator,
            &self.consumer,
            &mut self.client,
            at,
            &before,
        )?;
        self.csv.write(&sample)?;
        self.aging.look(&mut self.client, sample.partitions)?;
        self.samples.push(sample);
        Ok(())
    }

    fn tell(&self) {
        let Some(sample) = self.samples.last() else {
            return;
        };
        let mib = |bytes: u64| bytes >> 20;
        say(&format!(
            "{:>4} min  {:.0} events/s, lag {}, consumer behind {}, spool {}; worker {} MiB, \
             {} descriptors, {} threads; {} backends, the oldest {} MiB; WAL {} MiB, database {} MiB; \
             partitions +{} -{}",
            (sample.at.as_secs() + 30) / 60,
            sample.rate,
            number(sample.lag),
            number(sample.behind),
            number(sample.spool),
            mib(sample.worker.resident),
            sample.worker.descriptors,
            sample.worker.threads,
            sample.backends,
            mib(sample.backend),
            number(mib(sample.wal)),
            number(mib(sample.database)),
            self.aging.made,
            self.aging.dropped,
        ));
    }

    /// What is missing at the deadline is the reconciliation's to say.
    fn catch_up(&mut self) -> Result<()> {
        let ledger_path = self.emulator.ledger();
        let least = ledger::least(&mut self.client, ledger_path, Demand::Emitted)?;
        let deadline = Instant::now() + STALLED_AFTER;
        loop {
            self.consumer.advance()?;
            let all = least
                .iter()
                .all(|(source, least)| self.consumer.count(source) >= *least);
            if all || Instant::now() >= deadline {
                return Ok(());
            }
            std::thread::sleep(TICK);
        }
    }
}

struct Csv {
    file: File,
    path: PathBuf,
}

impl Csv {
    fn create(start: &str) -> Result<Self> {
        let folder = paths::target().join("soak");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join(format!("{start}.csv"));
        let mut file =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        writeln!(file, "{CSV_HEADER}")?;
        Ok(Self { file, path })
    }

    fn write(&mut self, sample: &Sample) -> Result<()> {
        writeln!(self.file, "{}", sample.csv())
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Prints the result; an error that names what grew.
fn show(soaked: &Soaked, options: &Options) -> Result<()> {
    let warm_up = WARM_UP.min(Duration::from_secs(options.minutes * 60 / 4));
    let after = soaked.samples.partition_point(|sample| sample.at < warm_up);
    let samples = soaked.samples.get(after..).unwrap_or_default();
    let (mut rows, mut grown, mut judged) = (Vec::new(), Vec::new(), false);
    for quantity in quantities(options.rate) {
        let Some(course) = Course::of(&quantity, samples) else {
            continue;
        };
        judged = true;
        let flat = match course.flat {
            Some(true) => "flat",
            Some(false) => {
                grown.push(quantity.name);
                "GROWS"
            }
            None => "",
        };
        let mut row = vec![quantity.name.to_owned()];
        row.extend(
            [
                course.first.0,
                course.first.1,
                course.last.0,
                course.last.1,
                course.slope,
            ]
            .map(|value| format!("{value:.1}")),
        );
        row.push(
            quantity
                .floor
                .map_or(String::new(), |floor| format!("{floor:.0}")),
        );
        row.push(flat.to_owned());
        rows.push(row);
    }
    let header = [
        "after the warm-up",
        "first quarter",
        "max",
        "last quarter",
        "max",
        "slope an hour",
        "floor",
        "verdict",
    ];
    say(&format!("\n{}\n{RULE}", render(&header, &rows, false)));
    let total = soaked.reconciliation.total();
    say(&format!(
        "{} events emitted, {} stored, missing {}, doubled {}; the consumer got {}; \
         partitions made {}, dropped {}; samples in {}",
        number(total.emitted),
        number(total.stored),
        number(total.missing),
        number(total.doubled),
        number(soaked.consumed),
        soaked.made,
        soaked.dropped,
        soaked.csv.display(),
    ));
    ensure!(
        judged,
        "too short to judge: there are {} samples",
        samples.len()
    );
    ensure!(grown.is_empty(), "not flat: {}", grown.join("; "));
    Ok(())
}

/// A closed stdout ends the display, but not the run.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
