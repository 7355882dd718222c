//! The settings: flags or environment, all checked before a port is bound.

mod commands;
mod database;
mod limits;
mod run;
mod tls;
pub(crate) mod units;

use std::ffi::OsString;

use clap::{Parser, Subcommand, error::ErrorKind};

pub(crate) use self::{
    commands::{
        CheckArgs, ReconcileArgs, SchemaArgs, SpoolCommand, SpoolDrainArgs, SpoolSetAsideArgs,
        SpoolStatusArgs,
    },
    database::{Database, DatabaseArgs, Pair, Roots, Server, Tls, TlsMode, Version, place},
    limits::LimitArgs,
    run::RunArgs,
    tls::TlsArgs,
};

use crate::wire;

/// Receives delivery events from message providers and hands them to Postgres.
///
/// The sidecar of the extension tidings: it answers webhooks and gRPC pushes, follows
/// event streams, and acknowledges an event only after the transaction that contains it
/// has committed.
#[derive(Debug, Parser)]
#[command(name = "tidings-worker", version, max_term_width = 100)]
#[command(after_long_help = manual())]
#[command(after_help = "The whole manual, with endpoints, signals and exit codes: --help")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Receive events until SIGTERM, SIGINT or SIGQUIT
    #[command(after_long_help = manual())]
    Run(Box<RunArgs>),
    /// Report what works and what needs fixing
    #[command(after_long_help = manual())]
    Check(CheckArgs),
    /// Get a source's schema from its provider, and print the SQL that sets it
    #[command(after_long_help = manual())]
    Schema(SchemaArgs),
    /// Ask a provider about events that may be missing, and close the gaps
    #[command(after_long_help = manual())]
    Reconcile(ReconcileArgs),
    /// Inspect a spool, or drain it without a running worker
    #[command(subcommand, after_long_help = manual())]
    Spool(SpoolCommand),
}

/// The manual, with the methods that providers call.
fn manual() -> String {
    let methods = wire::served().map(|(_, call)| format!("  {}\n", call.method));
    include_str!("manual.txt").replace("{methods}", &methods.collect::<String>())
}

/// Why the worker cannot go on with these settings.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Help or version was requested: text for stdout, and a clean exit.
    Asked(clap::Error),
    /// Text for stderr.
    Bad(String),
}

/// Reads and checks all settings, without connecting to anything.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<(Command, Database), Stop> {
    let cli = Cli::try_parse_from(arguments).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop::Asked(error),
        _ => {
            let text = error.render().to_string();
            Stop::Bad(text.replacen("error: ", "tidings-worker: ", 1))
        }
    })?;
    let named = |complaint| Stop::Bad(format!("tidings-worker: {complaint}"));
    let database = match &cli.command {
        Command::Run(run) => {
            run.limits.check().map_err(named)?;
            if run.spool_dir.is_some() {
                run.limits.check_spool().map_err(named)?;
            }
            &run.database
        }
        Command::Check(check) => &check.database,
        Command::Schema(schema) => &schema.database,
        Command::Reconcile(reconcile) => &reconcile.database,
        Command::Spool(SpoolCommand::Drain(drain)) => &drain.database,
        Command::Spool(SpoolCommand::SetAside(aside)) => &aside.database,
        Command::Spool(SpoolCommand::Status(_)) => return Ok((cli.command, Database::default())),
    };
    let database = database.database().map_err(named)?;
    Ok((cli.command, database))
}

#[cfg(test)]
mod tests;
