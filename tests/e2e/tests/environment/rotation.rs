//! A password that is rotated while the worker runs.

use super::stage::{PASSWORD, Stage};
use anyhow::{Result, ensure};
use rustix::process::Signal;
use tidings_e2e::{eventually, wait_logged};
use tidings_harness::stage::DATABASE;
use tidings_harness::worker::{ANY_PORT, Worker, command_without_url};
use tidings_harness::{http, leash};

const NEW: &str = "r0tated";

#[test]
fn a_rotated_password_in_a_file_works_without_a_restart() -> Result<()> {
    Stage::on(|stage| {
        let url = |password: &str, database: &str| {
            let port = stage.port();
            format!("postgres://scram:{password}@127.0.0.1:{port}/{database}\n")
        };
        let escaped = PASSWORD.replace(':', "%3A").replace('\\', "%5C");
        let write = |text: &str| stage.file("database-url", text, 0o600);
        let file = write(&url(&escaped, DATABASE))?;
        let log = stage.cluster.folder().join("worker.log");
        let mut command = command_without_url(ANY_PORT, ANY_PORT)?;
        command.env("DATABASE_URL_FILE", &file);
        let mut worker = Worker::spawn(&mut command, &log)?;
        worker.wait_ready()?;

        // The password changes first, and all connections are lost.
        let mut client = stage.cluster.connect(DATABASE)?;
        client.batch_execute(&format!("alter role scram password '{NEW}'"))?;
        client.batch_execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'scram'",
        )?;
        let named = format!("the password is from {file}");
        wait_logged(&log, 1, |line| {
            line.contains("28P01") && line.contains(&named)
        })?;
        eventually("it is not ready", || {
            Ok((http::get(worker.admin, "/readyz")?.status == 503).then_some(()))
        })?;
        write(&url(NEW, DATABASE))?;
        worker.wait_ready()?;
        wait_logged(&log, 1, |line| {
            line.contains("were read again") && line.contains("the password")
        })?;

        // Another database is not moved to while the worker runs.
        write(&url(NEW, "postgres"))?;
        leash::signal(worker.id(), Signal::HUP)?;
        wait_logged(&log, 1, |line| line.contains("name another database"))?;
        // Nor does a file that is missing or broken harm it.
        std::fs::remove_file(&file)?;
        client.batch_execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'scram'",
        )?;
        wait_logged(&log, 1, |line| line.contains("DATABASE_URL_FILE names"))?;
        worker.wait_ready()?;
        let text = std::fs::read_to_string(&log)?;
        for secret in [PASSWORD, &escaped, NEW] {
            ensure!(!text.contains(secret), "the log shows {secret}");
        }
        Ok(())
    })
}
