//! Plays the four providers over real sockets, and keeps a ledger of what it emitted.
//!
//! Written from the providers' own pages. It shares only the wire schemas with the
//! product, so that it cannot share a mistake with it.
//!
//! # Layout
//! - [`ppoppo`]: the event stream that the worker dials; [`pushwoosh`] (both
//!   transports), [`arpoone`], [`pushpushgo`]: what calls the worker
//! - [`draw`], [`clock`], [`ulid`], [`mix`]: what is played, a function of seed and size
//! - [`forms`], [`faults`], [`schema`]: how it is written, what goes wrong, which `.proto`
//!   files are spoken
//! - [`lane`], [`deliver`], [`http`], [`pace`]: how HTTP calls are made and retried
//! - [`ledger`], [`progress`], [`console`]: what is told about it
//! - [`args`], [`run`], [`stdin`]: the process
//!
//! # Invariants
//! - The same seed and size give the same events with the same bytes, but for the ids and
//!   times of Ppoppo's, which are those of the present. Only timing, retries and the number
//!   of emissions depend on who answers.
//! - An emission is in the ledger before its first byte is on the wire, and an
//!   acknowledgement only after its answer was read: whenever the process ends, rows
//!   can be checked against the ledger from both sides.

mod args;
mod arpoone;
mod clock;
mod console;
mod deliver;
mod draw;
mod faults;
mod forms;
mod http;
mod lane;
mod ledger;
mod mix;
mod pace;
mod ppoppo;
mod progress;
mod pushpushgo;
mod pushwoosh;
mod run;
mod schema;
mod stdin;
#[cfg(test)]
mod testing;
mod ulid;

use std::process::ExitCode;

use clap::Parser;

/// The exit code of bad settings (`EX_USAGE` of sysexits.h).
const BAD_SETTINGS: u8 = 64;

fn main() -> ExitCode {
    let args::Command::Run(settings) = match args::Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => {
            let bad = error.use_stderr();
            // Nothing is left to be told when even this cannot be printed.
            let _ = error.print();
            return ExitCode::from(if bad { BAD_SETTINGS } else { 0 });
        }
    };
    if let Err(error) = settings.check() {
        eprintln!("tidings-emulator: {error}");
        return ExitCode::from(BAD_SETTINGS);
    }
    // One thread: the emulator shares a small machine with what it plays to.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run::run(settings)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidings-emulator: {error:#}");
            ExitCode::FAILURE
        }
    }
}
