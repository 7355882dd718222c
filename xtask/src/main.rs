//! What the Makefile calls.
//!
//! # Layout
//! - [`install`] with [`scripts`]: builds the extension, and copies it into a Postgres
//! - [`regress`], [`mod@test`], [`lint`] with [`layout`] and [`plpgsql`]: the checks, in
//!   [`steps`]; [`failed`] says what failed
//! - [`days`], which a seed [`draw`]s: other days than today, for the SQL tests
//! - [`mod@reference`]: writes the document of what SQL offers
//! - [`drills`]: the demo, and what one starts by hand
//!
//! Clusters, workers and emulators are those of the end-to-end tests: `tests/harness`.

mod days;
mod draw;
mod drills;
mod failed;
mod install;
mod layout;
mod lint;
mod plpgsql;
mod reference;
mod regress;
mod scripts;
mod steps;
mod test;

use crate::days::Day;
use crate::drills::{chaos, demo, fuzz, outage, overload, soak, sqlsmith, strangers};
use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;
use tidings_harness::server::Server;

#[derive(Parser)]
#[command(about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The pg_config of the Postgres to use; the first in PATH otherwise
    #[arg(long, global = true, env = "PG_CONFIG")]
    pg_config: Option<OsString>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole system with emulated providers, and reconcile every event
    Demo(Demo),
    /// All tests
    Test,
    /// Only pg_regress and pg_isolation_regress, on the installed extension
    Regress(Regress),
    /// Build the extension and copy it into the Postgres
    Install(Install),
    /// Write docs/reference.md from the extension as installed
    Reference,
    /// Run the whole system at a steady rate for a long time; fails if something grows
    Soak(Soak),
    /// Kill Postgres and keep it down while webhooks arrive
    Outage(Outage),
    /// Run the providers among idle calls, malformed requests and a log that nobody reads
    Strangers(Strangers),
    /// Offer more webhooks than Postgres takes; fails if fewer are answered than it takes
    Overload(Overload),
    /// Run the whole system through one fault after another, on the installed extension
    Chaos(Chaos),
    /// Formatting, layout, clippy, PL/pgSQL (installs the extension), documentation
    Lint,
    /// The fuzz targets, each for a while
    Fuzz(Fuzz),
    /// Random SQL against the installed extension
    Sqlsmith(Sqlsmith),
}

#[derive(Args)]
struct Install {
    /// Build it with link-time optimization, which takes longer
    #[arg(long)]
    dist: bool,
}

impl Install {
    fn profile(&self) -> &'static str {
        if self.dist { "dist" } else { install::QUICK }
    }
}

#[derive(Args)]
struct Demo {
    /// Distinct events to emit
    #[arg(long, default_value_t = 500_000)]
    events: u64,
    /// The same seed emits the same events
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Share of deliveries that are repeated
    #[arg(long, default_value_t = 0.05)]
    duplicates: f64,
    /// Events a second; 0 = as fast as they are answered
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// SIGKILL the worker half-way and start it again
    #[arg(long)]
    kill_worker: bool,
    /// Keep everything running at the end, to look at it
    #[arg(long)]
    keep: bool,
}

#[derive(Args)]
struct Regress {
    /// As on the two days that this seed draws, rather than today
    #[arg(long, conflicts_with = "at")]
    seed: Option<u64>,
    /// As at this moment (2028-02-29T23:59:50Z), rather than today
    #[arg(long)]
    at: Option<jiff::Timestamp>,
}

#[derive(Args)]
struct Soak {
    /// How long, from the start line on
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Events a second
    #[arg(long, default_value_t = 2_000)]
    rate: u64,
    /// The same seed emits the same events
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Args)]
struct Outage {
    /// How long Postgres is down
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Webhooks a second
    #[arg(long, default_value_t = 500)]
    rate: u64,
}

#[derive(Args)]
struct Strangers {
    /// Length of the run
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// The same seed emits the same events
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Args)]
struct Overload {
    /// Length of the overload, after the measurement of what Postgres takes
    #[arg(long, default_value_t = 120)]
    seconds: u64,
}

#[derive(Args)]
struct Chaos {
    /// Faults, one after another; the default includes every kind
    #[arg(long, default_value_t = chaos::EVERY_KIND)]
    cycles: usize,
    /// The same seed draws the same faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only cycles with this kind of fault, named as in the summary ("spool moved away")
    #[arg(long, value_name = "FAULT")]
    only: Option<String>,
    /// Only print which faults the seed draws
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
struct Sqlsmith {
    /// How long
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// The same seed tries the same statements
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Args)]
struct Fuzz {
    /// Seconds for each target
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// This target alone
    #[arg(long)]
    target: Option<String>,
    /// Keep new inputs of the corpus as tests, in core/testdata/corpus
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    // Neither needs a Postgres.
    if let Command::Fuzz(options) = &cli.command {
        return fuzz::run(&fuzz::Options {
            seconds: options.seconds,
            target: options.target.clone(),
            keep: options.keep,
        });
    }
    let drill = |options: &Chaos| chaos::Options {
        cycles: options.cycles,
        seed: options.seed,
        only: options.only.clone(),
    };
    if let Command::Chaos(options) = &cli.command
        && options.dry_run
    {
        chaos::show(&drill(options));
        return Ok(());
    }
    let named = cli.pg_config.clone().filter(|path| !path.is_empty());
    let server = Server::ask(named.unwrap_or_else(|| "pg_config".into()))?;
    match &cli.command {
        Command::Demo(options) => {
            install::run(&server)?;
            demo::run(
                &server,
                &demo::Options {
                    events: options.events,
                    seed: options.seed,
                    duplicates: options.duplicates,
                    rate: options.rate,
                    kill_worker: options.kill_worker,
                    keep: options.keep,
                },
            )
        }
        Command::Chaos(options) => chaos::run(&server, &drill(options)),
        Command::Test => test::run(&server),
        Command::Regress(options) => match (options.seed, options.at) {
            (Some(seed), _) => regress::on_other_days(&server, seed),
            (None, Some(at)) => regress::on_day(&server, &Day::at(at, days::any_seed()?)),
            (None, None) => regress::REGRESS
                .run(&server, None)
                .and(regress::ISOLATION.run(&server, None)),
        },
        Command::Install(options) => install::run_as(&server, options.profile()),
        Command::Reference => reference::write(&server),
        Command::Soak(options) => soak::run(
            &server,
            &soak::Options {
                minutes: options.minutes,
                rate: options.rate,
                seed: options.seed,
            },
        ),
        Command::Outage(options) => {
            let away = Duration::from_secs(options.seconds);
            outage::run(&server, away, options.rate)
        }
        Command::Strangers(options) => strangers::run(&server, options.minutes, options.seed),
        Command::Overload(options) => overload::run(&server, Duration::from_secs(options.seconds)),
        Command::Lint => lint::run(&server),
        Command::Sqlsmith(options) => sqlsmith::run(
            &server,
            &sqlsmith::Options {
                seconds: options.seconds,
                seed: options.seed,
            },
        ),
        Command::Fuzz(_) => Ok(()),
    }
}
