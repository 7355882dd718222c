//! A standby: a copy of a running cluster that replays its WAL, with a folder, a port and
//! processes of its own.

use super::made::{Owner, data, settings, without_pg_variables};
use super::{Cluster, Durability, HOST, SUPERUSER};
use crate::DEADLINE;
use crate::leash::Leash;
use crate::step;
use anyhow::{Context as _, Result, bail};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

impl Cluster {
    /// Copies this cluster and starts the copy as its standby, which accepts read-only
    /// connections on return.
    pub fn standby(&self) -> Result<Self> {
        let folder = super::made::folder()?;
        let leash = Leash::new("QUIT", Some(folder.path()))?;
        let owner = Owner::find(folder.path())?;
        let mut copy = Command::new(self.server.program("pg_basebackup"));
        without_pg_variables(&mut copy)
            .args(["--host", &HOST.to_string()])
            .args(["--port", &self.port.to_string()])
            .args(["--username", SUPERUSER])
            .args(["--checkpoint", "fast", "--no-sync", "--write-recovery-conf"])
            .arg("--pgdata")
            .arg(data(folder.path()))
            .current_dir(folder.path());
        owner.become_it(&mut copy);
        step::output(&mut copy)?;
        // The last value of a setting counts; the copied ones are the primary's.
        OpenOptions::new()
            .append(true)
            .open(data(folder.path()).join("postgresql.conf"))?
            .write_all(settings(folder.path(), Durability::Fast, &[]).as_bytes())
            .context("cannot write postgresql.conf")?;
        Self::launch(&self.server, folder, owner, Vec::new(), leash)
    }

    /// After the return, a commit of this cluster is answered only when a standby has it.
    pub fn require_standby(&self) -> Result<()> {
        let mut client = self.connect("postgres")?;
        client.batch_execute("alter system set synchronous_standby_names = '*'")?;
        client.batch_execute("select pg_reload_conf()")?;
        // The setting must be known to all backends.
        let ready = "select current_setting('synchronous_standby_names') = '*' and exists (
            select from pg_stat_replication where state = 'streaming' and sync_state = 'sync')";
        poll("no standby is synchronous", || {
            let ready = self.connect("postgres")?.query_one(ready, &[])?;
            Ok(ready.try_get(0)?)
        })?;
        // Commits wait as soon as the checkpointer has read the setting, which it does
        // before the checkpoint.
        client.batch_execute("checkpoint")?;
        Ok(())
    }

    /// Promotes a standby, which accepts writes on return.
    pub fn promote(&self) -> Result<()> {
        let mut client = self.connect("postgres")?;
        client.batch_execute("select pg_promote(wait => false)")?;
        poll("the standby is not promoted", || {
            let row = client.query_one("select not pg_is_in_recovery()", &[])?;
            Ok(row.try_get(0)?)
        })
    }

    /// A URL that connects to the one of these clusters that accepts writes.
    pub fn url_of_primary(clusters: &[&Self], database: &str) -> String {
        let places: Vec<String> = clusters
            .iter()
            .map(|cluster| format!("{HOST}:{}", cluster.port))
            .collect();
        format!(
            "postgresql://{SUPERUSER}@{}/{database}?target_session_attrs=read-write",
            places.join(",")
        )
    }
}

fn poll(lacking: &str, mut ask: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    while !ask()? {
        if Instant::now() >= deadline {
            bail!("{lacking} after {DEADLINE:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
