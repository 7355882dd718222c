//! An nginx of its own before a worker: its own folder, configuration and ports, run by no
//! privileged user. It ends when it is dropped or when this program ends.
//!
//! The error is [`Missing`] if nginx is not installed, which skips a test.

use crate::DEADLINE;
use crate::cluster::{Cluster, free_port};
use crate::process::{Process, Speaks};
use crate::step::Missing;
use anyhow::{Context as _, Result, bail};
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const PORT_TRIES: usize = 10;
/// The places in which packages put nginx: Debian's is not in everybody's PATH.
const PLACES: [&str; 3] = ["/usr/sbin", "/usr/bin", "/usr/local/sbin"];
/// The addresses of the worker in a documented configuration, and the line by which nginx
/// listens there.
const HTTP: &str = "127.0.0.1:8080";
const GRPC: &str = "127.0.0.1:8081";
const LISTEN: &str = "listen 443 ssl http2;";
/// Files that nginx would write elsewhere.
const FOLDERS: [&str; 5] = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];

#[derive(Debug)]
pub struct Nginx {
    process: Process,
    /// The address at which it takes HTTP/1.1.
    pub http: SocketAddr,
    /// The address at which it takes HTTP/2. Without TLS a port of nginx speaks one of the two.
    pub http2: SocketAddr,
}

impl Nginx {
    /// Starts one with this configuration of the documents: an `upstream` for each of the
    /// worker's addresses, and a `server`, which listens here without TLS.
    pub fn start(
        cluster: &Cluster,
        documented: &str,
        worker: (SocketAddr, SocketAddr),
    ) -> Result<Self> {
        let program = program()?;
        let folder = cluster.folder().join("nginx");
        fs::create_dir_all(&folder)?;
        cluster.give(&folder)?;
        for _ in 0..PORT_TRIES {
            let [http, http2] = [free_port()?, free_port()?].map(|port| {
                let host = Ipv4Addr::LOCALHOST;
                SocketAddr::from((host, port))
            });
            let servers = adapt(documented, worker, (http, http2))?;
            fs::write(folder.join("nginx.conf"), whole(&folder, &servers))?;
            let mut command = Command::new(&program);
            command
                .arg("-p")
                .arg(&folder)
                .args(["-c", "nginx.conf", "-e", "stderr"]);
            cluster.become_owner(&mut command);
            let log = folder.join("error.log");
            let process = Process::start("nginx", &mut command, &log, Speaks::Stderr)?;
            let mut nginx = Self {
                process,
                http,
                http2,
            };
            if nginx.is_up()? {
                return Ok(nginx);
            }
        }
        bail!("no free ports after {PORT_TRIES} tries")
    }

    /// Waits until it serves, or has found a port taken.
    fn is_up(&mut self) -> Result<bool> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.process.line(left)?;
            if line.contains("Address already in use") {
                return Ok(false);
            }
            // Its listeners are open before that.
            if line.contains("start worker process ") {
                return Ok(true);
            }
        }
    }

    pub fn tail(&self) -> String {
        self.process.tail()
    }
}

fn program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(PLACES.map(PathBuf::from))
        .map(|folder| folder.join("nginx"))
        .find(|program| program.is_file());
    let missing = || Missing::new("nginx is not installed: run `make setup`".to_owned());
    Ok(found.ok_or_else(missing)?)
}

/// The configuration with the worker's addresses, and with listeners without TLS.
fn adapt(
    documented: &str,
    worker: (SocketAddr, SocketAddr),
    (http, http2): (SocketAddr, SocketAddr),
) -> Result<String> {
    for part in [HTTP, GRPC, LISTEN] {
        if documented.matches(part).count() != 1 {
            bail!("the documented configuration does not have `{part}` once:\n{documented}");
        }
    }
    let listeners = format!("listen {http}; listen {http2} http2;");
    let adapted = documented
        .replace(HTTP, &worker.0.to_string())
        .replace(GRPC, &worker.1.to_string())
        .replace(LISTEN, &listeners);
    let plain = |line: &&str| !line.trim_start().starts_with("ssl_");
    Ok(adapted
        .lines()
        .filter(plain)
        .fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "{line}");
            text
        }))
}

/// A whole configuration around these servers.
fn whole(folder: &Path, servers: &str) -> String {
    let mut text = format!(
        "daemon off;\nworker_processes 1;\npid {};\nerror_log stderr info;\n\
         events {{ worker_connections 512; }}\nhttp {{\naccess_log off;\n",
        folder.join("nginx.pid").display()
    );
    for name in FOLDERS {
        let own = folder.join(name);
        let _ = writeln!(text, "{name}_temp_path {};", own.display());
    }
    text.push_str(servers);
    text.push_str("}\n");
    text
}

/// The block of a document in this language; an error unless there is one.
pub fn documented(document: &Path) -> Result<String> {
    let text = fs::read_to_string(document)
        .with_context(|| format!("cannot read {}", document.display()))?;
    let mut blocks = text.split("```nginx\n").skip(1);
    let block = blocks.next().and_then(|rest| rest.split("```").next());
    match (block, blocks.next()) {
        (Some(block), None) => Ok(block.to_owned()),
        _ => bail!("{} has not one block of nginx", document.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_documented_configuration_is_adapted_to_its_ports() {
        let documented = "server 127.0.0.1:8080;\nserver 127.0.0.1:8081;\n\
            listen 443 ssl http2;\n  ssl_certificate x;\nlocation / {}\n";
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let adapted = adapt(documented, (at(1), at(2)), (at(3), at(4))).unwrap();
        assert_eq!(
            adapted,
            "server 127.0.0.1:1;\nserver 127.0.0.1:2;\n\
             listen 127.0.0.1:3; listen 127.0.0.1:4 http2;\nlocation / {}\n"
        );
        assert!(adapt("listen 80;", (at(1), at(2)), (at(3), at(4))).is_err());
    }
}
