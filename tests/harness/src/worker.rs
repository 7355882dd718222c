//! The worker, as a process.

use crate::DEADLINE;
use crate::cluster::without_pg_variables;
use crate::http;
use crate::paths;
use crate::process::{Process, Signal, Speaks};
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

/// The shortest time of a lease.
const LEASE_TIME: &str = "1s";
/// Port 0 of the loopback: any that is free.
pub const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A worker that listens.
#[derive(Debug)]
pub struct Worker {
    process: Process,
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    /// Probes and metrics.
    pub admin: SocketAddr,
}

/// The log line that says where it listens.
#[derive(Deserialize)]
struct Listening {
    message: String,
    http: SocketAddr,
    grpc: SocketAddr,
    admin: SocketAddr,
}

impl Listening {
    /// From a log in either format.
    fn read(line: &str) -> Option<Self> {
        if let Ok(listening) = serde_json::from_str(line) {
            return Some(listening);
        }
        let field = |name: &str| {
            let mut words = line.split_whitespace();
            words.find_map(|word| word.strip_prefix(name)?.parse().ok())
        };
        Some(Self {
            message: line
                .contains(": listening ")
                .then(|| "listening".to_owned())?,
            http: field("http=")?,
            grpc: field("grpc=")?,
            admin: field("admin=")?,
        })
    }
}

/// `tidings-worker run`, with nothing from this program's environment.
pub fn command(database_url: &str, http: SocketAddr, grpc: SocketAddr) -> Result<Command> {
    let mut command = command_without_url(http, grpc)?;
    command.args(["--database-url", database_url]);
    Ok(command)
}

/// The same as [`command`], for a worker that finds its database in another way.
pub fn command_without_url(http: SocketAddr, grpc: SocketAddr) -> Result<Command> {
    let mut command = Command::new(paths::program("tidings-worker")?);
    for name in [
        "DATABASE_URL",
        "DATABASE_URL_FILE",
        "RUST_LOG",
        "TIDINGS_SPOOL_DIR",
    ] {
        command.env_remove(name);
    }
    without_pg_variables(&mut command)
        .arg("run")
        // Flags override these. The leases of a killed worker expire soon.
        .env("TIDINGS_LEASE_TIME", LEASE_TIME)
        .env("TIDINGS_ADMIN_LISTEN", ANY_PORT.to_string())
        .args(["--http-listen", &http.to_string()])
        .args(["--grpc-listen", &grpc.to_string()]);
    Ok(command)
}

impl Worker {
    /// Starts it on the given addresses and waits until it listens.
    pub fn start(
        database_url: &str,
        http: SocketAddr,
        grpc: SocketAddr,
        log: &Path,
    ) -> Result<Self> {
        Self::spawn(&mut command(database_url, http, grpc)?, log)
    }

    /// As [`Worker::start`], by a command line of the caller's.
    pub fn spawn(command: &mut Command, log: &Path) -> Result<Self> {
        let mut process = Process::start("tidings-worker", command, log, Speaks::Stderr)?;
        loop {
            let line = process.line(DEADLINE)?;
            let Some(listening) = Listening::read(&line) else {
                continue;
            };
            if listening.message == "listening" {
                return Ok(Self {
                    process,
                    http: listening.http,
                    grpc: listening.grpc,
                    admin: listening.admin,
                });
            }
        }
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until it has its database and its sources.
    pub fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let answer = http::get(self.admin, "/readyz")?;
            if answer.status == 200 {
                return Ok(());
            }
            self.check_running()?;
            if Instant::now() >= deadline {
                bail!("the worker is not ready: {}\n{}", answer.body, self.tail());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGKILL, then a new worker on the same addresses.
    pub fn kill_and_restart(&mut self, database_url: &str) -> Result<()> {
        self.process.kill()?;
        let log = self.process.log().to_owned();
        let mut command = command(database_url, self.http, self.grpc)?;
        command.args(["--admin-listen", &self.admin.to_string()]);
        *self = Self::spawn(&mut command, &log).context("the worker does not start again")?;
        Ok(())
    }

    /// SIGSTOP: it does nothing until [`Worker::resume`].
    pub fn pause(&self) -> Result<()> {
        self.process.pause()
    }

    pub fn resume(&self) -> Result<()> {
        self.process.resume()
    }

    /// SIGKILL, and gone on return.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// SIGTERM, and its exit status once it has drained.
    pub fn drain(&mut self, within: Duration) -> Result<ExitStatus> {
        self.process.terminate()?;
        self.process.ended(within)
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Nobody reads its log until [`Worker::read_log`].
    pub fn leave_log_unread(&self) {
        self.process.leave_unread();
    }

    pub fn read_log(&self) {
        self.process.read();
    }

    /// SIGTERM alone.
    pub fn terminate(&mut self) -> Result<()> {
        self.process.terminate()
    }

    pub fn ended(&mut self, within: Duration) -> Result<ExitStatus> {
        self.process.ended(within)
    }

    /// An error with its log when it has ended.
    pub fn check_running(&mut self) -> Result<()> {
        if let Some(status) = self.process.has_ended()? {
            bail!("the worker ended by itself ({status})\n{}", self.tail());
        }
        Ok(())
    }

    pub fn tail(&self) -> String {
        self.process.tail()
    }
}
