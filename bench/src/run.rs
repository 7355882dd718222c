//! Rounds and turns: measures rows one after the other, and keeps what was measured after
//! each.

use crate::contest::{Contest, Played, Row, order};
use crate::figures::{Figures, QUANTITIES};
use crate::lab::{Lab, Size};
use crate::progress::Progress;
use crate::report::machine::{Commit, Machine};
use crate::report::page;
use crate::report::results::{Measured, Results};
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tidings_harness::leash;
use tidings_harness::paths;
use tidings_harness::server::Server;
use tidings_harness::step::Missing;

/// The choice of what is measured.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// All rows if there are none.
    pub(crate) only: Vec<String>,
    /// Whether rows may stand beside those of a changed commit, or beside none.
    pub(crate) keep: bool,
    pub(crate) rounds: usize,
    pub(crate) size: Size,
    pub(crate) results: Option<PathBuf>,
}

const PAGE: &str = "BENCHMARKS.md";

/// Measures, writes, and fails if a row could not be measured.
pub(crate) fn run(server: &Server, all: &[Row], options: &Options) -> Result<()> {
    let chosen =
        |row: &&Row| options.only.is_empty() || options.only.iter().any(|name| name == row.name);
    let rows: Vec<&Row> = all.iter().filter(chosen).collect();
    let turns: usize = rows
        .iter()
        .map(|row| row.contenders.len() * options.rounds)
        .sum();
    let (commit, machine) = (Commit::look(), Machine::look(server)?);
    let path = place(options.results.as_deref());
    let is_real = options.size != Size::Smoke;
    let kept = Results::read(&path).filter(|_| !options.only.is_empty());
    let kept = kept.filter(|kept| kept.goes_with(&commit, &machine, options.keep));
    // Some rows alone are no page.
    let is_page = is_real && (options.only.is_empty() || kept.is_some() || options.keep);
    let mut results = kept.unwrap_or(Results {
        commit,
        machine,
        rows: BTreeMap::new(),
    });
    let lab = Lab {
        server: server.clone(),
        size: options.size,
        progress: Progress::new(turns.try_into()?),
    };
    let mut failed = Vec::new();
    for row in &rows {
        let measured = measure(row, &lab, options.rounds);
        if let Some(error) = &measured.failed {
            lab.progress.print(&format!("{} FAILED: {error}", row.name));
            failed.push(row.name);
        }
        results.rows.insert(row.name.to_owned(), measured);
        if is_page {
            // What was measured outlives a failure of what follows.
            results.write(&path)?;
        }
    }
    lab.progress.end();
    if is_page {
        write(&results, all)?;
    } else {
        for row in &rows {
            if let Some(measured) = results.rows.get(row.name) {
                println!("{}", page::section(row, measured)?);
            }
        }
    }
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}

/// Writes the page from what is kept.
pub(crate) fn write_again(results: Option<&Path>, all: &[Row]) -> Result<()> {
    let path = place(results);
    let results = Results::read(&path)
        .with_context(|| format!("{} is missing: run `make bench`", path.display()))?;
    write(&results, all)
}

fn place(results: Option<&Path>) -> PathBuf {
    let usual = || paths::target().join("bench/results.json");
    results.map_or_else(usual, Path::to_owned)
}

fn write(results: &Results, all: &[Row]) -> Result<()> {
    let path = paths::root().join(PAGE);
    fs::write(&path, page::page(results, all)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("{PAGE} is written");
    Ok(())
}

/// Measures one row. What was measured before a failure is kept with it.
fn measure(row: &Row, lab: &Lab, rounds: usize) -> Measured {
    lab.progress.row(row.name);
    let began = Instant::now();
    let mut played: Vec<Played> = row
        .contenders
        .iter()
        .map(|name| Played {
            contender: (*name).to_owned(),
            rounds: Vec::new(),
            absent: None,
        })
        .collect();
    let outcome = (row.set)(lab)
        .and_then(|mut contest| rounds_of(row, lab, rounds, contest.as_mut(), &mut played));
    if outcome.is_err() {
        leash::mute_after_signal();
    }
    Measured {
        at: format!(
            "{:.16} UTC",
            jiff::Timestamp::now().to_string().replace('T', " ")
        ),
        rounds,
        long: lab.size == Size::Long,
        played,
        seconds: began.elapsed().as_secs(),
        failed: outcome.err().map(|error| format!("{error:#}")),
    }
}

fn rounds_of(
    row: &Row,
    lab: &Lab,
    rounds: usize,
    contest: &mut dyn Contest,
    played: &mut [Played],
) -> Result<()> {
    for round in 0..rounds {
        for at in order(played.len(), round) {
            let Some(played) = played.get_mut(at) else {
                continue;
            };
            if played.absent.is_some() {
                continue;
            }
            let name = played.contender.clone();
            lab.progress.say(&format!("round {}: {name}", round + 1));
            match contest.play(&name) {
                Ok(figures) => {
                    lab.progress
                        .turn(&format!("{:<14} {name}: {}", row.name, line(&figures)));
                    played.rounds.push(figures);
                }
                Err(error) => match error.downcast::<Missing>() {
                    Ok(missing) => {
                        lab.progress
                            .turn(&format!("{:<14} {name}: {missing}", row.name));
                        played.absent = Some(missing.to_string());
                    }
                    Err(error) => bail!("{name}: {error:#}"),
                },
            }
        }
    }
    Ok(())
}

fn line(figures: &Figures) -> String {
    let known = QUANTITIES.iter().filter_map(|quantity| {
        let value = quantity.write(figures.get(quantity.key)?);
        Some(format!("{} {value}", quantity.heading))
    });
    known.collect::<Vec<_>>().join("; ")
}
