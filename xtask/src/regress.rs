//! Runs Postgres's own test drivers against a private cluster with the installed
//! extension: `tests/regress` (promises of the SQL interface) and `tests/isolation`
//! (behaviour of concurrent sessions).

use crate::days::Day;
use crate::failed::Failed;
use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tidings_harness::cluster::{Cluster, Durability};
use tidings_harness::faketime;
use tidings_harness::paths;
use tidings_harness::server::Server;
use tidings_harness::step;

/// One of the two drivers and where its tests are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suite {
    driver_folder: &'static str,
    driver: &'static str,
    inputs: &'static str,
    scripts: &'static str,
    extension: &'static str,
    /// The test that makes what all others need. Each of these has a copy of its database.
    install: Option<&'static str>,
    /// Tests in which a timeout ends a wait. Under libfaketime none does: a signal that
    /// interrupts a wait finds the machine's own time.
    by_timeouts: &'static [&'static str],
}

pub(crate) const REGRESS: Suite = Suite {
    driver_folder: "regress",
    driver: "pg_regress",
    inputs: "tests/regress",
    scripts: "sql",
    extension: "sql",
    install: Some("00_install"),
    by_timeouts: &[],
};

pub(crate) const ISOLATION: Suite = Suite {
    driver_folder: "isolation",
    driver: "pg_isolation_regress",
    inputs: "tests/isolation",
    scripts: "specs",
    extension: "spec",
    install: None,
    by_timeouts: &["idle_ingest", "maintain_under_load"],
};

/// Runs both suites as on the two days that the seed draws.
pub(crate) fn on_other_days(server: &Server, seed: u64) -> Result<()> {
    println!("  seed {seed}, which `xtask regress --seed {seed}` repeats");
    for day in Day::draw(seed) {
        on_day(server, &day)?;
    }
    Ok(())
}

/// Runs both suites as on this day.
pub(crate) fn on_day(server: &Server, day: &Day) -> Result<()> {
    println!("  as on {day}");
    REGRESS.run(server, Some(day))?;
    ISOLATION.run(server, Some(day))
}

/// A cluster on that day, with a database of its language.
fn on(day: &Day, server: &Server, database: &str) -> Result<Cluster> {
    let library = faketime::library()?;
    let cluster = Cluster::start_with(server, Durability::Fast, |_| day.environment(&library))?;
    let mut client = cluster.connect("postgres")?;
    let since: f64 = client
        .query_one(
            "select extract(epoch from now())::float8 - $1",
            &[&(day.at.as_second() as f64)],
        )?
        .try_get(0)?;
    ensure!(
        (0.0..3600.0).contains(&since),
        "it is {since} s after the moment that was asked for"
    );
    let has_icu: bool = client
        .query_one(
            "select exists (select from pg_collation where collprovider = 'i')",
            &[],
        )?
        .try_get(0)?;
    // Before 15 no database sorts by ICU.
    if server.major >= 15 && has_icu {
        client.batch_execute(&format!(
            "create database {database} template template0 locale_provider icu icu_locale '{}'",
            day.language
        ))?;
    } else {
        cluster.create_database(database)?;
    }
    Ok(cluster)
}

impl Suite {
    /// Runs every test of the suite today, or those that can be on another day; on a failure
    /// the diffs are shown.
    pub(crate) fn run(self, server: &Server, day: Option<&Day>) -> Result<()> {
        let driver = server.test_driver(self.driver_folder, self.driver)?;
        let inputs = paths::root().join(self.inputs);
        let mut tests = self.tests(&inputs)?;
        if day.is_some() {
            tests.retain(|test| !self.by_timeouts.contains(&test.as_str()));
        }
        let database = "contrib_regression";
        let cluster = match day {
            None => {
                let cluster = Cluster::start(server, Durability::Fast)?;
                cluster.create_database(database)?;
                cluster
            }
            Some(day) => on(day, server, database)?,
        };
        let outputs = self.outputs(server)?;
        let mut failed = Failed::default();
        let mut run = |database: &str, tests: &[String]| {
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
                .args(day.map(|day| format!("--launcher={}", day.launcher())))
                .args(tests)
                .current_dir(&outputs);
            let ran = step::run_watched(&mut command, |line| failed.read(line));
            ran.inspect_err(|_| {
                for name in ["regression.diffs", "output_iso/regression.diffs"] {
                    if let Ok(diffs) = fs::read_to_string(outputs.join(name)) {
                        println!("{diffs}");
                    }
                }
            })
        };
        let ran = match self.install {
            None => run(database, &tests),
            Some(install) => {
                tests.retain(|test| test != install);
                let mut ran = run(database, &[install.to_owned()]);
                for test in &tests {
                    let copy = format!("{database}_{test}");
                    cluster.copy_database(database, &copy)?;
                    ran = run(&copy, std::slice::from_ref(test)).and(ran);
                }
                ran
            }
        };
        let Err(error) = ran else {
            return Ok(());
        };
        let error = error.context(format!("the output is in {}", outputs.display()));
        Err(failed.explain(error))
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
