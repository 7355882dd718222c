//! All of `make lint`: formatting, the layout of the code, clippy, plpgsql_check and the
//! documentation's links, with every warning an error.

use crate::install;
use crate::layout;
use crate::plpgsql;
use crate::steps::Steps;
use anyhow::Result;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tidings_harness::paths::{self, WITHOUT_EXTENSION};
use tidings_harness::server::Server;
use tidings_harness::step;

const WARNINGS_ARE_ERRORS: [&str; 3] = ["--", "-D", "warnings"];

/// Runs every check, also after one that failed.
pub(crate) fn run(server: &Server) -> Result<()> {
    let mut steps = Steps::default();
    steps.run("rustfmt", &[], || {
        step::run(Command::new("cargo").args(["fmt", "--all", "--check"]))?;
        // rustfmt does not follow modules that a macro declares, as the registry of
        // providers does.
        step::run(
            Command::new("rustfmt")
                .args(["--check", "--edition", "2024"])
                .args(modules("core/src/provider")?),
        )
    });
    steps.run("imports", &[], layout::check_imports);
    steps.run("names of providers", &[], layout::check_names);
    steps.run("clippy", &[], || {
        step::run(
            Command::new("cargo")
                .args(["clippy", "--release", "--all-targets"])
                .args(WITHOUT_EXTENSION)
                .args(WARNINGS_ARE_ERRORS),
        )
    });
    steps.run("clippy of the extension", &[], || {
        step::run(
            Command::new("cargo")
                .args(["clippy", "--release", "--all-targets", "-p", "tidings"])
                .args(["--no-default-features", "--features", &server.feature()])
                .args(WARNINGS_ARE_ERRORS)
                .envs(install::build_env(server)?),
        )
    });
    steps.run("plpgsql_check", &[], || plpgsql::check(server));
    steps.run("rustdoc", &[], || {
        step::run(
            Command::new("cargo")
                .args(["doc", "--release", "--no-deps", "--document-private-items"])
                .args(WITHOUT_EXTENSION)
                .env("RUSTDOCFLAGS", "-D warnings"),
        )
    });
    steps.conclude()
}

fn modules(folder: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(paths::root().join(folder))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}
