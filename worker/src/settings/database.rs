//! Where the database is, and how it is asked.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use clap::Args;
use tokio_postgres::config::{Config, Host};

use crate::units::duration;

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
    ///
    /// A connection that has not answered 5 s later is given up, and another one opened.
    #[arg(
        long,
        env = "TIDINGS_STATEMENT_TIMEOUT",
        value_name = "TIME",
        default_value = "15s"
    )]
    #[arg(value_parser = duration)]
    pub(crate) statement_timeout: Duration,

    /// End a statement that has waited this long for a lock, and try it again
    #[arg(
        long,
        env = "TIDINGS_LOCK_TIMEOUT",
        value_name = "TIME",
        default_value = "10s"
    )]
    #[arg(value_parser = duration)]
    pub(crate) lock_timeout: Duration,

    /// A pooler in transaction mode stands before Postgres
    ///
    /// Nothing is then kept in a session: no LISTEN, so that changed sources are seen at the
    /// next look (--source-poll), no prepared statements, and settings in each transaction.
    #[arg(long, env = "TIDINGS_POOLED")]
    pub(crate) pooled: bool,
}

/// Text that is never shown.
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
