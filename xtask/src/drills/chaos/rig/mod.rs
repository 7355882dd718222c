//! The system that the drill breaks: Postgres, a worker with a spool, the emulated
//! providers, and a proxy on each path between them.

mod control;
mod draining;
mod moved;
mod recreated;
mod secret;

use self::control::Cutter;
use self::secret::Rotating;
use super::counts::{Counts, FAILED};
use super::disk::SmallDisk;
use super::fault::{Kind, Link};
use super::pause::Pause;
use super::schedule::Step;
use anyhow::{Context as _, Result, bail};
use postgres::Client;
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use tidings_harness::cluster::{Cluster, Durability, SUPERUSER};
use tidings_harness::emulator::{Emulator, Play};
use tidings_harness::http;
use tidings_harness::metrics;
use tidings_harness::paths;
use tidings_harness::proxy::{Conduct, Proxy};
use tidings_harness::server::Server;
use tidings_harness::sources::{self, CHANNELS, Wish};
use tidings_harness::stage::{self, DATABASE};
use tidings_harness::step;
use tidings_harness::strangers::noise::{MALFORMED, Noise, UNKNOWN};
use tidings_harness::worker::{self, ANY_PORT, Worker};

/// The worker's time limit for a drain: longer than a connection may hang.
const DRAIN_TIMEOUT: &str = "60s";
/// Longer than that.
const DRAIN: Duration = Duration::from_secs(70);
/// Shorter than the long pauses.
const LEASE: &str = "3s";
/// Seconds between the worker's pings: shorter than a provider might accept, so that the
/// drill need not wait for minutes.
const KEEPALIVE: u32 = 2;

/// All providers, and both of Ppoppo's streams.
const PLAYED: &str = "ppoppo,ppoppo-channels,pushwoosh,pushwoosh-grpc,arpoone,pushpushgo";

/// Time limit until a webhook is refused because the disk is full.
const NOTICED: Duration = Duration::from_secs(30);

/// Requests of each kind a second that are made to fill the log.
const NOISE: u64 = 500;
/// The worker logs each refusal, so that it has something to write while nobody reads.
const LOG: &str = "info,actix_server=warn,tidings_worker=debug";

const TICK: Duration = Duration::from_millis(20);

/// The order of dropping matters: a stopped process must continue before it can end.
#[derive(Debug)]
pub(super) struct Rig {
    paused: Vec<(Kind, Pause)>,
    noise: Vec<Noise>,
    cutter: Option<Cutter>,
    rotating: Rotating,
    pub(super) emulator: Emulator,
    pub(super) worker: Worker,
    webhooks: Proxy,
    pushes: Proxy,
    stream: Proxy,
    database: Proxy,
    spool: PathBuf,
    /// The provider's own list of send requests, when the emulator has ended.
    pub(super) requests: PathBuf,
    /// Requests to the spool, by their outcome.
    pub(super) spooled: Counts,
    disk: Option<SmallDisk>,
    pub(super) cluster: Cluster,
}

/// What the emulator sends meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) events: u64,
    pub(super) seed: u64,
    pub(super) rate: u64,
}

impl Rig {
    /// Starts everything; the emulator waits for its start line.
    pub(super) fn set(server: &Server, disk: Option<SmallDisk>, load: Load) -> Result<Self> {
        // The cluster runs without fsync, because the writes of a killed process stay in
        // the kernel. Only a crash of the machine would lose them.
        let cluster = stage::cluster(server, Durability::Fast)?;
        let database = Proxy::start((cluster.host(), cluster.port()).into())?;
        let spool = disk.as_ref().map_or(cluster.folder(), SmallDisk::path);
        let spool = spool.join("spool");
        let worker = start(&cluster, &database, &spool)?;
        let webhooks = Proxy::start(worker.http)?;
        let pushes = Proxy::start(worker.grpc)?;
        let requests = cluster.folder().join("requests.jsonl");
        let flags = ["--requests", requests.to_str().context("not UTF-8")?];
        let play = Play {
            events: load.events,
            seed: load.seed,
            duplicates: 0.05,
            rate: load.rate,
            only: Some(PLAYED),
            flags: &flags,
            http: webhooks.address(),
            grpc: pushes.address(),
        };
        let emulator = Emulator::start(&play, cluster.folder())?;
        let stream = Proxy::start(emulator.ppoppo)?;
        let keepalive = ["ppoppo", CHANNELS.name].map(|source| Wish {
            source,
            options: json!({ "keepalive": KEEPALIVE }),
            secret: None,
        });
        let mut client = cluster.connect(DATABASE)?;
        sources::add_all_with(&mut client, stream.address(), &keepalive)?;
        sources::add_channels(&mut client, stream.address(), &keepalive)?;
        let rotating = Rotating::add(&mut client)?;
        let mut rig = Self {
            paused: Vec::new(),
            noise: Vec::new(),
            cutter: None,
            rotating,
            emulator,
            worker,
            webhooks,
            pushes,
            stream,
            database,
            spool,
            requests,
            spooled: Counts::of("tidings_worker_spooled_total", "result"),
            disk,
            cluster,
        };
        rig.worker.wait_ready()?;
        Ok(rig)
    }

