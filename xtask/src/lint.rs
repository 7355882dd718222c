//! All of `make lint`: formatting, clippy and the documentation's links, with
//! every warning an error.

use crate::install;
use crate::paths::WITHOUT_EXTENSION;
use crate::server::Server;
use crate::step;
use anyhow::Result;
use std::process::Command;

const WARNINGS_ARE_ERRORS: [&str; 3] = ["--", "-D", "warnings"];

pub fn run(server: &Server) -> Result<()> {
    step::run(Command::new("cargo").args(["fmt", "--all", "--check"]))?;
    step::run(
        Command::new("cargo")
            .args(["clippy", "--release", "--all-targets"])
            .args(WITHOUT_EXTENSION)
            .args(WARNINGS_ARE_ERRORS),
    )?;
    step::run(
        Command::new("cargo")
            .args(["clippy", "--release", "--all-targets", "-p", "tidings"])
            .args(["--no-default-features", "--features", &server.feature()])
            .args(WARNINGS_ARE_ERRORS)
            .envs(install::build_env(server)?),
    )?;
    step::run(
        Command::new("cargo")
            .args(["doc", "--release", "--no-deps", "--document-private-items"])
            .args(WITHOUT_EXTENSION)
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}
