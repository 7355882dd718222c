//! The settings of the commands `check`, `schema`, `reconcile` and `spool`.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use tidings_core::wire::Names;

use super::{
    DatabaseArgs,
    units::{duration, since},
};

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,

    /// How long to wait for a stream's first event
    #[arg(long, value_name = "TIME", default_value = "5s")]
    #[arg(value_parser = duration)]
    pub(crate) wait: Duration,

    /// Print each finding as a line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,

    /// The source whose endpoint is asked for its schema, by server reflection
    pub(crate) source: String,

    /// The method, if it is not found automatically: /package.Service/Method
    #[arg(long, value_name = "METHOD")]
    pub(crate) method: Option<String>,

    /// The provider's names mapped to ours, as for set_source_schema (default: the source's)
    #[arg(long, value_name = "JSON", value_parser = names)]
    pub(crate) names: Option<Names>,
}

#[derive(Debug, Args)]
pub(crate) struct ReconcileArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,

    /// The source whose provider is asked about its send requests
    pub(crate) source: String,

    /// Ask about this send request too, for example because no event of it has arrived
    ///
    /// May be given several times.
    #[arg(long = "request", value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) requests: Vec<String>,

    /// Ask about every send request with an event since then too: 7d, or 2026-11-01T00:00:00Z
    #[arg(long, value_name = "TIME|INTERVAL", value_parser = since)]
    pub(crate) since: Option<SystemTime>,

    /// Print what would be asked, and ask nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SpoolCommand {
    /// Report how much is in the spool, and since when
    Status(SpoolStatusArgs),
    /// Replay the spool into Postgres, then exit
    Drain(SpoolDrainArgs),
    /// Move a damaged spool's file away, and report what was in it as gaps
    SetAside(SpoolSetAsideArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SpoolStatusArgs {
    /// The spool's folder
    #[arg(long, env = "TIDINGS_SPOOL_DIR", value_name = "DIR")]
    pub(crate) spool_dir: PathBuf,

    /// Print the status as a line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SpoolDrainArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,

    /// The spool's folder
    #[arg(long, env = "TIDINGS_SPOOL_DIR", value_name = "DIR")]
    pub(crate) spool_dir: PathBuf,

    /// How long a batch may wait for its commit
    #[arg(
        long,
        env = "TIDINGS_PATIENCE",
        value_name = "TIME",
        default_value = "20s"
    )]
    #[arg(value_parser = duration)]
    pub(crate) patience: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct SpoolSetAsideArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,

    /// The spool's folder
    #[arg(long, env = "TIDINGS_SPOOL_DIR", value_name = "DIR")]
    pub(crate) spool_dir: PathBuf,
}

fn names(text: &str) -> Result<Names, String> {
    serde_json::from_str(text)
        .map_err(|_| r#"not names: write them like {"id": "event_id"}"#.to_owned())
}