    /// Not through a proxy.
    pub(super) fn connect(&self) -> Result<Client> {
        self.cluster.connect(DATABASE)
    }

    /// Gives the worker a new spool when the old one is empty, because a file that has
    /// grown has free space inside and does not notice a full disk for a while.
    pub(super) fn renew_spool(&mut self) -> Result<()> {
        let started = Instant::now();
        while !self.is_drained() && started.elapsed() < DRAIN {
            thread::sleep(TICK);
        }
        self.drain()?;
        let mut status = Command::new(paths::program("tidings-worker")?);
        status.args(["spool", "status", "--json", "--spool-dir"]);
        let status: Value = serde_json::from_str(&step::output(status.arg(&self.spool))?)?;
        // Damaged requests stay, and are reported at the end.
        let none = Some(&Value::from(0));
        if status.get("requests") == none && status.get("damaged") == none {
            fs::remove_dir_all(&self.spool).context("cannot remove the spool")?;
        }
        self.start_worker()?;
        self.worker.wait_ready()
    }

    /// Waits until the worker has noticed that the disk of its spool is full. Whether it
    /// has is judged at the end.
    pub(super) fn wait_full(&mut self) -> Result<()> {
        let started = Instant::now();
        let name = "tidings_worker_spooled_total";
        while started.elapsed() < NOTICED {
            self.check_running()?;
            // Of this worker: it began with the cycle.
            let counted = metrics::counter(self.worker.admin, name, "result")?;
            if counted.get(FAILED).is_some_and(|&failed| failed > 0) {
                break;
            }
            thread::sleep(TICK);
        }
        Ok(())
    }

