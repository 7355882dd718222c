//! `make demo`: runs the whole product, and then proves that every emitted event is
//! stored, event by event.

use anyhow::{Result, bail};
use std::io::{self, IsTerminal as _, Write as _};
use tidings_harness::cluster::Durability;
use tidings_harness::emulator::Play;
use tidings_harness::leash;
use tidings_harness::play::{self, Line, Played, Progress};
use tidings_harness::server::Server;
use tidings_harness::stage::{DATABASE, Stage};
use tidings_harness::table::{number, render};

/// What to play.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub events: u64,
    pub seed: u64,
    pub duplicates: f64,
    pub rate: u64,
    pub kill_worker: bool,
    pub keep: bool,
}

/// Runs the demo, and fails unless every event is stored exactly once.
pub(crate) fn run(server: &Server, options: &Options) -> Result<()> {
    println!("starting a private Postgres {} and a worker", server.major);
    let mut stage = Stage::set(server, Durability::Durable)?;
    println!(
        "look for yourself, while it runs:\n  {}\n",
        stage.cluster.psql_line(DATABASE)
    );
    let played = played(&mut stage, options).inspect_err(|_| eprintln!("{}", stage.logs()))?;
    show(&played);
    let gaps = gaps(&stage).inspect_err(|_| eprintln!("{}", stage.logs()));
    if options.kill_worker {
        println!("the worker was killed half-way, and started again");
    }
    if options.keep {
        keep(&stage)?;
    }
    if let Err(error) = played.reconciliation.check() {
        eprintln!("{}", stage.logs());
        return Err(error);
    }
    gaps?;
    let stored = played.reconciliation.total().stored;
    if played.followed != stored {
        bail!(
            "{} rows are stored, but a reader of the log saw {}",
            number(stored),
            number(played.followed)
        );
    }
    Ok(())
}

fn played(stage: &mut Stage, options: &Options) -> Result<Played> {
    let play = Play {
        events: options.events,
        seed: options.seed,
        duplicates: options.duplicates,
        rate: options.rate,
        only: None,
        flags: &[],
        http: stage.worker.http,
        grpc: stage.worker.grpc,
    };
    let mut emulator = stage.add_emulator(&play)?;
    let half = [options.events / 2];
    let kill_at: &[u64] = if options.kill_worker { &half } else { &[] };
    let mut screen = Screen::new();
    play::run(stage, &mut emulator, kill_at, &mut |progress| {
        screen.show(progress);
    })
    .inspect_err(|_| {
        leash::mute_after_signal();
        eprintln!("{}", emulator.tail());
    })
}

/// Redraws in place on a terminal; elsewhere a line now and then.
struct Screen {
    terminal: bool,
    drawn: usize,
    shown_at: Option<u64>,
}

/// Seconds between two lines where there is no terminal.
const LINE_EVERY: u64 = 5;

impl Screen {
    fn new() -> Self {
        Self {
            terminal: io::stdout().is_terminal(),
            drawn: 0,
            shown_at: None,
        }
    }

    fn show(&mut self, progress: &Progress) {
        let text = if self.terminal {
            let back = match self.drawn {
                0 => String::new(),
                lines => format!("\x1b[{lines}A\x1b[J"),
            };
            let table = live(progress);
            self.drawn = table.lines().count();
            back + &table
        } else {
            let now = progress.elapsed.as_secs();
            if self.shown_at.is_some_and(|last| now < last + LINE_EVERY) {
                return;
            }
            self.shown_at = Some(now);
            one_line(progress)
        };
        // A closed stdout ends the display, but not the run.
        let _ = io::stdout().write_all(text.as_bytes());
        let _ = io::stdout().flush();
    }
}

fn behind(line: &Line) -> u64 {
    line.sent.emitted.saturating_sub(line.stored)
}

fn live(progress: &Progress) -> String {
    let rows: Vec<Vec<String>> = progress
        .lines
        .iter()
        .map(|line| {
            let mut row = vec![line.source.clone()];
            row.extend(
                [
                    line.sent.sent,
                    line.stored,
                    line.duplicate,
                    line.rejected,
                    behind(line),
                ]
                .map(number),
            );
            row
        })
        .collect();
    render(
        &["source", "sent", "stored", "duplicate", "rejected", "lag"],
        &rows,
        false,
    )
}

fn one_line(progress: &Progress) -> String {
    let sum = |of: fn(&Line) -> u64| number(progress.lines.iter().map(of).sum());
    format!(
        "{:>4} s  sent {}, stored {}, duplicate {}, rejected {}, lag {}\n",
        progress.elapsed.as_secs(),
        sum(|line| line.sent.sent),
        sum(|line| line.stored),
        sum(|line| line.duplicate),
        sum(|line| line.rejected),
        sum(behind),
    )
}

fn show(played: &Played) {
    let total = played.reconciliation.total();
    let rows: Vec<Vec<String>> = played
        .reconciliation
        .outcomes
        .iter()
        .chain([&total])
        .map(|outcome| {
            let mut row = vec![outcome.source.clone()];
            row.extend(
                [
                    outcome.emitted,
                    outcome.stored,
                    outcome.missing,
                    outcome.doubled,
                ]
                .map(number),
            );
            row
        })
        .collect();
    println!(
        "\n{}",
        render(
            &["source", "emitted", "stored", "missing", "doubled"],
            &rows,
            true
        )
    );
    let seconds = played.took.as_secs_f64();
    println!(
        "{} events stored in {seconds:.1} s: {:.0} events/s",
        number(total.stored),
        total.stored as f64 / seconds.max(0.001)
    );
    println!(
        "a reader that followed the log meanwhile saw {} events",
        number(played.followed)
    );
}

/// Prints the gaps, and fails if the provider of a stream no longer replayed something: all
/// that is expected is the gap before the first event, when there was no cursor.
fn gaps(stage: &Stage) -> Result<()> {
    let rows = stage.connect()?.query(
        "select source, cause, closed_at is not null from tidings.gap order by id",
        &[],
    )?;
    let mut others = 0;
    for row in rows {
        let (source, cause): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let is_closed = if row.try_get(2)? { "closed" } else { "open" };
        println!("a gap of {source}: {cause}, {is_closed} (docs/outages.md)");
        others += u32::from(cause != "started_at_live_edge");
    }
    if others > 0 {
        bail!("{others} gaps should not be there");
    }
    Ok(())
}

/// Until Enter, or Ctrl-C.
fn keep(stage: &Stage) -> Result<()> {
    println!(
        "\nkept until Enter or Ctrl-C:\n  {}",
        stage.cluster.psql_line(DATABASE)
    );
    let mut line = String::new();
    if io::stdin().read_line(&mut line)? == 0 {
        // There is no terminal, so wait for a signal.
        loop {
            std::thread::park();
        }
    }
    Ok(())
}
