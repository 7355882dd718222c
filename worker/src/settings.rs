//! The settings: flags or environment, all checked before a port is bound.

use std::{ffi::OsString, fmt, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, Parser, Subcommand, error::ErrorKind};
use tidings_core::wire::Names;
use tokio_postgres::config::{Config, Host};

use crate::{
    log,
    serve_tls::TlsArgs,
    units::{Bytes, duration},
};

/// Receives delivery events from message providers and hands them to Postgres.
///
/// The sidecar of the extension tidings: it answers webhooks and gRPC pushes, follows
/// event streams, and acknowledges an event only after the transaction that holds it
/// has committed.
#[derive(Debug, Parser)]
#[command(name = "tidings-worker", version, max_term_width = 100)]
#[command(after_long_help = include_str!("manual.txt"))]
#[command(after_help = "The whole manual, with endpoints, signals and exit codes: --help")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Receive events until SIGTERM or SIGINT
    #[command(after_long_help = include_str!("manual.txt"))]
    Run(Box<RunArgs>),
    /// Say what works, and what to do about the rest
    #[command(after_long_help = include_str!("manual.txt"))]
    Check(CheckArgs),
    /// Ask a source's provider for its schema, and print the SQL that takes it over
    #[command(after_long_help = include_str!("manual.txt"))]
    Schema(SchemaArgs),
    /// Look at a spool, or drain it without a running worker
    #[command(subcommand, after_long_help = include_str!("manual.txt"))]
    Spool(SpoolCommand),
}

#[derive(Debug, Args)]
pub(crate) struct DatabaseArgs {
    /// The database that has the extension: postgres://user:password@host/database
    ///
    /// As libpq reads it, with the options of tokio-postgres. sslmode=require verifies the
    /// server's certificate; the default, prefer, encrypts without looking at it. Prefer the
    /// environment: a flag is shown to every user of the machine, by ps.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<Secret>,

    /// Trust only the certificate authorities in this PEM file for Postgres
    #[arg(long, env = "TIDINGS_DATABASE_CA", value_name = "FILE")]
    pub(crate) database_ca: Option<PathBuf>,

    /// End a statement that takes longer
    #[arg(
        long,
        env = "TIDINGS_STATEMENT_TIMEOUT",
        value_name = "TIME",
        default_value = "15s"
    )]
    #[arg(value_parser = duration)]
    pub(crate) statement_timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,

    /// Where webhooks, probes and metrics are answered; port 0 is any free port
    #[arg(
        long,
        env = "TIDINGS_HTTP_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:8080"
    )]
    pub(crate) http_listen: SocketAddr,

    /// Where gRPC pushes are answered; port 0 is any free port
    #[arg(
        long,
        env = "TIDINGS_GRPC_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:8081"
    )]
    pub(crate) grpc_listen: SocketAddr,

    #[command(flatten)]
    pub(crate) tls: TlsArgs,

    /// How long a request may wait for its commit before it is answered 503
    #[arg(
        long,
        env = "TIDINGS_PATIENCE",
        value_name = "TIME",
        default_value = "20s"
    )]
    #[arg(value_parser = duration)]
    pub(crate) patience: Duration,

    /// Keep webhooks in this folder while Postgres is away; without it they get 503
    ///
    /// Made if it is missing, on a disk that keeps what is synced. Each worker needs its own.
    #[arg(long, env = "TIDINGS_SPOOL_DIR", value_name = "DIR")]
    pub(crate) spool_dir: Option<PathBuf>,

    /// How long a drain may take
    #[arg(
        long,
        env = "TIDINGS_DRAIN_TIMEOUT",
        value_name = "TIME",
        default_value = "25s"
    )]
    #[arg(value_parser = duration)]
    pub(crate) drain_timeout: Duration,

    /// Read the sources this often, in case a notification is lost
    #[arg(
        long,
        env = "TIDINGS_SOURCE_POLL",
        value_name = "TIME",
        default_value = "30s"
    )]
    #[arg(value_parser = duration)]
    pub(crate) source_poll: Duration,

    /// Call tidings.maintain this often: partitions, retention
    #[arg(
        long,
        env = "TIDINGS_MAINTAIN_EVERY",
        value_name = "TIME",
        default_value = "1h"
    )]
    #[arg(value_parser = duration)]
    pub(crate) maintain_every: Duration,

    /// What to log: a level, or a filter such as info,tidings_worker=debug
    #[arg(
        long,
        env = "TIDINGS_LOG",
        value_name = "FILTER",
        default_value = "info,actix_server=warn"
    )]
    #[arg(value_parser = log::filter)]
    pub(crate) log: String,

    /// How to log, on stderr
    #[arg(
        long,
        env = "TIDINGS_LOG_FORMAT",
        value_name = "FORMAT",
        value_enum,
        default_value_t
    )]
    pub(crate) log_format: log::Format,

    // Last, as its heading holds for every flag after it.
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
}

