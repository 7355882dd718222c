//! Whether the code is laid out as ARCHITECTURE.md draws it: in the worker no import runs
//! upwards and none in a circle, and a provider's name stands in its own places alone.
//!
//! - `source`, read as `tokens`: what one Rust file imports
//! - `imports`: layers and circles
//! - `names`: the names of providers

mod imports;
mod names;
mod source;
mod tokens;

use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use tidings_harness::paths;

/// The worker's folders, the lowest layer first.
const LAYERS: [&[&str]; 12] = [
    &["process", "wire"],
    &["settings", "dial"],
    &["postgres"],
    &["pipeline"],
    &["reconcile"],
    &["stream"],
    &["sources"],
    &["gaps"],
    &["admission"],
    &["spool"],
    &["inbound", "commands"],
    &["run"],
];

/// The folders whose files, but for tests and the providers' own, name no provider.
const GENERIC: [&str; 6] = [
    "core/src",
    "extension/src",
    "proto/src",
    "spool/src",
    "sql",
    "worker/src",
];

/// Fails with a line for each import that runs upwards or in a circle.
pub(crate) fn check_imports() -> Result<()> {
    let root = paths::root();
    let mut found = imports::offences(root, Path::new("worker/src"), Some(&LAYERS))?;
    found.extend(imports::offences(root, Path::new("spool/src"), None)?);
    none(found)
}

/// Fails with a line for each provider's name that stands outside its places.
pub(crate) fn check_names() -> Result<()> {
    none(names::offences(paths::root(), &GENERIC)?)
}

fn none(found: Vec<String>) -> Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    bail!("{}", found.join("\n  "))
}

/// The files below a folder that end in this, as paths from the root, sorted.
fn files(root: &Path, folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let path = root.join(&folder);
        for entry in
            fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))?
        {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|have| have == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The module that a file is, as a path from its crate's root.
fn module(source: &Path, file: &Path) -> Vec<String> {
    let inside = file.strip_prefix(source).unwrap_or(file).with_extension("");
    let mut module: Vec<String> = inside
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    let is_folder = module.last().is_some_and(|last| last == "mod");
    let is_root = module.len() == 1 && matches!(module.concat().as_str(), "main" | "lib");
    if is_folder || is_root {
        module.pop();
    }
    module
}

#[cfg(test)]
mod testing {
    use std::fs;
    use tempfile::TempDir;

    /// A folder with these files.
    pub(super) fn tree(files: &[(&str, &str)]) -> TempDir {
        let folder = TempDir::new().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }
}
