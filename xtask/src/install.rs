//! Builds the extension for one Postgres installation and copies it there.

use crate::scripts;
use anyhow::{Context as _, Result};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tidings_harness::paths;
use tidings_harness::server::Server;
use tidings_harness::step;

/// The variables under which the extension is compiled. Building and linting
/// use the same, so that neither makes the other compile the bindings again.
pub(crate) fn build_env(server: &Server) -> Result<[(&'static str, PathBuf); 2]> {
    let pgrx_home = paths::target().join("pgrx");
    fs::create_dir_all(&pgrx_home)
        .with_context(|| format!("cannot make {}", pgrx_home.display()))?;
    // Nobody reads it where PGRX_PG_CONFIG_PATH is set. But pgrx names it to cargo, which
    // compiles the bindings once more each time while it is missing.
    let config = pgrx_home.join("config.toml");
    if !config.exists() {
        fs::write(&config, "[configs]\n")
            .with_context(|| format!("cannot write {}", config.display()))?;
    }
    Ok([
        // The server whose headers the bindings are made from.
        ("PGRX_PG_CONFIG_PATH", server.pg_config().to_owned()),
        // Nothing of ours in the person's home.
        ("PGRX_HOME", pgrx_home),
    ])
}

/// The cargo profile that programs and tests share.
pub(crate) const QUICK: &str = "release";

/// Builds the extension as tests need it, and installs what differs.
pub(crate) fn run(server: &Server) -> Result<()> {
    run_as(server, QUICK)
}

/// Builds the extension with a profile of Cargo.toml, and installs what differs.
pub(crate) fn run_as(server: &Server, profile: &str) -> Result<()> {
    // Two concurrent runs would remove each other's package.
    let lock = File::create(paths::target().join("package.lock"))?;
    lock.lock().context("cannot lock the package")?;
    let package = package(server, profile)?;
    let mut stale = Vec::new();
    for (folder, into, mode) in [
        (&server.pkglibdir, server.pkglibdir.clone(), 0o755),
        (
            &server.sharedir.join("extension"),
            server.sharedir.join("extension"),
            0o644,
        ),
    ] {
        for from in files(&inside(&package, folder))? {
            let to = into.join(from.file_name().context("a file without a name")?);
            if fs::read(&to).ok() != Some(fs::read(&from)?) {
                stale.push(Packaged { from, to, mode });
            }
        }
    }
    if stale.is_empty() {
        println!(
            "  the extension is installed in {} already",
            server.pkglibdir.display()
        );
    }
    stale.iter().try_for_each(Packaged::install)
}

/// Builds it for this server; returns the folder that mirrors the system's.
fn package(server: &Server, profile: &str) -> Result<PathBuf> {
    step::run(
        Command::new("cargo")
            .args(["build", "--profile", profile, "-p", "tidings", "--lib"])
            .args(["--no-default-features", "--features", &server.feature()])
            .envs(build_env(server)?),
    )?;
    let out = paths::target().join(format!("package-{}", server.feature()));
    // A file of an earlier build must not be installed again.
    match fs::remove_dir_all(&out) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", out.display()));
        }
        _ => {}
    }
    let library = inside(&out, &server.pkglibdir);
    let scripts = inside(&out, &server.sharedir.join("extension"));
    for folder in [&library, &scripts] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let built = paths::target().join(profile).join("libtidings.so");
    fs::copy(&built, library.join("tidings.so"))
        .with_context(|| format!("cannot copy {}", built.display()))?;
    scripts::write(&scripts)?;
    Ok(out)
}

/// A file of the package and where it belongs.
struct Packaged {
    from: PathBuf,
    to: PathBuf,
    mode: u32,
}

impl Packaged {
    /// The file is written under another name and renamed, because a running server has
    /// the old one mapped.
    fn install(&self) -> Result<()> {
        let folder = self.to.parent().context("a file without a folder")?;
        let Ok(new) = tempfile::NamedTempFile::new_in(folder) else {
            return self.install_by_sudo();
        };
        fs::copy(&self.from, new.path())
            .with_context(|| format!("cannot write to {}", folder.display()))?;
        fs::set_permissions(new.path(), Permissions::from_mode(self.mode))?;
        new.persist(&self.to)
            .with_context(|| format!("cannot replace {}", self.to.display()))?;
        println!("  installed {}", self.to.display());
        Ok(())
    }

    fn install_by_sudo(&self) -> Result<()> {
        step::run(
            Command::new("sudo")
                .args(["install", "-m", &format!("{:o}", self.mode)])
                .args([&self.from, &self.to]),
        )
        .with_context(|| {
            format!(
                "{} is not writable: run `make install` as a user who may write there, or with sudo",
                self.to.display()
            )
        })
    }
}

/// An absolute path of the system, under another root.
fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