    pub(super) fn take(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Begin(kind) => self.begin(kind),
            Step::End(kind) => self.end(kind),
        }
    }

    fn begin(&mut self, kind: Kind) -> Result<()> {
        match kind {
            Kind::KillWorker => self.kill_worker()?,
            Kind::DrainWorker => {
                self.count()?;
                self.worker.terminate()?;
            }
            Kind::KillPostgres => self.cluster.kill()?,
            Kind::Cut(link) => self.proxy(link).cut(),
            Kind::Lose(link) => self.proxy(link).lose(),
            Kind::ExpireCursors => {
                self.emulator.expire()?;
                self.proxy(Link::Stream).cut();
            }
            Kind::KillDraining => self.begin_draining()?,
            Kind::Refuse(link) => {
                self.proxy(link).conduct(Conduct::Refuse);
                self.proxy(link).cut();
            }
            Kind::Delay(link, by) => {
                let by = Duration::from_millis(by);
                self.proxy(link).conduct(Conduct::Delay(by));
            }
            Kind::Hold(link) | Kind::Swallow(link) => self.proxy(link).conduct(Conduct::Hold),
            Kind::PauseWorker => self.pause(kind, Pause::one(self.worker.id())?),
            Kind::PausePostgres => self.pause(kind, Pause::all(self.cluster.id())?),
            Kind::PausePostmaster => self.pause(kind, Pause::one(self.cluster.id())?),
            Kind::FullDisk => self.disk()?.fill()?,
            Kind::ChangeSecret => self.begin(Kind::Refuse(Link::Database))?,
            Kind::MoveSpool => self.move_spool()?,
            Kind::RecreateDatabase => self.take_database()?,
            Kind::CutControl => {
                self.cutter = Some(Cutter::start(&self.cluster.url(DATABASE))?);
            }
            Kind::BlockLog => {
                self.worker.leave_log_unread();
                let to = self.worker.http;
                self.noise = [MALFORMED, UNKNOWN]
                    .map(|requests| Noise::make(to, requests, NOISE))
                    .into();
            }
        }
        Ok(())
    }

    fn end(&mut self, kind: Kind) -> Result<()> {
        match kind {
            Kind::KillWorker => self.start_worker()?,
            Kind::DrainWorker => {
                self.drained()?;
                self.start_worker()?;
            }
            Kind::KillDraining => self.kill_draining()?,
            Kind::KillPostgres => self.cluster.restart()?,
            Kind::Cut(_) | Kind::Lose(_) | Kind::ExpireCursors => {}
            Kind::Swallow(link) => {
                self.proxy(link).cut();
                self.proxy(link).conduct(Conduct::Forward);
            }
            Kind::Refuse(link) | Kind::Delay(link, _) | Kind::Hold(link) => {
                self.proxy(link).conduct(Conduct::Forward);
            }
            Kind::PauseWorker | Kind::PausePostgres | Kind::PausePostmaster => {
                self.paused.retain(|(of, _)| *of != kind);
            }
            Kind::FullDisk => self.disk()?.empty()?,
            Kind::ChangeSecret => self.change_secret()?,
            Kind::MoveSpool => self.lose_moved_spool()?,
            Kind::RecreateDatabase => self.return_database()?,
            Kind::CutControl => {
                let cut = self.cutter.take().map(Cutter::stop).transpose()?;
                if cut.unwrap_or_default() == 0 {
                    bail!("no control connection was found");
                }
            }
            Kind::BlockLog => {
                self.worker.read_log();
                self.noise.clear();
            }
        }
        Ok(())
    }

    fn kill_worker(&mut self) -> Result<()> {
        self.count()?;
        self.worker.kill()
    }

    /// Takes over what the worker has counted.
    pub(super) fn count(&mut self) -> Result<()> {
        self.spooled.ask(&self.worker)
    }

    fn start_worker(&mut self) -> Result<()> {
        self.worker = start(&self.cluster, &self.database, &self.spool)?;
        // On new ports: the old ones may be somebody's by now.
        self.webhooks.point_at(self.worker.http);
        self.pushes.point_at(self.worker.grpc);
        Ok(())
    }

    fn pause(&mut self, kind: Kind, pause: Pause) {
        self.paused.push((kind, pause));
    }

    fn disk(&self) -> Result<&SmallDisk> {
        self.disk
            .as_ref()
            .context("the spool has no disk of its own")
    }

    fn proxy(&self, link: Link) -> &Proxy {
        match link {
            Link::Webhooks => &self.webhooks,
            Link::Pushes => &self.pushes,
            Link::Stream => &self.stream,
            Link::Database => &self.database,
        }
    }

    /// Fails if a process ended unexpectedly.
    pub(super) fn check_running(&mut self) -> Result<()> {
        self.emulator.listen()?;
        self.worker.check_running()
    }

    /// Ends the emulator, whose ledger then has the events of the drill's own source too.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.emulator.finish()?;
        self.rotating.enter(self.emulator.ledger())
    }

    /// Whether the worker says that it is ready.
    pub(super) fn is_ready(&self) -> bool {
        http::get(self.worker.admin, "/readyz").is_ok_and(|answer| answer.status == 200)
    }

    /// Whether the worker is ready and has nothing in its spool, damaged ones included.
    pub(super) fn is_drained(&self) -> bool {
        let Ok(answer) = http::get(self.worker.admin, "/readyz") else {
            return false;
        };
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let none = |name| body.pointer(name) == Some(&Value::from(0));
        answer.status == 200 && none("/spool/requests") && none("/spool/damaged")
    }

    /// Drains the worker.
    pub(super) fn drain(&mut self) -> Result<()> {
        self.begin(Kind::DrainWorker)?;
        self.drained()
    }

    fn drained(&mut self) -> Result<()> {
        let status = self.worker.ended(DRAIN)?;
        if !status.success() {
            bail!("the worker did not drain ({status})");
        }
        Ok(())
    }

    /// The ends of all logs, for a failure's report.
    pub(super) fn logs(&self) -> String {
        let counted = metrics::counters(self.worker.admin);
        let server = self.cluster.log();
        let server: Vec<&str> = server.lines().collect();
        let server = server.get(server.len().saturating_sub(40)..);
        format!(
            "{}\n{}\n--- the end of the server's log\n{}\n--- counted\n{}",
            self.emulator.tail(),
            self.worker.tail(),
            server.unwrap_or_default().join("\n"),
            counted.unwrap_or_else(|error| format!("{error:#}")),
        )
    }
}

fn start(cluster: &Cluster, database: &Proxy, spool: &PathBuf) -> Result<Worker> {
    let url = url(database.address());
    let mut command = worker::command(&url, ANY_PORT, ANY_PORT)?;
    command.arg("--spool-dir").arg(spool);
    command.args(["--lease-time", LEASE, "--drain-timeout", DRAIN_TIMEOUT]);
    command.args(["--log", LOG]);
    Worker::spawn(&mut command, &cluster.folder().join("worker.log"))
        .context("the worker does not start")
}

fn url(database: SocketAddr) -> String {
    format!("postgresql://{SUPERUSER}@{database}/{DATABASE}")
}
