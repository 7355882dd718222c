//! The settings of `run`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;
use tidings_core::network::Network;

use super::{DatabaseArgs, LimitArgs, TlsArgs, units::duration};
use crate::process::log;

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,

    /// Address for webhooks; port 0 is any free port
    #[arg(
        long,
        env = "TIDINGS_HTTP_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:8080"
    )]
    pub(crate) http_listen: SocketAddr,

    /// Address for gRPC pushes; port 0 is any free port
    #[arg(
        long,
        env = "TIDINGS_GRPC_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:8081"
    )]
    pub(crate) grpc_listen: SocketAddr,

    /// Address for /metrics, /readyz and /healthz; port 0 is any free port
    ///
    /// They name your sources: let only your monitoring reach them. The address for webhooks
    /// has only /healthz.
    #[arg(
        long,
        env = "TIDINGS_ADMIN_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:8082"
    )]
    pub(crate) admin_listen: SocketAddr,

    /// Addresses and networks of the proxies whose X-Forwarded-For or Forwarded is believed,
    /// such as 127.0.0.1,10.0.0.0/8
    ///
    /// The sender of a request is then the last address in the header that is not one of
    /// these. The address is in tidings.rejected and in the log, and the option allow_from of a
    /// source restricts it. If both headers are there and disagree, neither is believed: let the
    /// proxy remove the one that it does not set.
    #[arg(
        long,
        env = "TIDINGS_TRUSTED_PROXIES",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub(crate) trusted_proxies: Vec<Network>,

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

    /// Spool webhooks in this folder while Postgres is down; without it they get 503
    ///
    /// The folder is created if it is missing. Its disk must keep what is fsynced, and each
    /// worker needs a folder of its own.
    #[arg(long, env = "TIDINGS_SPOOL_DIR", value_name = "DIR")]
    pub(crate) spool_dir: Option<PathBuf>,

    /// How long a drain may take before the worker exits with 75
    #[arg(
        long,
        env = "TIDINGS_DRAIN_TIMEOUT",
        value_name = "TIME",
        default_value = "25s"
    )]
    #[arg(value_parser = duration)]
    pub(crate) drain_timeout: Duration,

    /// Poll the sources this often, in case a notification is lost
    ///
    /// 30s by default; 5s with --pooled, because there are no notifications then.
    #[arg(long, env = "TIDINGS_SOURCE_POLL", value_name = "TIME")]
    #[arg(value_parser = duration)]
    source_poll: Option<Duration>,

    /// Time after which another worker takes over a dialed stream if this one does not renew
    /// its lease
    ///
    /// The lease is renewed three times within this time. The workers on a database may have
    /// different lease times.
    #[arg(
        long,
        env = "TIDINGS_LEASE_TIME",
        value_name = "TIME",
        default_value = "10s"
    )]
    #[arg(value_parser = lease_time)]
    pub(crate) lease_time: Duration,

    /// Call tidings.maintain this often, for partitions and retention
    #[arg(
        long,
        env = "TIDINGS_MAINTAIN_EVERY",
        value_name = "TIME",
        default_value = "1h"
    )]
    #[arg(value_parser = duration)]
    pub(crate) maintain_every: Duration,

    /// Raise the horizon of an idle log once a second, for those who follow several databases
    /// as one log
    ///
    /// They read each database up to the least horizon of all (tidings.log_horizon()), and so
    /// wait for one that stores nothing. Each tick is a small transaction; events, and the
    /// ticks of other workers, make it unnecessary.
    #[arg(long, env = "TIDINGS_TICK")]
    pub(crate) tick: bool,

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

    // Last, because its heading applies to every flag after it.
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
}

impl RunArgs {
    pub(crate) fn source_poll(&self) -> Duration {
        let seconds = if self.database.pooled { 5 } else { 30 };
        self.source_poll.unwrap_or(Duration::from_secs(seconds))
    }
}

/// A time that `tidings.hold_streams` accepts, and within which a lease can be renewed.
fn lease_time(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time < Duration::from_secs(1) || time > Duration::from_secs(24 * 3600) {
        return Err("must be between 1s and 24h".to_owned());
    }
    Ok(time)
}
