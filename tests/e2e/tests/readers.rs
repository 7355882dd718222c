//! The worker's work for readers of the log: wake-ups after commits, and ticks.

use anyhow::{Context as _, Result, ensure};
use postgres::Client;
use postgres::fallible_iterator::FallibleIterator as _;
use std::time::Duration;
use tidings_e2e::{DEADLINE, eventually, on_stage, on_stage_with, post_known};
use tidings_harness::stage::Stage;

fn add(stage: &Stage) -> Result<()> {
    let add = "select tidings.add_source('sms', 'arpoone', 'token')";
    stage.connect()?.batch_execute(add)?;
    Ok(())
}

/// Posts the state of one message.
fn post(stage: &mut Stage, message: u32) -> Result<()> {
    let body = format!(
        r#"[{{"Msisdn":"351913462111","Status":"DELIVERED","MessageId":"{message}","ReportDateTime":"2026-01-01T00:00:00"}}]"#
    );
    let answer = post_known(stage.worker.http, "/hooks/sms/token", &[], body.as_bytes())?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(())
}

/// Waits for a notification.
fn hear(listening: &mut Client) -> Result<()> {
    let mut notifications = listening.notifications();
    let heard = notifications.timeout_iter(DEADLINE).next()?;
    let heard = heard.context("nobody was woken up")?;
    ensure!(heard.channel() == "tidings", "{heard:?}");
    Ok(())
}

#[test]
fn a_reader_that_listens_is_woken_up_and_then_sees_the_event() -> Result<()> {
    on_stage(|stage| {
        add(stage)?;
        let mut listening = stage.connect()?;
        listening.batch_execute("listen tidings")?;
        for message in 1..=3 {
            post(stage, message)?;
            hear(&mut listening)?;
            let row = listening.query_one("select count(*) from tidings.events_after()", &[])?;
            let seen: i64 = row.try_get(0)?;
            ensure!(seen == i64::from(message), "{seen} after {message}");
        }
        Ok(())
    })
}

#[test]
fn a_worker_that_drains_wakes_readers_up_for_the_last_events() -> Result<()> {
    on_stage(|stage| {
        add(stage)?;
        post(stage, 1)?;
        let mut listening = stage.connect()?;
        // Whatever was sent before is not heard.
        listening.batch_execute("listen tidings")?;
        let status = stage.worker.drain(Duration::from_secs(30))?;
        ensure!(status.success(), "{status}");
        hear(&mut listening)
    })
}

#[test]
fn an_idle_log_has_a_horizon_that_rises_if_the_worker_is_told_to_tick() -> Result<()> {
    on_stage_with(&["--tick"], |stage| {
        let mut client = stage.connect()?;
        client.batch_execute("listen tidings")?;
        let now = "select tidings.ulid_at(clock_timestamp())::text";
        let now: String = client.query_one(now, &[])?.try_get(0)?;
        eventually("the horizon has passed that time", || {
            let passed = "select tidings.log_horizon() > $1::text::tidings.ulid";
            let passed: bool = client.query_one(passed, &[&now])?.try_get(0)?;
            Ok(passed.then_some(()))
        })?;
        let row = client.query_one("select count(*) from tidings.events_after()", &[])?;
        ensure!(row.try_get::<_, i64>(0)? == 0, "a tick is no event");
        hear(&mut client)
    })
}
