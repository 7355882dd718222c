//! A clock of the worker that is wrong is wrong for as long as it is, and not longer.

use super::Clock;
use anyhow::{Context as _, Result, ensure};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tidings_e2e::{on_cluster, wait_known};
use tidings_harness::cluster::Cluster;
use tidings_harness::faketime;
use tidings_harness::http;
use tidings_harness::stage::DATABASE;
use tidings_harness::worker::{self, ANY_PORT, Worker};

const HOUR: i64 = 3600;
/// Greatest difference between the clocks of this program and of the worker, because some time passes between the readings.
const TOLERANCE: Duration = Duration::from_secs(600);

#[test]
fn a_clock_that_is_ahead_for_one_webhook_dates_no_other() -> Result<()> {
    on_cluster(|cluster| {
        let clock = cluster.folder().join("worker-clock");
        Clock::Off(0).write(&clock)?;
        let worker = start(cluster, &clock)?;
        for (message, seconds) in [("first", HOUR), ("second", 0)] {
            Clock::Off(seconds).write(&clock)?;
            let off = UNIX_EPOCH + receipt_time(&worker, message)?;
            let now = SystemTime::now() + Duration::from_secs(seconds.unsigned_abs());
            let difference = off
                .duration_since(now)
                .unwrap_or_else(|error| error.duration());
            ensure!(difference < TOLERANCE, "{message} is {difference:?} off");
        }
        // Postgres has a clock of its own.
        let rows = cluster.connect(DATABASE)?.query(
            "select message_id, received_at <= clock_timestamp() from tidings.event order by 1",
            &[],
        )?;
        let arrived: Vec<(String, bool)> = rows.iter().map(|r| (r.get(0), r.get(1))).collect();
        let expected = ["first", "second"].map(|message| (message.to_owned(), true));
        ensure!(arrived == expected, "{arrived:?}");
        Ok(())
    })
}

/// A worker whose clock is in a file.
fn start(cluster: &Cluster, clock: &Path) -> Result<Worker> {
    cluster
        .connect(DATABASE)?
        .batch_execute("select tidings.add_source('sms', 'arpoone', 'token')")?;
    let library = faketime::library()?;
    let mut command = worker::command(&cluster.url(DATABASE), ANY_PORT, ANY_PORT)?;
    let shift = ("FAKETIME_TIMESTAMP_FILE", clock.into());
    command.envs(faketime::environment(&library, shift));
    let mut worker = Worker::spawn(&mut command, &cluster.folder().join("worker.log"))?;
    worker.wait_ready()?;
    wait_known(worker.http, "sms")?;
    Ok(worker)
}

/// Posts a webhook, and reads the time of its receipt id.
fn receipt_time(worker: &Worker, message: &str) -> Result<Duration> {
    let body = format!(
        r#"[{{"Msisdn":"351913462111","Status":"DELIVERED","MessageId":"{message}","ReportDateTime":"2026-01-01T00:00:00"}}]"#
    );
    let answer = http::post(worker.http, "/hooks/sms/token", &[], body.as_bytes())?;
    ensure!(answer.status == 200, "{answer:?}");
    let receipt = answer.header("tidings-receipt").context("no receipt id")?;
    let millis: String = receipt.chars().filter(|&c| c != '-').take(12).collect();
    Ok(Duration::from_millis(u64::from_str_radix(&millis, 16)?))
}
