//! Paths of the workspace, and the selection of its packages for cargo.

use anyhow::{Result, bail};
use std::env;
use std::path::{Path, PathBuf};

/// Selects the packages that need no Postgres to compile.
pub const WITHOUT_EXTENSION: [&str; 3] = ["--workspace", "--exclude", "tidings"];

/// The folder of the workspace, two above this crate's.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

/// The one target folder, which honours `CARGO_TARGET_DIR`.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// A program of this workspace, built already.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = target().join("release").join(name);
    if !path.is_file() {
        bail!(
            "{} is not built: run `cargo build --release` first",
            path.display()
        );
    }
    Ok(path)
}
