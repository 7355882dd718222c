//! A worker and an extension of different versions do not work together.

use anyhow::{Result, ensure};
use std::process::Stdio;
use tidings_e2e::{DEADLINE, on_cluster};
use tidings_harness::leash;
use tidings_harness::stage::DATABASE;
use tidings_harness::worker::{self, ANY_PORT};

#[test]
fn a_worker_refuses_an_extension_of_another_version() -> Result<()> {
    on_cluster(|cluster| {
        cluster.connect(DATABASE)?.batch_execute(
            "update pg_extension set extversion = '0.0.1' where extname = 'tidings'",
        )?;
        refused(&cluster.url(DATABASE), "0.0.1")
    })
}

#[test]
fn a_worker_refuses_a_database_without_the_extension() -> Result<()> {
    on_cluster(|cluster| refused(&cluster.url("postgres"), "extension"))
}

/// One line that says so, and exit 78: the configuration's fault, so that
/// nothing starts it again and again.
fn refused(url: &str, said: &str) -> Result<()> {
    let mut child = worker::command(url, ANY_PORT, ANY_PORT)?
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let status = leash::wait(&mut child, DEADLINE)?;
    if status.is_none() {
        child.kill()?;
    }
    let output = child.wait_with_output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(
        status.and_then(|status| status.code()) == Some(78),
        "{status:?}\n{log}"
    );
    let errors: Vec<_> = log
        .lines()
        .filter(|line| !line.contains(r#""level":"INFO""#))
        .collect();
    ensure!(
        matches!(errors.as_slice(), [one] if one.contains(said)),
        "not one line that says `{said}`:\n{log}"
    );
    Ok(())
}
