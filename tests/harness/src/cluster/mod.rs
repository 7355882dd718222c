//! A private Postgres: its own data, port and socket in a temporary folder,
//! stopped and removed when it is dropped or this program ends.
//!
//! Postgres refuses to run as root, so under root it runs as the user that
//! its package made.

mod crash;
mod made;
mod standby;

pub use self::made::without_pg_variables;
use self::made::{Owner, data, folder, initdb, log, settings};
use crate::DEADLINE;
use crate::leash::{self, Leash};
use crate::server::Server;
use crate::step;
use anyhow::{Context as _, Result, anyhow, bail};
use postgres::{Client, Config, NoTls};
use rustix::process::Signal;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The superuser, whatever the system's user is called.
pub const SUPERUSER: &str = "postgres";
const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Number of ports to try if another process takes the one that was free.
const PORT_TRIES: usize = 10;

/// Whether a commit must survive a crash of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The default settings of a server, for the demo and for measurements.
    Durable,
    /// No fsync: for tests, whose data need not outlive the machine's crash.
    Fast,
}

/// A running server. Its folder contains the data, the socket and the log, and may
/// contain the caller's files too.
#[derive(Debug)]
pub struct Cluster {
    server: Server,
    port: u16,
    postmaster: Child,
    owner: Owner,
    environment: Vec<(&'static str, OsString)>,
    // The order matters: the leash is released when the folder has been removed.
    folder: TempDir,
    leash: Leash,
}

impl Cluster {
    /// Creates and starts a cluster, which is ready for connections on return.
    pub fn start(server: &Server, durability: Durability) -> Result<Self> {
        Self::start_with(server, durability, |_| Vec::new())
    }

