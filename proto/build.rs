//! Compiles the `.proto` files without `protoc`: a module for each provider's folder,
//! and a descriptor set of all files for tests.

use std::{
    env,
    error::Error,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use prost::Message;

/// The packages of protobuf itself, whose types are in a crate of their own.
const WELL_KNOWN: &str = "google.protobuf";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=.");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut modules = String::new();
    let mut all = Vec::new();
    for folder in folders(Path::new("."))? {
        let mut files = Vec::new();
        find(Path::new(&folder), &mut files)?;
        if files.is_empty() {
            continue;
        }
        let set = protox::compile(&files, ["."])?;
        let into = out.join(&folder);
        fs::create_dir_all(&into)?;
        let mut packages: Vec<&str> = set.file.iter().map(|file| file.package()).collect();
        packages.retain(|package| *package != WELL_KNOWN);
        packages.sort_unstable();
        packages.dedup();
        writeln!(
            modules,
            "/// The messages and services of `proto/{folder}/`."
        )?;
        writeln!(modules, "pub mod {folder} {{")?;
        for package in packages {
            let file = into.join(format!("{package}.rs"));
            writeln!(modules, "include!({file:?});")?;
        }
        writeln!(modules, "}}")?;
        tonic_prost_build::configure()
            .out_dir(into)
            .compile_fds(set)?;
        all.append(&mut files);
    }
    fs::write(out.join("providers.rs"), modules)?;
    let set = protox::compile(all, ["."])?;
    fs::write(out.join("descriptors.bin"), set.encode_to_vec())?;
    Ok(())
}

/// The folders of the providers, in alphabetical order.
fn folders(root: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name().into_string();
        let name = name.map_err(|name| format!("{name:?} is not UTF-8"))?;
        if entry.file_type()?.is_dir() && name != "src" {
            folders.push(name);
        }
    }
    folders.sort();
    Ok(folders)
}

/// Adds the `.proto` files of a folder and of the folders in it.
fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            find(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            files.push(path);
        }
    }
    Ok(())
}
