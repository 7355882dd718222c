//! All of `make test`, in order. What could not run because an earlier step failed
//! is listed, and fails the whole. Two things may be skipped, and are then listed as
//! that: the peer of another stack, which needs a Python, and a full disk, which needs
//! a mount.

use crate::drills::chaos;
use crate::install;
use crate::regress;
use anyhow::{Result, bail};
use std::process::Command;
use std::time::{Duration, Instant};
use tidings_harness::paths::WITHOUT_EXTENSION;
use tidings_harness::python::Python;
use tidings_harness::server::Server;
use tidings_harness::step::{self, Missing};

/// The end-to-end tests that need the Python peer, as libtest names them.
const PEER_TESTS: &str = "peer::";

/// Short enough for every run of the tests; every kind of fault is in it.
const DRILL: chaos::Options = chaos::Options {
    cycles: 20,
    seed: 1,
};

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Passed,
    Skipped(String),
    Failed,
    NotRun,
}

struct Done {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

#[derive(Default)]
struct Steps {
    done: Vec<Done>,
}

impl Steps {
    /// Runs the step, unless one that it needs has not passed.
    fn run(&mut self, name: &'static str, needs: &[&str], body: impl FnOnce() -> Result<()>) {
        let start = Instant::now();
        let outcome = if let Some(need) = needs.iter().find(|need| !self.passed(need)) {
            println!("\n=== {name}: not run, since {need} failed");
            Outcome::NotRun
        } else {
            println!("\n=== {name}");
            match body() {
                Ok(()) => Outcome::Passed,
                Err(error) => match error.downcast::<Missing>() {
                    Ok(missing) => {
                        println!("  SKIPPED: {missing}");
                        Outcome::Skipped(missing.to_string())
                    }
                    Err(error) => {
                        println!("  error: {error:#}");
                        Outcome::Failed
                    }
                },
            }
        };
        let took = start.elapsed();
        self.done.push(Done {
            name,
            outcome,
            took,
        });
    }

    fn passed(&self, name: &str) -> bool {
        self.done
            .iter()
            .any(|done| done.name == name && done.outcome == Outcome::Passed)
    }

    /// A line for each step.
    fn table(&self) -> String {
        let line = |done: &Done| {
            let (word, reason) = match &done.outcome {
                Outcome::Passed => ("passed", String::new()),
                Outcome::Skipped(reason) => ("SKIPPED", format!(": {reason}")),
                Outcome::Failed => ("FAILED", String::new()),
                Outcome::NotRun => ("NOT RUN", String::new()),
            };
            let (seconds, name) = (done.took.as_secs_f64(), done.name);
            format!("  {word:<8} {seconds:>7.1} s  {name}{reason}\n")
        };
        self.done.iter().map(line).collect()
    }

    /// One line over all; an error unless every step passed or was skipped.
    fn conclusion(&self) -> Result<String> {
        let count = |wanted: fn(&Outcome) -> bool| {
            self.done
                .iter()
                .filter(|done| wanted(&done.outcome))
                .count()
        };
        let all = self.done.len();
        let passed = count(|outcome| *outcome == Outcome::Passed);
        match count(|outcome| matches!(outcome, Outcome::Skipped(_))) {
            0 if passed == all => Ok(format!("all {all} steps passed")),
            skipped if passed + skipped == all => {
                Ok(format!("{passed} of {all} steps passed, {skipped} SKIPPED"))
            }
            skipped => bail!("{} of {all} steps did not pass", all - passed - skipped),
        }
    }
}

/// Runs everything against this installation.
pub(crate) fn run(server: &Server) -> Result<()> {
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
    let mut steps = Steps::default();
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
    const PYTHON: &str = "Python for the gRPC peer of another stack";
    steps.run(PYTHON, &[], || Python::prepare().map(drop));
    let python = steps.passed(PYTHON);
    // Those who need it find out by themselves.
    steps.run("a small disk, to be full", &[], chaos::try_small_disk);
    steps.run(
        "end-to-end tests",
        &["build", "install the extension"],
        || {
            if python {
                return cargo("test", &["--test", "e2e"]);
            }
            println!("  without the tests of {PEER_TESTS}, which need {PYTHON}");
            cargo("test", &["--test", "e2e", "--", "--skip", PEER_TESTS])
        },
    );
    steps.run(
        "failure drill, 20 cycles",
        &["build", "install the extension"],
        || chaos::run(server, &DRILL),
    );
    print!("\n{}", steps.table());
    println!("\n{}", steps.conclusion()?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skipped_step_is_neither_passed_nor_a_failure() {
        let mut steps = Steps::default();
        steps.run("one", &[], || Ok(()));
        assert_eq!(steps.conclusion().unwrap(), "all 1 steps passed");
        steps.run("two", &[], || {
            Python::prepare_with("no-such-python").map(drop)
        });
        assert!(!steps.passed("two"));
        assert_eq!(
            steps.conclusion().unwrap(),
            "1 of 2 steps passed, 1 SKIPPED"
        );
        let table = steps.table();
        let line = table.lines().last().unwrap();
        assert!(line.starts_with("  SKIPPED "), "{line}");
        assert!(line.ends_with("two: no no-such-python in PATH"), "{line}");
    }

    #[test]
    fn a_failure_fails_the_whole_and_what_needs_it_is_not_run() {
        let mut steps = Steps::default();
        steps.run("one", &[], || bail!("as the test wants"));
        steps.run("two", &["one"], || panic!("it must not run"));
        let error = steps.conclusion().unwrap_err().to_string();
        assert_eq!(error, "2 of 2 steps did not pass");
    }
}
