//! Postgres's own test drivers, against a private cluster that has the
//! installed extension: `tests/regress` (what SQL promises) and
//! `tests/isolation` (what holds between concurrent sessions).

use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tidings_harness::cluster::{Cluster, Durability};
use tidings_harness::paths;
use tidings_harness::server::Server;
use tidings_harness::step;

/// One of the two drivers and where its tests are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Suite {
    driver_folder: &'static str,
    driver: &'static str,
    inputs: &'static str,
    scripts: &'static str,
    extension: &'static str,
}

pub(crate) const REGRESS: Suite = Suite {
    driver_folder: "regress",
    driver: "pg_regress",
    inputs: "tests/regress",
    scripts: "sql",
    extension: "sql",
};

pub(crate) const ISOLATION: Suite = Suite {
    driver_folder: "isolation",
    driver: "pg_isolation_regress",
    inputs: "tests/isolation",
    scripts: "specs",
    extension: "spec",
};

impl Suite {
    /// Runs every test of the suite; on a failure its diffs are shown.
    pub(crate) fn run(self, server: &Server) -> Result<()> {
        let driver = server.test_driver(self.driver_folder, self.driver)?;
        let inputs = paths::root().join(self.inputs);
        let tests = self.tests(&inputs)?;
        let cluster = Cluster::start(server, Durability::Fast)?;
        let database = "contrib_regression";
        cluster.create_database(database)?;
        let outputs = self.outputs(server)?;
        let mut command = Command::new(&driver);
        command
            .arg(format!("--inputdir={}", inputs.display()))
            .arg(format!("--outputdir={}", outputs.display()))
            .arg(format!("--bindir={}", server.bindir.display()))
            .arg(format!("--host={}", cluster.host()))
            .arg(format!("--port={}", cluster.port()))
            .arg(format!("--user={}", tidings_harness::cluster::SUPERUSER))
            .arg(format!("--dbname={database}"))
            .arg("--use-existing")
            .args(&tests)
            .current_dir(&outputs)
            .stdin(Stdio::null());
        println!("  $ {}", step::shown(&command));
        let status = command
            .status()
            .with_context(|| format!("cannot run {}", driver.display()))?;
        if status.success() {
            return Ok(());
        }
        for name in ["regression.diffs", "output_iso/regression.diffs"] {
            if let Ok(diffs) = fs::read_to_string(outputs.join(name)) {
                println!("{diffs}");
            }
        }
        bail!(
            "{} failed; its output is in {}",
            self.driver,
            outputs.display()
        )
    }

    /// In the order of the names: a test may not depend on another.
    fn tests(self, inputs: &Path) -> Result<Vec<String>> {
        let folder = inputs.join(self.scripts);
        let mut tests = Vec::new();
        for entry in
            fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?
        {
            let path = entry?.path();
            if path.extension().is_some_and(|have| have == self.extension)
                && let Some(name) = path.file_stem()
            {
                tests.push(name.to_string_lossy().into_owned());
            }
        }
        tests.sort();
        if tests.is_empty() {
            bail!("there is no test in {}", folder.display());
        }
        Ok(tests)
    }

    /// An empty folder for results.
    fn outputs(self, server: &Server) -> Result<PathBuf> {
        let folder = paths::target().join(format!("{}-{}", self.driver, server.feature()));
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", folder.display()));
            }
            _ => {}
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }
}
