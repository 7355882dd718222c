//! Somebody takes the spool's file or folder away while the worker runs: what was answered
//! 200 is found by the next worker of that path.

use super::full_disk::{in_mounts_of, on_a_small_disk};
use super::{
    ANY_PORT, Worker, command, first, folder, id, is_drained, is_spooling, on_stage, post,
    stored_once,
};
use anyhow::{Result, bail, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use tidings_e2e::{eventually, wait_logged};
use tidings_harness::http;
use tidings_harness::stage::Stage;

const FILE: &str = "requests.redb";

/// Posts some; notes what was answered 200. All others must have been refused.
fn send(stage: &Stage, phase: &str, answered: &mut BTreeSet<String>) -> Result<usize> {
    let mut accepted = 0;
    for number in 0..20 {
        let number = format!("{phase}-{number}");
        let answer = post(stage, "sms", "token", &number)?;
        match answer.status {
            200 => {
                accepted += 1;
                answered.insert(id("sms", &number));
            }
            503 => ensure!(answer.body.contains("spool_failed"), "{answer:?}"),
            _ => bail!("{answer:?}"),
        }
    }
    Ok(accepted)
}

/// Sends until a request is accepted.
fn is_taken(stage: &Stage, number: &str, answered: &mut BTreeSet<String>) -> Result<()> {
    eventually("requests are spooled again", || {
        let answer = post(stage, "sms", "token", number)?;
        Ok((answer.status == 200).then_some(()))
    })?;
    answered.insert(id("sms", number));
    Ok(())
}

/// The worker is killed and started anew with its path, and then Postgres: what was answered
/// 200 is stored, and nothing else.
fn ends_well(stage: &mut Stage, answered: &BTreeSet<String>) -> Result<()> {
    stage.worker.kill()?;
    let at = (stage.worker.http, stage.worker.grpc);
    let log = stage.cluster.folder().join("worker.log");
    stage.worker = Worker::spawn(&mut command(&stage.cluster, at)?, &log)?;
    stage.cluster.restart()?;
    stage.worker.wait_ready()?;
    is_drained(stage)?;
    stored_once(stage, answered)?;
    let gaps = "select count(*) from tidings.gap";
    let gaps: i64 = stage.connect()?.query_one(gaps, &[])?.get(0);
    ensure!(gaps == 0, "{gaps} gaps");
    Ok(())
}

fn taken_away(loss: impl Fn(&Path) -> Result<()>) -> Result<()> {
    on_stage(&[], |stage| {
        let mut answered = first(stage)?;
        stage.cluster.kill()?;
        is_spooling(stage)?;
        ensure!(send(stage, "before", &mut answered)? == 20);
        loss(&folder(&stage.cluster))?;
        send(stage, "during", &mut answered)?;
        is_taken(stage, "again", &mut answered)?;
        let log = stage.cluster.folder().join("worker.log");
        wait_logged(&log, 1, |line| line.contains("were written to a new file"))?;
        ensure!(send(stage, "after", &mut answered)? == 20);
        ends_well(stage, &answered)
    })
}

#[test]
fn a_folder_that_is_renamed_loses_nothing() -> Result<()> {
    taken_away(|folder| Ok(fs::rename(folder, folder.with_extension("away"))?))
}

#[test]
fn a_file_that_is_removed_loses_nothing() -> Result<()> {
    taken_away(|folder| Ok(fs::remove_file(folder.join(FILE))?))
}

#[test]
fn a_file_that_is_replaced_loses_nothing() -> Result<()> {
    taken_away(|folder| {
        let copy = folder.join("copy");
        fs::copy(folder.join(FILE), &copy)?;
        Ok(fs::rename(copy, folder.join(FILE))?)
    })
}

/// Nobody sends: the worker sees it all the same.
#[test]
fn what_is_taken_away_while_nobody_sends_is_written_anew() -> Result<()> {
    on_stage(&[], |stage| {
        let mut answered = first(stage)?;
        stage.cluster.kill()?;
        is_spooling(stage)?;
        ensure!(send(stage, "before", &mut answered)? == 20);
        let folder = folder(&stage.cluster);
        fs::remove_dir_all(&folder)?;
        eventually("the file and the note are there again", || {
            let files = [FILE, "waiting.json"].map(|name| folder.join(name));
            Ok(files.iter().all(|file| file.exists()).then_some(()))
        })?;
        ends_well(stage, &answered)
    })
}

#[test]
fn into_a_folder_that_another_worker_holds_nothing_is_written() -> Result<()> {
    on_stage(&[], |stage| {
        let mut answered = first(stage)?;
        stage.cluster.kill()?;
        is_spooling(stage)?;
        ensure!(send(stage, "before", &mut answered)? == 20);
        // Else it would take the folder at once.
        stage.worker.pause()?;
        let place = folder(&stage.cluster);
        fs::rename(&place, place.with_extension("away"))?;
        let log = stage.cluster.folder().join("second.log");
        let second = &mut command(&stage.cluster, (ANY_PORT, ANY_PORT))?;
        let mut second = Worker::spawn(second, &log)?;
        wait_logged(&log, 1, |line| line.contains("the spool is open"))?;
        stage.worker.resume()?;
        let accepted = send(stage, "refused", &mut answered)?;
        ensure!(accepted == 0, "{accepted} were accepted");
        let ready = http::get(stage.worker.admin, "/readyz")?;
        ensure!(ready.status == 503, "{ready:?}");
        ensure!(
            ready.body.contains("another process holds the spool"),
            "{ready:?}"
        );
        second.kill()?;
        is_taken(stage, "again", &mut answered)?;
        ensure!(http::get(stage.worker.admin, "/readyz")?.status == 200);
        ends_well(stage, &answered)
    })
}

/// A file system that is mounted over the folder, and nothing can be written to it.
#[test]
fn a_folder_behind_a_disk_that_is_read_only_is_used_again_when_the_disk_is_gone() -> Result<()> {
    on_a_small_disk(|stage| {
        let mut answered = first(stage)?;
        stage.cluster.kill()?;
        is_spooling(stage)?;
        ensure!(send(stage, "before", &mut answered)? == 20);
        let folder = folder(&stage.cluster);
        in_mounts_of(
            stage,
            &["mount", "-t", "tmpfs", "-o", "ro", "over"],
            &folder,
        )?;
        ensure!(send(stage, "during", &mut answered)? == 0);
        in_mounts_of(stage, &["umount"], &folder)?;
        is_taken(stage, "again", &mut answered)?;
        stage.cluster.restart()?;
        is_drained(stage)?;
        stored_once(stage, &answered)
    })
}
