//! The receivers beside which the worker is measured.

use super::{Bed, PROJECT};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use tidings_harness::DEADLINE;
use tidings_harness::paths;
use tidings_harness::process::{Process, Speaks};
use tidings_harness::step::Missing;

/// A receiver that listens.
#[derive(Debug)]
pub(crate) struct Receiver {
    process: Process,
    pub(crate) http: SocketAddr,
}

impl Receiver {
    /// actix-web and tokio-postgres.
    pub(crate) fn rust(bed: &Bed, database: &str, table: &str, connections: u32) -> Result<Self> {
        let mut command = Command::new(paths::program("tidings-bench-receiver")?);
        Self::start(bed, database, table, connections, &mut command)
    }

    /// The same, which keeps the state of messages too.
    pub(crate) fn rust_with_state(
        bed: &Bed,
        database: &str,
        table: &str,
        connections: u32,
    ) -> Result<Self> {
        let mut command = Command::new(paths::program("tidings-bench-receiver")?);
        command.env("STATE", "contender.message");
        Self::start(bed, database, table, connections, &mut command)
    }

    /// Express and pg, as `xtask/setup.sh bench` has installed them.
    pub(crate) fn express(
        bed: &Bed,
        database: &str,
        table: &str,
        connections: u32,
    ) -> Result<Self> {
        let folder = paths::target().join("bench/express");
        if !folder.join("node_modules/express").is_dir() {
            let reason = "Express is not installed: run `xtask/setup.sh bench`";
            bail!(Missing::new(reason.to_owned()));
        }
        // Node looks for modules beside the program.
        let program = folder.join("server.js");
        fs::copy(
            paths::root().join("bench/contenders/express/server.js"),
            &program,
        )?;
        let mut command = Command::new("node");
        command.arg(program).env("NODE_ENV", "production");
        Self::start(bed, database, table, connections, &mut command)
    }

    fn start(
        bed: &Bed,
        database: &str,
        table: &str,
        connections: u32,
        command: &mut Command,
    ) -> Result<Self> {
        command
            .env("DATABASE_URL", bed.cluster.url(database))
            .env("TABLE", table)
            .env("PROJECT", PROJECT)
            .env("CONNECTIONS", connections.to_string());
        let log = bed.cluster.folder().join("receiver.log");
        let mut process = Process::start("a receiver", command, &log, Speaks::Stdout)?;
        let line = process.line(DEADLINE)?;
        let http = line
            .parse()
            .with_context(|| format!("the receiver said `{line}`"))?;
        Ok(Self { process, http })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}
