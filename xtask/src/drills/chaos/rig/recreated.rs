//! A restore, seen from the worker: the database is gone, one of the same name is there
//! without the extension, and then it is back with everything that was in it.

use super::{DRAIN, Rig, TICK};
use anyhow::{Context as _, Result, bail};
use postgres::Client;
use postgres::error::SqlState;
use std::thread;
use std::time::Instant;
use tidings_harness::stage::DATABASE;

/// The name of the database meanwhile.
const ASIDE: &str = "aside";

impl Rig {
    pub(super) fn take_database(&mut self) -> Result<()> {
        let mut client = self.cluster.connect("postgres")?;
        client.batch_execute(&format!(
            "alter database {DATABASE} with allow_connections false"
        ))?;
        rename(&mut client, DATABASE, ASIDE)?;
        client
            .batch_execute(&format!("create database {DATABASE} template template0"))
            .context("cannot create an empty database")
    }

    pub(super) fn return_database(&mut self) -> Result<()> {
        let mut client = self.cluster.connect("postgres")?;
        client
            .batch_execute(&format!("drop database {DATABASE} with (force)"))
            .context("cannot drop the empty database")?;
        rename(&mut client, ASIDE, DATABASE)?;
        client.batch_execute(&format!(
            "alter database {DATABASE} with allow_connections true"
        ))?;
        Ok(())
    }
}

/// Renames a database to which nobody can connect any more.
fn rename(client: &mut Client, from: &str, to: &str) -> Result<()> {
    let started = Instant::now();
    loop {
        client.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1",
            &[&from],
        )?;
        match client.batch_execute(&format!("alter database {from} rename to {to}")) {
            Ok(()) => return Ok(()),
            // Backends that were just ended.
            Err(error) if error.code() == Some(&SqlState::OBJECT_IN_USE) => {}
            Err(error) => return Err(error).context("cannot rename the database"),
        }
        if started.elapsed() >= DRAIN {
            bail!("the database is still in use {DRAIN:?} after its connections were ended");
        }
        thread::sleep(TICK);
    }
}
