//! All of `make test`, in order. Nothing is skipped: what could not run
//! because an earlier step failed is listed, and fails the whole.

use crate::install;
use crate::paths::WITHOUT_EXTENSION;
use crate::regress;
use crate::server::Server;
use crate::step;
use anyhow::{Result, bail};
use std::process::Command;
use std::time::{Duration, Instant};

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    NotRun,
}

struct Steps {
    done: Vec<(&'static str, Outcome, Duration)>,
}

impl Steps {
    /// Runs the step, unless one that it needs has not passed.
    fn run(&mut self, name: &'static str, needs: &[&str], body: impl FnOnce() -> Result<()>) {
        let unmet = |need: &&str| {
            !self
                .done
                .iter()
                .any(|(done, outcome, _)| done == need && *outcome == Outcome::Passed)
        };
        if let Some(need) = needs.iter().find(|need| unmet(need)) {
            println!("\n=== {name}: not run, since {need} failed");
            self.done.push((name, Outcome::NotRun, Duration::ZERO));
            return;
        }
        println!("\n=== {name}");
        let start = Instant::now();
        let outcome = match body() {
            Ok(()) => Outcome::Passed,
            Err(error) => {
                println!("  error: {error:#}");
                Outcome::Failed
            }
        };
        self.done.push((name, outcome, start.elapsed()));
    }

    fn summary(&self) -> Result<()> {
        println!();
        for (name, outcome, took) in &self.done {
            let word = match outcome {
                Outcome::Passed => "passed",
                Outcome::Failed => "FAILED",
                Outcome::NotRun => "NOT RUN",
            };
            println!("  {word:<8} {:>7.1} s  {name}", took.as_secs_f64());
        }
        let bad = self
            .done
            .iter()
            .filter(|(_, outcome, _)| *outcome != Outcome::Passed)
            .count();
        if bad > 0 {
            bail!("{bad} of {} steps did not pass", self.done.len());
        }
        println!("\nall {} steps passed", self.done.len());
        Ok(())
    }
}

/// Runs everything against this installation.
pub fn run(server: &Server) -> Result<()> {
    // One selection of packages throughout: another would have other features,
    // and compile dependencies once more.
    let cargo = |command: &str, targets: &[&str]| {
        step::run(
            Command::new("cargo")
                .args([command, "--release"])
                .args(WITHOUT_EXTENSION)
                .args(targets)
                .env("PG_CONFIG", server.pg_config())
                // A failed test says where by its words; panics keep theirs.
                .env("RUST_LIB_BACKTRACE", "0"),
        )
    };
    let mut steps = Steps { done: Vec::new() };
    steps.run("build", &[], || cargo("build", &["--all-targets"]));
    steps.run("unit tests", &["build"], || {
        cargo("test", &["--exclude", "tidings-e2e"])
    });
    steps.run("install the extension", &[], || install::run(server));
    steps.run("pg_regress", &["install the extension"], || {
        regress::REGRESS.run(server)
    });
    steps.run("pg_isolation_regress", &["install the extension"], || {
        regress::ISOLATION.run(server)
    });
    steps.run(
        "end-to-end tests",
        &["build", "install the extension"],
        || cargo("test", &["--test", "e2e"]),
    );
    steps.summary()
}
