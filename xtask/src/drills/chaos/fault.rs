//! The faults: their kinds, their targets and their durations.

use std::fmt;
use std::time::Duration;

/// A network path through one of the drill's proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Link {
    /// From the providers to the worker's HTTP port.
    Webhooks,
    /// From Pushwoosh to the worker's gRPC port.
    Pushes,
    /// From the worker to Ppoppo.
    Stream,
    /// From the worker to Postgres.
    Database,
}

pub(super) const LINKS: [Link; 4] = [Link::Webhooks, Link::Pushes, Link::Stream, Link::Database];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    KillWorker,
    /// SIGTERM, and another worker when the first has drained.
    DrainWorker,
    /// SIGKILL while a batch of the spool is being submitted to Postgres, after an
    /// outage.
    KillDraining,
    /// SIGKILL of the postmaster, then crash recovery.
    KillPostgres,
    /// Every open connection is cut; new ones are served.
    Cut(Link),
    /// Every open connection is cut, and new ones are refused for a while.
    Refuse(Link),
    /// Bytes arrive later by this number of milliseconds.
    Delay(Link, u64),
    /// Bytes are accepted, and arrive after the end of the fault.
    Hold(Link),
    /// Bytes are accepted, and are lost with their connections at the end of the fault.
    Swallow(Link),
    /// Open connections stay open and transfer nothing from now on; new ones are served.
    Lose(Link),
    /// Ppoppo's streams are cut, and their cursors are too old when they are dialed again.
    ExpireCursors,
    /// SIGSTOP, then SIGCONT.
    PauseWorker,
    /// The same for every process of the server.
    PausePostgres,
    /// The same for the postmaster: open connections work, new ones wait.
    PausePostmaster,
    /// The disk of the spool is full.
    FullDisk,
    /// A provider's secret changes while Postgres is away; the source's is rotated later, and
    /// what was refused is replayed.
    ChangeSecret,
    /// The folder of the spool is moved away while Postgres is; the worker is killed when it
    /// has another one.
    MoveSpool,
    /// The database is gone, and another one with its name is there, without the extension.
    RecreateDatabase,
    /// The control connection is cut again and again, while the lanes' connections work.
    CutControl,
    /// Nobody reads the worker's log.
    BlockLog,
}

/// The target of a fault; two overlapping faults have different targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Worker,
    Postgres,
    Link(Link),
    Disk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// From its begin to its end.
    pub(super) lasts: Duration,
}

impl Kind {
    pub(super) fn target(self) -> Target {
        match self {
            Self::KillWorker | Self::DrainWorker | Self::KillDraining | Self::PauseWorker => {
                Target::Worker
            }
            Self::KillPostgres | Self::PausePostgres | Self::PausePostmaster => Target::Postgres,
            Self::Cut(link)
            | Self::Refuse(link)
            | Self::Delay(link, _)
            | Self::Hold(link)
            | Self::Swallow(link)
            | Self::Lose(link) => Target::Link(link),
            Self::ExpireCursors => Target::Link(Link::Stream),
            Self::FullDisk | Self::MoveSpool => Target::Disk,
            Self::BlockLog => Target::Worker,
            Self::RecreateDatabase => Target::Postgres,
            Self::ChangeSecret | Self::CutControl => Target::Link(Link::Database),
        }
    }

    /// The path that is at fault, where there are several.
    fn link(self) -> Option<Link> {
        match (self, self.target()) {
            (Self::ChangeSecret | Self::CutControl, _) => None,
            (_, Target::Link(link)) => Some(link),
            _ => None,
        }
    }

    /// True if webhooks must be stored meanwhile as before, and not be spooled.
    pub(super) fn is_harmless(self) -> bool {
        matches!(self, Self::CutControl | Self::BlockLog)
    }

    /// The name of the fault in the summary.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::KillWorker => "worker killed",
            Self::DrainWorker => "worker drained",
            Self::KillDraining => "worker killed as its spool drains",
            Self::KillPostgres => "Postgres killed",
            Self::Cut(_) => "connections cut",
            Self::Refuse(_) => "connections refused",
            Self::Delay(..) => "bytes delayed",
            Self::Hold(_) => "bytes held",
            Self::Swallow(_) => "bytes swallowed",
            Self::Lose(_) => "connections lost",
            Self::ExpireCursors => "cursors expired",
            Self::PauseWorker => "worker paused",
            Self::PausePostgres => "Postgres paused",
            Self::PausePostmaster => "postmaster paused",
            Self::FullDisk => "spool's disk full",
            Self::ChangeSecret => "secret changed in an outage",
            Self::MoveSpool => "spool moved away",
            Self::RecreateDatabase => "database recreated",
            Self::CutControl => "control connection cut",
            Self::BlockLog => "log not read",
        }
    }
}

impl Link {
    fn word(self) -> &'static str {
        match self {
            Self::Webhooks => "webhooks",
            Self::Pushes => "pushes",
            Self::Stream => "stream",
            Self::Database => "database",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.word())?;
        match self.kind {
            Kind::Delay(link, by) => write!(f, " ({}, by {by} ms)", link.word())?,
            kind => {
                if let Some(link) = kind.link() {
                    write!(f, " ({})", link.word())?;
                }
            }
        }
        if !self.lasts.is_zero() {
            write!(f, " for {:.1} s", self.lasts.as_secs_f64())?;
        }
        Ok(())
    }
}
