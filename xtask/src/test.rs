//! All steps of `make test`, in order. A step that could not run because an earlier one
//! failed is listed, and fails the whole. Two steps may be skipped, and are then listed
//! as skipped: the peer of another stack, which needs Python, and a full disk, which
//! needs a mount.

use crate::days;
use crate::drills::chaos;
use crate::failed::Failed;
use crate::install;
use crate::reference;
use crate::regress;
use crate::steps::Steps;
use anyhow::Result;
use std::process::Command;
use tidings_harness::paths::{self, WITHOUT_EXTENSION};
use tidings_harness::python::Python;
use tidings_harness::server::Server;
use tidings_harness::step;

/// The end-to-end tests that need the Python peer, as libtest names them.
const PEER_TESTS: &str = "peer::";

/// Rows that need no more than the extension, and use all of its catalog that rows use.
const SMOKE_ROWS: &str = "ingest,size-1m";

/// Settings of the drill in the tests: short, but with every kind of fault.
const DRILL: chaos::Options = chaos::Options {
    cycles: chaos::EVERY_KIND,
    seed: 1,
    only: None,
};

/// Runs everything against this installation.
pub(crate) fn run(server: &Server) -> Result<()> {
    // All commands select the same packages, because another selection would have other
    // features and compile dependencies again.
    let cargo = |command: &str, targets: &[&str]| {
        let mut failed = Failed::default();
        step::run_watched(
            Command::new("cargo")
                .args([command, "--release"])
                .args(WITHOUT_EXTENSION)
                .args(targets)
                .current_dir(paths::root())
                .env("PG_CONFIG", server.pg_config())
                // The message of a failed test names its place; panics keep their
                // backtraces.
                .env("RUST_LIB_BACKTRACE", "0"),
            |line| failed.read(line),
        )
        .map_err(|error| failed.explain(error))
    };
    let mut steps = Steps::default();
    steps.run("build", &[], || cargo("build", &["--all-targets"]));
    steps.run("unit tests", &["build"], || {
        cargo("test", &["--no-fail-fast", "--exclude", "tidings-e2e"])
    });
    steps.run("install the extension", &[], || install::run(server));
    steps.run("pg_regress", &["install the extension"], || {
        regress::REGRESS.run(server, None)
    });
    steps.run("pg_isolation_regress", &["install the extension"], || {
        regress::ISOLATION.run(server, None)
    });
    steps.run(
        "SQL tests on other days",
        &["install the extension"],
        || regress::on_other_days(server, days::any_seed()?),
    );
    steps.run("docs/reference.md", &["install the extension"], || {
        reference::check(server)
    });
    // Nothing is asserted about a figure. A row fails if its contenders cannot do their work,
    // such as when the columns of a table have changed.
    steps.run(
        "rows of the benchmark",
        &["build", "install the extension"],
        || {
            let results = paths::target().join("bench/smoke.json");
            step::run(
                Command::new(paths::program("tidings-bench")?)
                    .args(["--smoke", "--only", SMOKE_ROWS, "--results"])
                    .arg(results)
                    .env("PG_CONFIG", server.pg_config()),
            )
        },
    );
    const PYTHON: &str = "Python for the gRPC peer of another stack";
    steps.run(PYTHON, &[], || Python::prepare().map(drop));
    let python = steps.passed(PYTHON);
    // Tests that need the disk check for it themselves.
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
        "failure drill, every kind of fault",
        &["build", "install the extension"],
        || chaos::run(server, &DRILL),
    );
    steps.conclude()
}
