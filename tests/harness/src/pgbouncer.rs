//! A pgbouncer before a private cluster: few connections to the server, shared by any
//! number of clients. Its files are in the cluster's folder. It ends when it is dropped
//! or when this program ends.

use crate::DEADLINE;
use crate::cluster::{Cluster, SUPERUSER, free_port};
use crate::process::{Process, Speaks};
use anyhow::{Context as _, Result, bail};
use postgres::{Client, NoTls};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

const PORT_TRIES: usize = 10;
/// Where packages put it: Debian's is not in everybody's PATH.
const PLACES: [&str; 3] = ["/usr/sbin", "/usr/bin", "/usr/local/bin"];

/// How long a client has a connection of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Session,
    Transaction,
}

#[derive(Debug)]
pub struct Pgbouncer {
    process: Process,
    cluster: String,
    port: u16,
}

impl Pgbouncer {
    /// Starts one with so many connections to the server, for each database.
    pub fn start(cluster: &Cluster, mode: Mode, connections: u32) -> Result<Self> {
        let program = program()?;
        for _ in 0..PORT_TRIES {
            let port = free_port()?;
            let config = cluster.folder().join(format!("pgbouncer-{port}.ini"));
            fs::write(&config, settings(cluster, mode, connections, port))
                .with_context(|| format!("cannot write {}", config.display()))?;
            let mut command = Command::new(&program);
            // It refuses to run as root, as the server does.
            cluster.become_owner(command.arg(&config));
            let log = cluster.folder().join("pgbouncer.log");
            let process = Process::start("pgbouncer", &mut command, &log, Speaks::Stderr)?;
            let cluster = format!("{}:{}", cluster.host(), cluster.port());
            let mut pooler = Self {
                process,
                cluster,
                port,
            };
            if pooler.is_up()? {
                return Ok(pooler);
            }
        }
        bail!("no free port after {PORT_TRIES} tries")
    }

    /// Waits until it listens, or has found its port taken.
    fn is_up(&mut self) -> Result<bool> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.process.line(left)?;
            if line.contains("Address already in use") {
                return Ok(false);
            }
            if line.contains("process up") {
                return Ok(true);
            }
        }
    }

    /// The URL of a database behind it.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgresql://{SUPERUSER}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    pub fn connect(&self, database: &str) -> Result<Client> {
        Client::connect(&self.url(database), NoTls)
            .with_context(|| format!("cannot connect to {} through pgbouncer", self.cluster))
    }

    pub fn tail(&self) -> String {
        self.process.tail()
    }
}

fn program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(PLACES.map(PathBuf::from))
        .map(|folder| folder.join("pgbouncer"))
        .find(|program| program.is_file())
        .context("pgbouncer is missing: run `make setup`")
}

fn settings(cluster: &Cluster, mode: Mode, connections: u32, port: u16) -> String {
    let mode = match mode {
        Mode::Session => "session",
        Mode::Transaction => "transaction",
    };
    // `any` lets everybody in, as the cluster does, and needs a user that is named here.
    format!(
        "[databases]\n\
         * = host={} port={} user={SUPERUSER}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = any\n\
         pool_mode = {mode}\n\
         default_pool_size = {connections}\n\
         max_client_conn = 200\n\
         log_connections = 0\n\
         log_disconnections = 0\n",
        cluster.host(),
        cluster.port(),
    )
}
