//! The disk of the spool is full: what does not fit is refused, what was answered stays,
//! and when there is room it goes on. Its disk is a file system in memory that only the
//! worker sees, and that ends with it.

use super::{fill, first, folder, id, is_drained, post, stored_once};
use anyhow::{Result, ensure};
use std::path::Path;
use std::process::{Command, Stdio};
use tidings_e2e::{eventually, server};
use tidings_harness::cluster::Durability;
use tidings_harness::stage::{self, DATABASE, Stage};
use tidings_harness::worker::{self, ANY_PORT, Worker};

const MOUNT: &str = r#"mount -t tmpfs -o size=8m,mode=700 spool "$1" && shift && exec "$@""#;

#[test]
fn a_full_disk_refuses_and_room_takes_again() -> Result<()> {
    on_a_small_disk(|stage| {
        let mut answered = first(stage)?;
        stage.cluster.kill()?;
        let full = fill(stage, "sms", &mut answered)?;
        ensure!(full.body.contains("spool_failed"), "{full:?}");
        ensure!(full.header("retry-after").is_some(), "{full:?}");
        let taken = answered.len();
        ensure!(taken > 100, "{taken}");
        // Again and again: it stays refused, and answers.
        for number in 0..5 {
            let number = format!("refused-{number}");
            let answer = post(stage, "sms", "token", &number)?;
            match answer.status {
                200 => drop(answered.insert(id("sms", &number))),
                status => ensure!(status == 503, "{answer:?}"),
            }
        }
        grow(stage)?;
        eventually("there is room", || {
            let answer = post(stage, "sms", "token", "room")?;
            Ok((answer.status == 200).then_some(()))
        })?;
        answered.insert(id("sms", "room"));
        stage.cluster.restart()?;
        is_drained(stage)?;
        stored_once(stage, &answered)
    })
}

#[test]
fn a_full_disk_is_drained() -> Result<()> {
    on_a_small_disk(|stage| {
        let mut answered = first(stage)?;
        stage.cluster.kill()?;
        fill(stage, "sms", &mut answered)?;
        stage.cluster.restart()?;
        is_drained(stage)?;
        stored_once(stage, &answered)
    })
}

pub(super) fn on_a_small_disk(test: impl FnOnce(&mut Stage) -> Result<()>) -> Result<()> {
    let Some(unshare) = unshare() else {
        println!("SKIPPED: this system lets nobody mount a file system of his own");
        return Ok(());
    };
    let cluster = stage::cluster(&server()?, Durability::Fast)?;
    let folder = folder(&cluster);
    std::fs::create_dir(&folder)?;
    let mut plain = worker::command(&cluster.url(DATABASE), ANY_PORT, ANY_PORT)?;
    plain.arg("--spool-dir").arg(&folder);
    let mut command = Command::new("unshare");
    command.args(unshare).args(["sh", "-c", MOUNT, "sh"]);
    command
        .arg(&folder)
        .arg(plain.get_program())
        .args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let worker = Worker::spawn(&mut command, &cluster.folder().join("worker.log"))?;
    let mut stage = Stage { worker, cluster };
    stage.worker.wait_ready()?;
    test(&mut stage).inspect_err(|_| eprintln!("{}", stage.logs()))
}

/// How a process gets mounts that nobody else sees: as root, or as root of a user
/// namespace; `None` where neither is allowed.
fn unshare() -> Option<&'static [&'static str]> {
    let ways: [&[&str]; 2] = [&["--mount"], &["--mount", "--map-root-user"]];
    ways.into_iter().find(|way| {
        let mut command = Command::new("unshare");
        command
            .args(*way)
            .args(["mount", "-t", "tmpfs", "-o", "size=1m", "try", "/mnt"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

/// Makes the worker's disk larger.
fn grow(stage: &Stage) -> Result<()> {
    let remount = ["mount", "-o", "remount,size=64m"];
    in_mounts_of(stage, &remount, &folder(&stage.cluster))
}

/// Runs a command on a folder as the worker sees it.
pub(super) fn in_mounts_of(stage: &Stage, run: &[&str], folder: &Path) -> Result<()> {
    let target = stage.worker.id().to_string();
    let mut command = Command::new("nsenter");
    command.args(["--target", &target, "--mount"]);
    if unshare().is_some_and(|way| way.contains(&"--map-root-user")) {
        command.args(["--user", "--preserve-credentials"]);
    }
    let output = command.args(run).arg(folder).output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}
