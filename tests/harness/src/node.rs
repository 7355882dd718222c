//! The packages of Node.js with which its clients of Postgres are tried, see `tests/clients`.
//!
//! They are installed once, under the target folder. Where there is no Node.js, the error is
//! [`Missing`], which skips the tests of its clients.

use crate::paths;
use crate::python::{attempt, locked, once};
use crate::step::Missing;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The folder with the packages.
pub fn with_clients() -> Result<PathBuf> {
    for program in ["node", "npm"] {
        let version = Command::new(program).arg("--version").output();
        if !version.is_ok_and(|version| version.status.success()) {
            return Err(Missing::new(format!("no {program} in PATH")).into());
        }
    }
    let folder = paths::target().join("clients");
    let _lock = locked(&folder)?;
    let manifest = paths::root().join("tests/clients/package.json");
    let wanted = fs::read_to_string(&manifest)
        .with_context(|| format!("cannot read {}", manifest.display()))?;
    let packages = folder.join("node");
    once(&packages, &wanted, || {
        fs::create_dir_all(&packages)?;
        fs::write(packages.join("package.json"), &wanted)?;
        attempt(
            "the packages of Node.js cannot be installed",
            Command::new("npm")
                .args([
                    "install",
                    "--no-audit",
                    "--no-fund",
                    "--ignore-scripts",
                    "--prefix",
                ])
                .arg(&packages),
        )
        .map_err(Into::into)
    })?;
    Ok(packages)
}