/// Every limit, and what happens at it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Connections that commit; each commits one batch at a time
    #[arg(
        long,
        env = "TIDINGS_CONNECTIONS",
        value_name = "N",
        default_value_t = 2
    )]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) connections: u8,

    /// The largest body or message; beyond it 413 or OUT_OF_RANGE
    #[arg(
        long,
        env = "TIDINGS_MAX_BODY",
        value_name = "SIZE",
        default_value = "8MiB"
    )]
    pub(crate) max_body: Bytes,

    /// Requests in one batch; the next ones go into the next batch
    #[arg(
        long,
        env = "TIDINGS_BATCH_REQUESTS",
        value_name = "N",
        default_value_t = 1000
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) batch_requests: u32,

    /// Bytes in one batch, unless one request alone has more
    #[arg(
        long,
        env = "TIDINGS_BATCH_BYTES",
        value_name = "SIZE",
        default_value = "8MiB"
    )]
    pub(crate) batch_bytes: Bytes,

    /// Requests pending in the process; beyond it webhooks get 503, pushes wait
    #[arg(
        long,
        env = "TIDINGS_PENDING_REQUESTS",
        value_name = "N",
        default_value_t = 20_000
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) pending_requests: u32,

    /// Bytes pending in the process; beyond it webhooks get 503, pushes wait
    #[arg(
        long,
        env = "TIDINGS_PENDING_BYTES",
        value_name = "SIZE",
        default_value = "64MiB"
    )]
    pub(crate) pending_bytes: Bytes,

    /// Bytes of the requests in the spool, and half of them of one source; beyond it 503
    #[arg(
        long,
        env = "TIDINGS_SPOOL_BYTES",
        value_name = "SIZE",
        default_value = "1GiB"
    )]
    pub(crate) spool_bytes: Bytes,

    /// Open HTTP connections; the next ones wait to be accepted
    #[arg(
        long,
        env = "TIDINGS_HTTP_CONNECTIONS",
        value_name = "N",
        default_value_t = 1024
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) http_connections: u32,

    /// Open gRPC push streams; the next ones get RESOURCE_EXHAUSTED
    #[arg(
        long,
        env = "TIDINGS_PUSH_STREAMS",
        value_name = "N",
        default_value_t = 64
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) push_streams: u32,
}

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

    /// The source, whose endpoint is asked by server reflection
    pub(crate) source: String,

    /// The method, where it is not found by itself: /package.Service/Method
    #[arg(long, value_name = "METHOD")]
    pub(crate) method: Option<String>,

    /// The provider's names and ours, as set_source_schema takes them (default: the source's)
    #[arg(long, value_name = "JSON", value_parser = names)]
    pub(crate) names: Option<Names>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SpoolCommand {
    /// Say how much is in it, and since when
    Status(SpoolStatusArgs),
    /// Bring what is in it to Postgres, then exit
    Drain(SpoolDrainArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SpoolStatusArgs {
    /// The spool's folder
    #[arg(long, env = "TIDINGS_SPOOL_DIR", value_name = "DIR")]
    pub(crate) spool_dir: PathBuf,

    /// Print it as a line of JSON
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

fn names(text: &str) -> Result<Names, String> {
    serde_json::from_str(text)
        .map_err(|_| r#"not names: write them like {"id": "event_id"}"#.to_owned())
}

/// Text that is never shown.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// Why there are no settings to go on with.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Help or version: text for stdout, and a clean exit.
    Asked(clap::Error),
    /// Text for stderr.
    Bad(String),
}

/// Reads and checks everything but the environment's reachability.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<(Command, Config), Stop> {
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
        Command::Spool(SpoolCommand::Drain(drain)) => &drain.database,
        Command::Spool(SpoolCommand::Status(_)) => return Ok((cli.command, Config::new())),
    };
    let config = database.config().map_err(named)?;
    Ok((cli.command, config))
}

impl DatabaseArgs {
    fn config(&self) -> Result<Config, String> {
        let Some(Secret(url)) = &self.database_url else {
            return Err("no database: set DATABASE_URL or give --database-url, \
                        such as postgres://user:password@host/database"
                .to_owned());
        };
        // Here `require` verifies all that `verify-full` asks for.
        let url = url.replace("sslmode=verify-full", "sslmode=require");
        let config = Config::from_str(&url).map_err(|error| {
            // The cause may quote the URL, and with it the password.
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let cause = cause.filter(|cause| !cause.contains(['@', ':']));
            let cause = cause
                .unwrap_or_else(|| "write it as postgres://user:password@host/database".to_owned());
            format!("DATABASE_URL cannot be used: {cause}")
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(
                "DATABASE_URL names no host: write postgres://user@host/database, \
                        or ?host=/run/postgresql for a socket"
                    .to_owned(),
            );
        }
        Ok(config)
    }
}

/// Where the database is, without user and password.
pub(crate) fn place(config: &Config) -> String {
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        #[cfg(unix)]
        Host::Unix(path) => path.display().to_string(),
    });
    let addresses = config.get_hostaddrs().iter().map(ToString::to_string);
    let mut hosts: Vec<_> = hosts.collect();
    if hosts.is_empty() {
        hosts = addresses.collect();
    }
    let ports: Vec<_> = config.get_ports().iter().map(u16::to_string).collect();
    let port = if ports.is_empty() {
        "5432".to_owned()
    } else {
        ports.join(",")
    };
    let database = config
        .get_dbname()
        .or(config.get_user())
        .unwrap_or_default();
    format!("{} port {port} database {database:?}", hosts.join(","))
}

