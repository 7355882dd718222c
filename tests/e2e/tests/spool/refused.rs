//! The requests that Postgres does not accept when the spool is drained: they were answered 200,
//! so that none of them may be lost.

use super::{
    Worker, command, depth, first, id, is_drained, is_spooling, on_stage, post, post_to,
    stored_once,
};
use anyhow::{Result, anyhow, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::thread;
use tidings_e2e::{eventually, wait_logged};

/// More than `tidings.rejected` keeps of requests that were refused at once.
const WEBHOOKS: usize = 3_000;
const SENDERS: usize = 8;

#[test]
fn a_secret_that_was_changed_in_an_outage_loses_nothing() -> Result<()> {
    on_stage(&[], |stage| {
        let mut answered = first(stage)?;
        stage.cluster.kill()?;
        is_spooling(stage)?;
        let http = stage.worker.http;
        let send = |sender: usize| -> Result<BTreeSet<String>> {
            let numbers = (sender..WEBHOOKS)
                .step_by(SENDERS)
                .map(|number| number.to_string());
            let mut sent = BTreeSet::new();
            for number in numbers {
                let answer = post_to(http, "sms", "new", &number)?;
                ensure!(answer.status == 200, "{answer:?}");
                ensure!(answer.body.contains("spooled"), "{answer:?}");
                sent.insert(id("sms", &number));
            }
            Ok(sent)
        };
        thread::scope(|scope| {
            let senders: Vec<_> = (0..SENDERS)
                .map(|sender| scope.spawn(move || send(sender)))
                .collect();
            for sender in senders {
                let sent = sender.join().map_err(|_| anyhow!("a sender panicked"))??;
                answered.extend(sent);
            }
            anyhow::Ok(())
        })?;
        ensure!(answered.len() == WEBHOOKS + 1);
        stage.cluster.restart()?;
        is_drained(stage)?;

        let mut client = stage.connect()?;
        let kept = "select count(*) from tidings.rejected where verdict = 'unauthorized' and spool_bytes is not null";
        let kept: i64 = client.query_one(kept, &[])?.get(0);
        ensure!(kept == WEBHOOKS as i64, "{kept} are kept");
        let log = stage.cluster.folder().join("worker.log");
        let lines = eventually("all are warned of", || {
            let lines = wait_logged(&log, 1, |line| warned(line).is_some())?;
            Ok((count(&lines) >= WEBHOOKS as u64).then_some(lines))
        })?;
        let is_exact = count(&lines) == WEBHOOKS as u64 && lines.len() <= 3;
        ensure!(is_exact, "{lines:?}");

        client.batch_execute("select tidings.rotate_secret('sms', 'new')")?;
        let replay = "select count(*), sum(inserted) from tidings.replay_rejected('sms')";
        let row = client.query_one(replay, &[])?;
        let (replayed, inserted): (i64, i64) = (row.get(0), row.get(1));
        ensure!(
            replayed == WEBHOOKS as i64 && inserted == replayed,
            "{inserted} of {replayed}"
        );
        stored_once(stage, &answered)?;
        let left =
            "select (select count(*) from tidings.rejected) + (select count(*) from tidings.gap)";
        let left: i64 = client.query_one(left, &[])?.get(0);
        ensure!(left == 0, "{left} rows are left");
        Ok(())
    })
}

/// The number of requests of the source that this line of the log warns of, if it names the
/// remedy.
fn warned(line: &str) -> Option<u64> {
    let line: Value = serde_json::from_str(line).ok()?;
    let is_warning = line.get("level")? == "WARN" && line.get("source")? == "sms";
    let message = line.get("message")?.as_str()?;
    let names_remedy = message.contains("tidings.rotate_secret");
    let requests = line.get("requests")?.as_u64();
    requests.filter(|_| is_warning && names_remedy)
}

fn count(lines: &[String]) -> u64 {
    lines.iter().filter_map(|line| warned(line)).sum()
}

/// The sources of the new database are added one after another.
#[test]
fn a_database_that_is_created_anew_gets_what_was_spooled() -> Result<()> {
    on_stage(&[], |stage| {
        first(stage)?;
        stage.cluster.kill()?;
        is_spooling(stage)?;
        let mut answered = BTreeSet::new();
        for number in 0..5 {
            let number = format!("anew-{number}");
            let answer = post(stage, "sms", "token", &number)?;
            ensure!(answer.status == 200, "{answer:?}");
            answered.insert(id("sms", &number));
        }
        stage.worker.kill()?;
        stage.cluster.restart()?;
        let mut client = stage.connect()?;
        client.batch_execute(
            "drop extension tidings cascade; create extension tidings;
             select tidings.add_source('other', 'arpoone', 'token')",
        )?;
        let at = (stage.worker.http, stage.worker.grpc);
        let log = stage.cluster.folder().join("worker.log");
        stage.worker = Worker::spawn(&mut command(&stage.cluster, at)?, &log)?;
        stage.worker.wait_ready()?;
        let warning = |line: &str| {
            line.contains("does not know the source") && line.contains(r#""source":"sms""#)
        };
        wait_logged(&log, 1, warning)?;
        ensure!(depth(stage)? == 5, "{}", depth(stage)?);
        client.batch_execute("select tidings.add_source('sms', 'arpoone', 'token')")?;
        is_drained(stage)?;
        stored_once(stage, &answered)
    })
}
