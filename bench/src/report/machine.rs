//! The machine, the server and the commit that were measured.

use crate::lab::{SETTINGS, SHOWN};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::process::Command;
use tidings_harness::cluster::{Cluster, Durability};
use tidings_harness::paths;
use tidings_harness::server::Server;
use tidings_harness::step;

/// The machine and the server, on which figures depend besides the code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    pub(crate) disk: String,
    /// The result of `select version()`, without the compiler.
    pub(crate) postgres: String,
    /// Settings of the clusters, as `show` returns them.
    pub(crate) settings: Vec<(String, String)>,
}

impl Machine {
    /// Looks; starts a cluster, whose settings and disk are those of the rows'.
    pub(crate) fn look(server: &Server) -> Result<Self> {
        let cluster = Cluster::start_set(server, Durability::Durable, &SETTINGS)?;
        let mut client = cluster.connect("postgres")?;
        let mut settings = Vec::new();
        for name in SHOWN {
            let row = client.query_one(&format!("show {name}"), &[])?;
            settings.push((name.to_owned(), row.try_get(0)?));
        }
        let postgres: String = client.query_one("select version()", &[])?.try_get(0)?;
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Ok(Self {
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism()?.get(),
            memory_gib: field(&read("/proc/meminfo"), "MemTotal")
                .split(' ')
                .next()
                .and_then(|kib| kib.parse::<u64>().ok())
                .map_or(0, |kib| (kib + (1 << 19)) >> 20),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            disk: disk(cluster.folder())?,
            postgres: built(&postgres).to_owned(),
            settings,
        })
    }
}

/// `PostgreSQL 15.20 (Debian ..) on x86_64-pc-linux-gnu`, of a longer text.
fn built(version: &str) -> &str {
    version.split_once(", ").map_or(version, |(built, _)| built)
}

/// The first value of a name in `name : value` lines.
fn field(text: &str, name: &str) -> String {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(have, _)| have.trim() == name);
    found
        .map_or("unknown", |(_, value)| value.trim())
        .to_owned()
}

/// The device and the file system of a folder.
fn disk(folder: &Path) -> Result<String> {
    let shown = step::output(
        Command::new("df")
            .args(["--output=source,fstype"])
            .arg(folder),
    )?;
    let line = shown.lines().last().unwrap_or_default();
    Ok(line.split_whitespace().collect::<Vec<_>>().join(", "))
}

/// The commit that was built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Commit {
    pub(crate) id: String,
    /// Whether files differ from it.
    pub(crate) changed: bool,
}

impl Commit {
    pub(crate) fn look() -> Self {
        let git = |words: &[&str]| {
            step::output(Command::new("git").args(words).current_dir(paths::root()))
        };
        // The page itself may be the older one.
        let status = ["status", "--porcelain", "--", ".", ":!BENCHMARKS.md"];
        Self {
            id: git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|_| "unknown".to_owned()),
            changed: git(&status).map_or(true, |changes| !changes.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "model name\t: AMD EPYC\nmodel\t\t: 2\nmodel name\t: other\n";
        assert_eq!(field(text, "model name"), "AMD EPYC");
        assert_eq!(field(text, "model"), "2");
        assert_eq!(field(text, "stepping"), "unknown");
    }
}
