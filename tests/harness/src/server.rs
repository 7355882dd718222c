//! A Postgres installation, as its `pg_config` describes it.

use crate::step;
use anyhow::{Context as _, Result, bail};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The versions the extension has a feature for.
const SUPPORTED: std::ops::RangeInclusive<u32> = 14..=18;

/// One installation, whether or not a server of it is running.
#[derive(Clone, Debug)]
pub struct Server {
    pg_config: PathBuf,
    /// 15 for every 15.x.
    pub major: u32,
    pub bindir: PathBuf,
    pub pkglibdir: PathBuf,
    pub sharedir: PathBuf,
}

impl Server {
    /// Asks the given `pg_config`, which may be a name to be found in `PATH`.
    pub fn ask(pg_config: impl AsRef<OsStr>) -> Result<Self> {
        let pg_config = located(Path::new(pg_config.as_ref()))?;
        let ask = |what: &str| step::output(Command::new(&pg_config).arg(what));
        let version = ask("--version")?;
        let major =
            major(&version).with_context(|| format!("{} says `{version}`", pg_config.display()))?;
        if !SUPPORTED.contains(&major) {
            bail!(
                "{} is Postgres {major}: choose one of {} to {} with PG_CONFIG",
                pg_config.display(),
                SUPPORTED.start(),
                SUPPORTED.end()
            );
        }
        Ok(Self {
            major,
            bindir: ask("--bindir")?.into(),
            pkglibdir: ask("--pkglibdir")?.into(),
            sharedir: ask("--sharedir")?.into(),
            pg_config,
        })
    }

    /// The installation that `PG_CONFIG` names, else the first in `PATH`.
    pub fn from_env() -> Result<Self> {
        let named = std::env::var_os("PG_CONFIG").filter(|path| !path.is_empty());
        Self::ask(named.unwrap_or_else(|| "pg_config".into()))
    }

    pub fn pg_config(&self) -> &Path {
        &self.pg_config
    }

    /// The cargo feature of the extension for this version.
    pub fn feature(&self) -> String {
        format!("pg{}", self.major)
    }

    /// One of the server's own programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bindir.join(name)
    }

    /// A test driver: this installation's own, or otherwise that of the first `pg_config`
    /// in `PATH`, which is reported. The driver of another version works, because a
    /// driver only runs this installation's psql or speaks the protocol, and compares
    /// files.
    pub fn test_driver(&self, folder: &str, name: &str) -> Result<PathBuf> {
        let own = match self.own_test_driver(folder, name) {
            Ok(driver) => return Ok(driver),
            Err(error) => error,
        };
        let other = Self::ask("pg_config").and_then(|other| {
            let driver = other.own_test_driver(folder, name)?;
            Ok((other, driver))
        });
        let Ok((other, driver)) = other else {
            return Err(own.context(format!(
                "install the server's development package (postgresql-server-dev-{})",
                self.major
            )));
        };
        let why = format!("{own:#}");
        println!(
            "  {}: Postgres {} lends its own",
            why.trim_end(),
            other.major
        );
        Ok(driver)
    }

    fn own_test_driver(&self, folder: &str, name: &str) -> Result<PathBuf> {
        let makefile = step::output(Command::new(&self.pg_config).arg("--pgxs"))?;
        // .../pgxs/src/makefiles/pgxs.mk -> .../pgxs/src
        let source = Path::new(&makefile)
            .ancestors()
            .nth(2)
            .with_context(|| format!("pg_config --pgxs says `{makefile}`"))?;
        let driver = source.join("test").join(folder).join(name);
        if !driver.is_file() {
            bail!("{} is missing", driver.display());
        }
        // Some repackaged drivers crash before they print anything.
        step::output(Command::new(&driver).arg("--version"))
            .with_context(|| format!("{name} does not run"))?;
        Ok(driver)
    }
}

/// An absolute path: the build of the extension runs elsewhere.
fn located(pg_config: &Path) -> Result<PathBuf> {
    if pg_config.components().count() > 1 {
        return std::path::absolute(pg_config)
            .with_context(|| format!("cannot find {}", pg_config.display()));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(pg_config))
        .find(|candidate| candidate.is_file())
        .with_context(|| {
            format!(
                "{} is not in PATH: run `make setup`, or name one with PG_CONFIG",
                pg_config.display()
            )
        })
}

/// `PostgreSQL 15.20 (Debian ...)`, `PostgreSQL 18beta1`.
fn major(version: &str) -> Option<u32> {
    let number = version.strip_prefix("PostgreSQL ")?;
    let end = number
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(number.len());
    number.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn a_version_is_read_whatever_follows_its_number() {
        assert_eq!(major("PostgreSQL 15.20 (Debian 15.20-0+deb12u1)"), Some(15));
        assert_eq!(major("PostgreSQL 18beta1"), Some(18));
        assert_eq!(major("MariaDB 11"), None);
    }
}
