//! The laboratory in which rows are measured: private clusters with the same settings for all contenders, the
//! contenders' tables, and the processes beside Postgres.

pub(crate) mod contender;
pub(crate) mod copy;
pub(crate) mod prefill;
pub(crate) mod tables;

use crate::measure::meter::Watched;
use crate::progress::Progress;
use anyhow::{Context as _, Result};
use postgres::Client;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tidings_harness::cluster::{Cluster, Durability};
use tidings_harness::server::Server;
use tidings_harness::worker::{self, ANY_PORT, Worker};

/// Settings of every cluster, beside the server's defaults; a row that adds some says so.
pub(crate) const SETTINGS: [(&str, &str); 3] = [
    ("shared_buffers", "2GB"),
    ("max_wal_size", "4GB"),
    ("maintenance_work_mem", "512MB"),
];

/// Settings that are printed, as the server has them.
pub(crate) const SHOWN: [&str; 12] = [
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_level",
    "wal_compression",
    "shared_buffers",
    "max_wal_size",
    "checkpoint_timeout",
    "maintenance_work_mem",
    "work_mem",
    "autovacuum",
    "jit",
];

/// The database from which each contender's is made.
const TEMPLATE: &str = "bench";

/// The key of PushPushGo's signatures.
pub(crate) const PROJECT: &str = "5d411352784425000bd02a15";
/// Headers of Arpoone's requests.
pub(crate) const URL_TOKEN: &str = "b9d20c";

/// The amount of work in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// The least work that shows that everything runs.
    Smoke,
    Short,
    /// Ten minutes for what a short run cannot tell.
    Long,
}

/// The means that every row is given.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) server: Server,
    pub(crate) size: Size,
    pub(crate) progress: Progress,
}

impl Lab {
    /// The one or the other number, by the size of the run.
    pub(crate) fn pick<T>(&self, smoke: T, real: T) -> T {
        match self.size {
            Size::Smoke => smoke,
            Size::Short | Size::Long => real,
        }
    }

    /// So long each contender works in a round, in which it does the same thing all the time.
    pub(crate) fn window(&self) -> Duration {
        self.pick(Duration::from_millis(300), Duration::from_secs(5))
    }

    /// A new cluster, with these settings beside [`SETTINGS`].
    pub(crate) fn bed(&self, more: &[(&str, &str)]) -> Result<Bed> {
        self.progress.say("starting a private Postgres");
        let settings: Vec<_> = SETTINGS.iter().chain(more).copied().collect();
        let bed = Bed {
            cluster: Cluster::start_set(&self.server, Durability::Durable, &settings)?,
            made: AtomicU32::new(0),
        };
        bed.cluster.create_database(TEMPLATE)?;
        let mut client = bed.connect(TEMPLATE)?;
        client
            .batch_execute("create extension tidings; select from tidings.maintain()")
            .context("cannot create the extension: run `make install`")?;
        let add = "select tidings.add_source($1, $2, $3)";
        client.execute(add, &[&"web-push", &"pushpushgo", &PROJECT])?;
        client.execute(add, &[&"sms", &"arpoone", &URL_TOKEN])?;
        tables::create(&mut client)?;
        client.batch_execute("vacuum analyze")?;
        Ok(bed)
    }
}

/// A cluster, in which each contender gets a fresh database.
#[derive(Debug)]
pub(crate) struct Bed {
    pub(crate) cluster: Cluster,
    made: AtomicU32,
}

impl Bed {
    /// A copy of the template. Its pages are on the disk, so that nobody writes them for it
    /// while another one is measured.
    pub(crate) fn database(&self) -> Result<String> {
        let name = format!("bench_{}", self.made.fetch_add(1, Ordering::Relaxed));
        self.connect("postgres")?
            .batch_execute(&format!("create database {name} template {TEMPLATE}"))
            .with_context(|| format!("cannot create the database {name}"))?;
        self.checkpoint()?;
        Ok(name)
    }

    pub(crate) fn drop_database(&self, name: &str) -> Result<()> {
        let drop = format!("drop database {name} with (force)");
        Ok(self.connect("postgres")?.batch_execute(&drop)?)
    }

    pub(crate) fn checkpoint(&self) -> Result<()> {
        Ok(self.connect("postgres")?.batch_execute("checkpoint")?)
    }

    pub(crate) fn connect(&self, database: &str) -> Result<Client> {
        self.cluster.connect(database)
    }

    /// Processes that a meter watches: those of this cluster, and perhaps one beside it.
    pub(crate) fn watched(&self, process: Option<u32>) -> Watched {
        Watched {
            postmaster: self.cluster.id(),
            process,
        }
    }

    /// A worker with these flags, which knows its sources.
    pub(crate) fn worker(&self, database: &str, flags: &[&str]) -> Result<Worker> {
        let mut command = worker::command(&self.cluster.url(database), ANY_PORT, ANY_PORT)?;
        command.args(flags);
        let log = self.cluster.folder().join("worker.log");
        let mut worker = Worker::spawn(&mut command, &log)?;
        worker.wait_ready()?;
        Ok(worker)
    }
}
