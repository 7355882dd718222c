//! The settings of the connection to Postgres: a URL, or libpq's service files and variables.
//!
//! - [`conninfo`] reads a connection string, [`service`] a service file, [`passfile`] a
//!   password file.
//! - [`keyword`] lists what may be set, and what the worker makes of it.
//! - [`values`] decides which value counts; [`target`] and [`tls`] make sense of them.

mod conninfo;
mod environment;
mod keyword;
mod passfile;
mod service;
mod target;
#[cfg(test)]
mod tests;
mod tls;
mod values;

use std::{fmt, fs, path::PathBuf, time::Duration};

use clap::Args;

use self::{
    environment::Environment,
    values::{Given, Origin, Values},
};
pub(crate) use self::{
    target::{Database, Server, place},
    tls::{Pair, Roots, Tls, TlsMode, Version},
};
use super::units::duration;

/// Limit on the file of a URL, in bytes: more than any URL, and less than an endless device.
const LARGEST_FILE: usize = 64 << 10;

#[derive(Clone, Debug, Args)]
pub(crate) struct DatabaseArgs {
    /// The database that has the extension: postgres://user:password@host/database
    ///
    /// Written as for libpq. What it leaves out comes from a service file, from libpq's
    /// environment variables (PGHOST, PGPASSWORD, PGSSLMODE, ..) and from ~/.pgpass, as with
    /// psql. sslmode=verify-full verifies the server's certificate and its name; the default,
    /// prefer, encrypts without verifying. Set the URL in the environment, because ps shows a
    /// flag to every user of the machine.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<Secret>,

    /// Read the URL of the database from this file instead
    ///
    /// This flag is for a secret that is mounted as a file. The file is read again for each new
    /// connection, so that a rotated password needs no restart.
    #[arg(
        long,
        env = "DATABASE_URL_FILE",
        value_name = "FILE",
        conflicts_with = "database_url"
    )]
    database_url_file: Option<PathBuf>,

    /// Trust only the certificate authorities in this PEM file for Postgres
    ///
    /// The server's certificate and its name are then verified, whatever sslmode says.
    #[arg(long, env = "TIDINGS_DATABASE_CA", value_name = "FILE")]
    database_ca: Option<PathBuf>,

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
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

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
    /// The database as the settings, the files they name, and the environment say it now.
    pub(crate) fn database(&self) -> Result<Database, String> {
        self.database_in(&Environment::of_process())
    }

    fn database_in(&self, environment: &Environment) -> Result<Database, String> {
        let given = self.given()?;
        let is_anywhere = given.is_some()
            || ["PGHOST", "PGHOSTADDR", "PGSERVICE"]
                .iter()
                .any(|variable| environment.get(variable).is_some_and(|of| !of.is_empty()));
        if !is_anywhere {
            return Err(
                "no database: set DATABASE_URL or give --database-url, such as \
                 postgres://user:password@host/database, or set PGHOST or PGSERVICE as for psql"
                    .to_owned(),
            );
        }
        let values = Values::gather(given.as_ref(), environment)?;
        Database::new(values, self.database_ca.as_ref(), environment)
    }

    /// The connection string, if there is one.
    fn given(&self) -> Result<Option<Given>, String> {
        if let Some(text) = &self.database_url {
            return Ok(Some(Given {
                text: text.clone(),
                origin: Origin::Url,
            }));
        }
        let Some(file) = &self.database_url_file else {
            return Ok(None);
        };
        let unusable = |reason: String| {
            format!(
                "DATABASE_URL_FILE names {}, which cannot be used: {reason}",
                file.display()
            )
        };
        let text = fs::read_to_string(file).map_err(|error| unusable(error.to_string()))?;
        let text = text.trim();
        if text.is_empty() || text.len() > LARGEST_FILE {
            return Err(unusable(format!(
                "write the URL into it, in at most {LARGEST_FILE} bytes"
            )));
        }
        Ok(Some(Given {
            text: Secret(text.to_owned()),
            origin: Origin::UrlFile(file.clone()),
        }))
    }
}
