//! The parts of a private cluster: its folder, its user and its settings.

use super::{Durability, HOST, SUPERUSER};
use crate::server::Server;
use crate::step;
use anyhow::{Context as _, Result, bail};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Users a server may run as under root, in order of preference.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];
/// The path of a Unix socket has at most 107 bytes; its name takes 20.
const LONGEST_FOLDER: usize = 80;

/// A short path, whatever TMPDIR says.
pub(super) fn folder() -> Result<TempDir> {
    let wanted = std::env::temp_dir();
    let parent = if wanted.as_os_str().len() > LONGEST_FOLDER {
        Path::new("/tmp")
    } else {
        &wanted
    };
    tempfile::Builder::new()
        .prefix("tidings-")
        .tempdir_in(parent)
        .with_context(|| format!("cannot make a folder in {}", parent.display()))
}

pub(super) fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

pub(super) fn log(folder: &Path) -> PathBuf {
    folder.join("server.log")
}

/// The user that the server runs as; `None` is the user of this program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner(Option<(u32, u32)>);

impl Owner {
    pub(super) fn find(folder: &Path) -> Result<Self> {
        let made_by = fs::metadata(folder)?.uid();
        if made_by != 0 {
            return Ok(Self(None));
        }
        for user in UNPRIVILEGED {
            let id = |what| step::output(Command::new("id").args([what, user]));
            if let (Ok(uid), Ok(gid)) = (id("-u"), id("-g")) {
                let (uid, gid) = (uid.parse()?, gid.parse()?);
                std::os::unix::fs::chown(folder, Some(uid), Some(gid))
                    .with_context(|| format!("cannot give {} to {user}", folder.display()))?;
                return Ok(Self(Some((uid, gid))));
            }
        }
        bail!(
            "Postgres does not run as root, and there is no user {}: run this as another user",
            UNPRIVILEGED.join(" or ")
        )
    }

    pub(super) fn give(self, path: &Path) -> Result<()> {
        let Some((uid, gid)) = self.0 else {
            return Ok(());
        };
        std::os::unix::fs::chown(path, Some(uid), Some(gid))
            .with_context(|| format!("cannot give {} away", path.display()))
    }

    pub(super) fn become_it(self, command: &mut Command) {
        if let Some((uid, gid)) = self.0 {
            command.uid(uid).gid(gid);
        }
    }
}

/// Removes libpq's variables, because the settings of the user's shell must not affect a
/// private server or a worker of a test.
pub fn without_pg_variables(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    command
}

pub(super) fn initdb(server: &Server, folder: &Path, owner: Owner) -> Result<()> {
    let mut command = Command::new(server.program("initdb"));
    without_pg_variables(&mut command)
        .args(["--username", SUPERUSER, "--auth", "trust", "--no-sync"])
        .args(["--encoding", "UTF8", "--locale", "C.UTF-8"])
        .arg("--no-instructions")
        .arg("-D")
        .arg(data(folder))
        .current_dir(folder);
    if server.major >= 18 {
        command.arg("--no-data-checksums"); // off by default until then
    }
    owner.become_it(&mut command);
    step::output(&mut command).map(drop)
}

pub(super) fn settings(folder: &Path, durability: Durability, more: &[(&str, &str)]) -> String {
    let on = match durability {
        Durability::Durable => "on",
        Durability::Fast => "off",
    };
    // Small enough that a dozen clusters run side by side on a small machine.
    let shared_buffers = match durability {
        Durability::Durable => "256MB",
        Durability::Fast => "32MB",
    };
    let mut text = String::from("\n# Set by the harness\n");
    for (name, value) in [
        ("listen_addresses", HOST.to_string().as_str()),
        ("unix_socket_directories", folder.to_string_lossy().as_ref()),
        ("fsync", on),
        ("full_page_writes", on),
        ("shared_buffers", shared_buffers),
        ("max_wal_size", "2GB"),
        ("max_connections", "100"),
        ("timezone", "UTC"),
        ("log_timezone", "UTC"),
        ("log_line_prefix", "%m [%p] %a "),
        ("logging_collector", "off"),
    ]
    .iter()
    .chain(more)
    {
        let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
    }
    text
}
