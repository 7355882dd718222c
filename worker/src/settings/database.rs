//! The settings of the connection to Postgres.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use clap::Args;
use tokio_postgres::config::{Config, Host};

use super::units::duration;

#[derive(Debug, Args)]
pub(crate) struct DatabaseArgs {
    /// The database that has the extension: postgres://user:password@host/database
    ///
    /// Written as for libpq, with the options of tokio-postgres. sslmode=require verifies the
    /// server's certificate; the default, prefer, encrypts without verifying it. Set the URL
    /// in the environment, because ps shows a flag to every user of the machine.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<Secret>,

    /// Trust only the certificate authorities in this PEM file for Postgres
    #[arg(long, env = "TIDINGS_DATABASE_CA", value_name = "FILE")]
    pub(crate) database_ca: Option<PathBuf>,

    /// Cancel a statement that takes longer
    ///
    /// If the connection has not answered 5 s later, it is closed and another one is opened.
    #[arg(
        long,
        env = "TIDINGS_STATEMENT_TIMEOUT",
        value_name = "TIME",
        default_value = "15s"
    )]
    #[arg(value_parser = duration)]
    pub(crate) statement_timeout: Duration,

    /// Cancel a statement that has waited this long for a lock, and retry it
    #[arg(
        long,
        env = "TIDINGS_LOCK_TIMEOUT",
        value_name = "TIME",
        default_value = "10s"
    )]
    #[arg(value_parser = duration)]
    pub(crate) lock_timeout: Duration,

    /// Connect through a pooler in transaction mode
    ///
    /// The worker then keeps no state in a session: it does not LISTEN, so that it sees changed
    /// sources at the next poll (--source-poll), prepares no statements, and sends its settings
    /// in each transaction.
    #[arg(long, env = "TIDINGS_POOLED")]
    pub(crate) pooled: bool,
}

/// A text that is never shown.
#[derive(Clone)]
pub(super) struct Secret(String);

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

impl DatabaseArgs {
    pub(super) fn config(&self) -> Result<Config, String> {
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
            let cause = cause.map_or(String::new(), |cause| format!(" ({cause})"));
            format!(
                "DATABASE_URL cannot be used{cause}: write it as \
                 postgres://user:password@host/database"
            )
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

/// The address and name of the database, without user and password.
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
