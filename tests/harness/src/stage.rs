//! A private Postgres with the extension and a worker, for the demo and the end-to-end
//! tests.

use crate::cluster::{Cluster, Durability};
use crate::emulator::{Emulator, Play};
use crate::metrics;
use crate::server::Server;
use crate::sources::{self, Wish};
use crate::worker::{self, ANY_PORT, Worker};
use anyhow::{Context as _, Result};
use postgres::Client;

pub const DATABASE: &str = "tidings";

/// The fields are dropped in this order: the worker first, then its database.
#[derive(Debug)]
pub struct Stage {
    pub worker: Worker,
    pub cluster: Cluster,
}

/// A cluster whose database has the extension, without a worker.
pub fn cluster(server: &Server, durability: Durability) -> Result<Cluster> {
    let cluster = Cluster::start(server, durability)?;
    cluster.create_database(DATABASE)?;
    cluster
        .connect(DATABASE)?
        .batch_execute("create extension tidings")
        .context("cannot create the extension: run `make install`")?;
    Ok(cluster)
}

impl Stage {
    pub fn set(server: &Server, durability: Durability) -> Result<Self> {
        Self::set_with(server, durability, &[])
    }

    /// Starts a stage whose worker has these flags.
    pub fn set_with(server: &Server, durability: Durability, flags: &[&str]) -> Result<Self> {
        Self::set_on(cluster(server, durability)?, flags)
    }

    /// Starts a stage whose worker has a spool, in the cluster's folder, and these further flags.
    pub fn set_with_spool(server: &Server, durability: Durability, flags: &[&str]) -> Result<Self> {
        let cluster = cluster(server, durability)?;
        let folder = cluster.folder().join("spool");
        let spool = ["--spool-dir", folder.to_str().context("not UTF-8")?];
        Self::set_on(cluster, &[&spool, flags].concat())
    }

    fn set_on(cluster: Cluster, flags: &[&str]) -> Result<Self> {
        let mut command = worker::command(&cluster.url(DATABASE), ANY_PORT, ANY_PORT)?;
        command.args(flags);
        let mut worker = Worker::spawn(&mut command, &cluster.folder().join("worker.log"))?;
        worker.wait_ready()?;
        Ok(Self { worker, cluster })
    }

    pub fn connect(&self) -> Result<Client> {
        self.cluster.connect(DATABASE)
    }

    /// Starts the emulator, then adds its sources: the worker runs already,
    /// and must pick them up.
    pub fn add_emulator(&self, play: &Play<'_>) -> Result<Emulator> {
        self.add_emulator_with(play, |_| Vec::new())
    }

    /// As [`Stage::add_emulator`], with more options for some of its sources; they may
    /// depend on where the emulator listens.
    pub fn add_emulator_with<'a>(
        &self,
        play: &Play<'_>,
        wishes: impl FnOnce(&Emulator) -> Vec<Wish<'a>>,
    ) -> Result<Emulator> {
        let emulator = Emulator::start(play, self.cluster.folder())?;
        let wishes = wishes(&emulator);
        sources::add_all_with(&mut self.connect()?, emulator.ppoppo, &wishes)?;
        Ok(emulator)
    }

    pub fn restart_worker_hard(&mut self) -> Result<()> {
        self.worker.kill_and_restart(&self.cluster.url(DATABASE))
    }

    /// The ends of all logs, the rejected rows and the worker's counters, for the report
    /// of a failure.
    pub fn logs(&self) -> String {
        let rejected = self
            .cluster
            .psql(
                DATABASE,
                "select s.name, r.verdict, r.reason, count(*)
                 from tidings.rejected r join tidings.source s on s.id = r.source_id
                 group by 1, 2, 3 order by 1, 2, 3",
            )
            .unwrap_or_else(|error| format!("{error:#}"));
        format!(
            "{}\n--- the server's log\n{}--- rejected\n{rejected}\n--- counted\n{}",
            self.worker.tail(),
            self.cluster.log(),
            metrics::counters(self.worker.admin).unwrap_or_else(|error| format!("{error:#}")),
        )
    }
}

/// How many partitions of `tidings.event` there are.
pub fn partitions(client: &mut Client) -> Result<u64> {
    let row = client.query_one(
        "select count(*) from pg_inherits where inhparent = 'tidings.event'::regclass",
        &[],
    )?;
    Ok(u64::try_from(row.try_get::<_, i64>(0)?)?)
}