    /// As [`Cluster::start`], with these variables in the server's environment, computed
    /// from the cluster's folder.
    pub fn start_with(
        server: &Server,
        durability: Durability,
        environment: impl FnOnce(&Path) -> Vec<(&'static str, OsString)>,
    ) -> Result<Self> {
        Self::create(server, durability, &[], environment)
    }

    /// The same as [`Cluster::start`], with more settings, which override the harness's own.
    pub fn start_set(
        server: &Server,
        durability: Durability,
        more: &[(&str, &str)],
    ) -> Result<Self> {
        Self::create(server, durability, more, |_| Vec::new())
    }

    fn create(
        server: &Server,
        durability: Durability,
        more: &[(&str, &str)],
        environment: impl FnOnce(&Path) -> Vec<(&'static str, OsString)>,
    ) -> Result<Self> {
        let folder = folder()?;
        let leash = Leash::new("QUIT", Some(folder.path()))?;
        let owner = Owner::find(folder.path())?;
        initdb(server, folder.path(), owner)?;
        fs::OpenOptions::new()
            .append(true)
            .open(data(folder.path()).join("postgresql.conf"))?
            .write_all(settings(folder.path(), durability, more).as_bytes())
            .context("cannot write postgresql.conf")?;
        let environment = environment(folder.path());
        Self::launch(server, folder, owner, environment, leash)
    }

    /// Starts the cluster in the folder, on a free port.
    fn launch(
        server: &Server,
        folder: TempDir,
        owner: Owner,
        environment: Vec<(&'static str, OsString)>,
        leash: Leash,
    ) -> Result<Self> {
        for _ in 0..PORT_TRIES {
            let port = free_port()?;
            let mut postmaster = spawn(server, folder.path(), owner, port, &environment)?;
            leash.hold(postmaster.id())?;
            match ready(&mut postmaster, folder.path(), port)? {
                Ready::Yes => {
                    return Ok(Self {
                        server: server.clone(),
                        port,
                        postmaster,
                        owner,
                        environment,
                        folder,
                        leash,
                    });
                }
                Ready::PortTaken => {}
            }
        }
        bail!("no free port after {PORT_TRIES} tries")
    }

    /// Kills the postmaster with SIGKILL; its backends notice that and end.
    pub fn kill(&mut self) -> Result<()> {
        leash::signal(self.postmaster.id(), Signal::KILL)?;
        self.postmaster.wait()?;
        Ok(())
    }

    /// Restarts the server on the same port after [`Cluster::kill`]; it is ready on
    /// return.
    pub fn restart(&mut self) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        let (folder, port) = (self.folder.path(), self.port);
        loop {
            // The log of an earlier attempt must not be mistaken for this one's.
            let said = self.log().len();
            let environment = &self.environment;
            self.postmaster = spawn(&self.server, folder, self.owner, port, environment)?;
            self.leash.hold(self.postmaster.id())?;
            // An outgoing connection of another process may use the port for a moment.
            let (error, taken) = match ready(&mut self.postmaster, folder, port) {
                Ok(Ready::Yes) => return Ok(()),
                Ok(Ready::PortTaken) => {
                    let error = anyhow!("the port {port} was taken meanwhile");
                    (error, true)
                }
                Err(error) => (error, false),
            };
            let log = self.log();
            let said = log.get(said..).unwrap_or_default();
            // The last backends of the killed one are still ending.
            if !(taken || said.contains("still in use")) || Instant::now() >= deadline {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The postmaster's process id.
    pub fn id(&self) -> u32 {
        self.postmaster.id()
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn host(&self) -> Ipv4Addr {
        HOST
    }

    /// The cluster's temporary folder, removed with it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The URL a worker connects with.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://{SUPERUSER}@{HOST}:{}/{database}", self.port)
    }

    pub fn connect(&self, database: &str) -> Result<Client> {
        config(self.port, database)
            .connect(NoTls)
            .with_context(|| format!("cannot connect to {}", self.url(database)))
    }

    pub fn create_database(&self, name: &str) -> Result<()> {
        // The template keeps the database free of whatever template1 gets.
        self.connect("postgres")?
            .batch_execute(&format!("create database \"{name}\" template template0"))
            .with_context(|| format!("cannot create the database {name}"))
    }

    /// A copy of a database that nobody is connected to.
    pub fn copy_database(&self, from: &str, name: &str) -> Result<()> {
        self.connect("postgres")?
            .batch_execute(&format!("create database \"{name}\" template \"{from}\""))
            .with_context(|| format!("cannot create the database {name}"))
    }

    /// One of the server's client programs, pointed at this cluster.
    pub fn client_program(&self, name: &str) -> Command {
        let mut command = Command::new(self.server.program(name));
        without_pg_variables(&mut command)
            .env("PGHOST", HOST.to_string())
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", SUPERUSER);
        command
    }

    /// Runs SQL with psql, stopping at the first error; returns bare rows.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String> {
        step::output(self.client_program("psql").args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            database,
            "-c",
            sql,
        ]))
    }

    /// The server's log, for the report of a failure.
    pub fn log(&self) -> String {
        fs::read_to_string(log(self.folder.path())).unwrap_or_default()
    }

    /// Makes a program run as the server's user.
    pub(crate) fn become_owner(&self, command: &mut Command) {
        self.owner.become_it(command);
    }

    /// Gives a file or folder to the server's user.
    pub(crate) fn give(&self, path: &Path) -> Result<()> {
        self.owner.give(path)
    }

    /// Where the server logs.
    pub fn log_file(&self) -> PathBuf {
        log(self.folder.path())
    }

    /// The command line to connect by hand.
    pub fn psql_line(&self, database: &str) -> String {
        format!(
            "{} '{}'",
            self.server.program("psql").display(),
            self.url(database)
        )
    }
}

impl Drop for Cluster {
    /// The shutdown is immediate, because the data is removed anyway.
    fn drop(&mut self) {
        let _ = leash::signal(self.postmaster.id(), Signal::QUIT);
        // A stopped process receives the signal when it continues.
        let _ = leash::signal(self.postmaster.id(), Signal::CONT);
        if !matches!(
            leash::wait(&mut self.postmaster, Duration::from_secs(10)),
            Ok(Some(_))
        ) {
            let _ = self.postmaster.kill();
            let _ = self.postmaster.wait();
        }
        // The report of a failed test contains the server's log.
        if std::thread::panicking() {
            eprintln!("--- the server's log\n{}", self.log());
        }
    }
}

fn spawn(
    server: &Server,
    folder: &Path,
    owner: Owner,
    port: u16,
    environment: &[(&str, OsString)],
) -> Result<Child> {
    let log: File = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log(folder))
        .context("cannot open the server's log")?;
    let mut command = Command::new(server.program("postgres"));
    without_pg_variables(&mut command)
        .arg("-D")
        .arg(data(folder))
        .args(["-p", &port.to_string()])
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir(folder)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    owner.become_it(&mut command);
    command
        .spawn()
        .with_context(|| format!("cannot run {}", step::shown(&command)))
}

enum Ready {
    Yes,
    PortTaken,
}

fn ready(postmaster: &mut Child, folder: &Path, port: u16) -> Result<Ready> {
    let log = || fs::read_to_string(log(folder)).unwrap_or_default();
    let deadline = Instant::now() + DEADLINE;
    // The connection uses the socket in the cluster's folder, because another server may
    // answer on the port.
    let mut by_socket = Config::new();
    by_socket
        .host_path(folder)
        .port(port)
        .user(SUPERUSER)
        .dbname("postgres");
    loop {
        if let Some(status) = postmaster.try_wait()? {
            let log = log();
            if log.contains("Address already in use") {
                return Ok(Ready::PortTaken);
            }
            bail!("the private Postgres ended ({status})\n{log}");
        }
        if by_socket.connect(NoTls).is_ok() {
            return Ok(Ready::Yes);
        }
        if Instant::now() >= deadline {
            bail!(
                "the private Postgres is not ready after {DEADLINE:?}\n{}",
                log()
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn config(port: u16, database: &str) -> Config {
    let mut config = Config::new();
    config
        .host(&HOST.to_string())
        .port(port)
        .user(SUPERUSER)
        .dbname(database);
    config
}

/// A port that was free when it was requested; it may be taken by now.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((HOST, 0)).context("cannot find a free port")?;
    Ok(listener.local_addr()?.port())
}