impl LimitArgs {
    /// Limits that contradict each other would only show under load.
    fn check(&self) -> Result<(), String> {
        let least = Bytes(1024);
        for (name, size) in [
            ("--max-body", self.max_body),
            ("--batch-bytes", self.batch_bytes),
            ("--pending-bytes", self.pending_bytes),
        ] {
            if size < least {
                return Err(format!("{name} is {size}: it must be at least {least}"));
            }
        }
        if self.pending_bytes < self.max_body {
            return Err(format!(
                "--pending-bytes ({}) is less than --max-body ({}): no such body could be received",
                self.pending_bytes, self.max_body
            ));
        }
        // A value of Postgres has at most 1 GiB, and so has the whole statement.
        let greatest = Bytes(512 << 20);
        for (name, size) in [
            ("--max-body", self.max_body),
            ("--batch-bytes", self.batch_bytes),
        ] {
            if size > greatest {
                return Err(format!("{name} is {size}: it must be at most {greatest}"));
            }
        }
        Ok(())
    }
}

impl LimitArgs {
    /// Else a request could be taken that never fits, however empty the spool is.
    fn check_spool(&self) -> Result<(), String> {
        let least = u64::from(self.max_body.0).saturating_mul(4);
        if u64::from(self.spool_bytes.0) < least {
            return Err(format!(
                "--spool-bytes ({}) is less than four times --max-body ({}): \
                 a source has half of it, and a body comes with headers",
                self.spool_bytes, self.max_body
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
