//! libfaketime, which gives the processes that load it another clock.

use anyhow::{Context as _, Result};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// The library's path, as Debian and other distributions have it.
pub fn library() -> Result<PathBuf> {
    fs::read_dir("/usr/lib")?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .chain([PathBuf::from("/usr/lib64")])
        .map(|folder| folder.join("faketime/libfaketime.so.1"))
        .find(|library| library.exists())
        .context("libfaketime is not here: run `make setup`")
}

/// The environment of a server with another clock. `shift` is the variable of the library
/// that says by how much its clock differs from the machine's.
pub fn environment(
    library: &Path,
    shift: (&'static str, OsString),
) -> Vec<(&'static str, OsString)> {
    vec![
        ("LD_PRELOAD", library.into()),
        shift,
        ("FAKETIME_NO_CACHE", OsString::from("1")),
        ("FAKETIME_DISABLE_SHM", OsString::from("1")), // it would outlive the server
        ("DONT_FAKE_MONOTONIC", OsString::from("1")),
    ]
}
