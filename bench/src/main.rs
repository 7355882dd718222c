//! Tidings beside its peers and its limits: measures rows, and writes BENCHMARKS.md.
//!
//! # Layout
//! - [`rows`]: the table, a file for each group of rows; [`contest`] is what a row is
//! - [`lab`]: clusters, the contenders' tables and processes; [`load`]: what is sent to them
//! - [`measure`], [`figures`]: time, CPU, WAL; medians; quantities and how they are written
//! - [`mod@run`]: rounds and turns; [`progress`] says what goes on
//! - [`report`]: the raw figures, and the page
//!
//! `contenders/` has the peers, `notes/` what explains a mark that was missed.

mod contest;
mod figures;
mod lab;
mod load;
mod measure;
mod progress;
mod report;
mod rows;
mod run;

use crate::lab::Size;
use anyhow::{Result, bail};
use clap::Parser;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use tidings_harness::leash;
use tidings_harness::server::Server;

/// Measure Tidings beside its peers and its limits, and write BENCHMARKS.md
///
/// Every row has its own private clusters, with durable settings, on 127.0.0.1; they are
/// removed at the end, also after Ctrl-C. Nothing else should run on the machine. The raw
/// figures are kept in target/bench/results.json. Build, install and set up first, as
/// `make bench` does.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    /// Measure these rows alone, separated by commas; see --list
    ///
    /// They replace their rows in BENCHMARKS.md if the rest of it comes from the same commit
    /// and machine; otherwise they are printed.
    #[arg(long, value_name = "ROWS", value_delimiter = ',')]
    only: Vec<String>,

    /// Keep these rows beside those that were kept before, even if rows are missing or files
    /// differ from the commit, and write BENCHMARKS.md from all of them
    #[arg(long, requires = "only", conflicts_with = "smoke")]
    keep: bool,

    /// Number of turns of each contender
    #[arg(long, value_name = "N", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,

    /// Measure steady states for ten minutes a contender instead of seconds
    #[arg(long)]
    long: bool,

    /// Run everything with as little work as shows that it works; print the rows
    #[arg(long, conflicts_with = "long")]
    smoke: bool,

    /// List the rows and their marks, and measure nothing
    #[arg(long)]
    list: bool,

    /// Write BENCHMARKS.md again from target/bench/results.json, and measure nothing
    #[arg(long, conflicts_with_all = ["list", "smoke", "only"])]
    write: bool,

    /// File in which the raw figures are kept (default: target/bench/results.json)
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,

    /// The pg_config of the Postgres to use; the first in PATH otherwise
    #[arg(long, env = "PG_CONFIG")]
    pg_config: Option<OsString>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What fails after a signal only follows from what was ended.
            leash::mute_after_signal();
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let all = rows::all();
    if cli.list {
        for row in &all {
            println!("{:<16} {}", row.name, row.title);
            for mark in row.marks {
                println!("{:<16}   {}: {}", "", mark.what, mark.bound);
            }
        }
        return Ok(());
    }
    for name in &cli.only {
        if !all.iter().any(|row| row.name == name) {
            let names: Vec<&str> = all.iter().map(|row| row.name).collect();
            bail!("there is no row {name}: choose from {}", names.join(", "));
        }
    }
    if cli.write {
        return run::write_again(cli.results.as_deref(), &all);
    }
    let named = cli.pg_config.clone().filter(|path| !path.is_empty());
    let size = match (cli.smoke, cli.long) {
        (true, _) => Size::Smoke,
        (_, true) => Size::Long,
        _ => Size::Short,
    };
    let options = run::Options {
        only: cli.only.clone(),
        keep: cli.keep,
        rounds: if cli.smoke { 1 } else { cli.rounds.into() },
        size,
        results: cli.results.clone(),
    };
    run::run(
        &Server::ask(named.unwrap_or_else(|| "pg_config".into()))?,
        &all,
        &options,
    )
}
