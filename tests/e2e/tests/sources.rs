//! A running worker takes up what changes among its sources.

use anyhow::{Result, ensure};
use std::thread;
use std::time::Duration;
use tidings_e2e::{eventually, on_stage, play, post_known};
use tidings_harness::emulator::Emulator;
use tidings_harness::http::{self, Answer};
use tidings_harness::stage::Stage;

const SMS: &[u8] = b"[]";

#[test]
fn a_hook_follows_its_source() -> Result<()> {
    on_stage(|stage| {
        let status = |stage: &Stage| -> Result<u16> {
            let json = [("content-type", "application/json")];
            Ok(http::post(stage.worker.http, "/hooks/sms/token", &json, SMS)?.status)
        };
        let becomes = |stage: &Stage, wanted: u16| {
            eventually(&format!("the hook answers {wanted}"), || {
                Ok((status(stage)? == wanted).then_some(()))
            })
        };
        let mut client = stage.connect()?;
        becomes(stage, 404)?;
        client.batch_execute("select tidings.add_source('sms', 'arpoone', 'token')")?;
        becomes(stage, 200)?;
        client.batch_execute("select tidings.set_source_enabled('sms', false)")?;
        becomes(stage, 503)?;
        client.batch_execute("select tidings.set_source_enabled('sms', true)")?;
        becomes(stage, 200)?;
        client.batch_execute("select tidings.rotate_secret('sms', 'another', '0')")?;
        becomes(stage, 401)?;
        client.batch_execute("select tidings.drop_source('sms')")?;
        becomes(stage, 404)
    })
}

/// A provider takes a 404 as the end of its events: nothing but the truth may
/// be told, however many ask at once.
#[test]
fn no_source_that_was_added_is_ever_unknown() -> Result<()> {
    on_stage(|stage| {
        let mut client = stage.connect()?;
        let at = stage.worker.http;
        for round in 0..8 {
            let names: Vec<String> = (0..8).map(|n| format!("sms-{round}-{n}")).collect();
            for name in &names {
                client.execute("select tidings.add_source($1, 'arpoone', 'token')", &[name])?;
            }
            let answers: Vec<Result<Answer>> = thread::scope(|scope| {
                let asking: Vec<_> = names
                    .iter()
                    .map(|name| {
                        scope.spawn(move || {
                            let json = [("content-type", "application/json")];
                            post_known(at, &format!("/hooks/{name}/token"), &json, SMS)
                        })
                    })
                    .collect();
                asking
                    .into_iter()
                    .filter_map(|answer| answer.join().ok())
                    .collect()
            });
            ensure!(answers.len() == names.len(), "a thread panicked");
            for answer in answers {
                let answer = answer?;
                ensure!(answer.status == 200, "in round {round}: {answer:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_stream_follows_its_source() -> Result<()> {
    on_stage(|stage| {
        let mut play = play(stage, 2_000, 3);
        play.only = Some("ppoppo");
        play.rate = 4_000;
        let mut emulator = Emulator::start(&play, stage.cluster.folder())?;
        emulator.begin()?;
        let mut client = stage.connect()?;
        let options = serde_json::json!({ "endpoint": format!("http://{}/ext", emulator.ppoppo) });

        // Added, in the middle of a run.
        client.execute(
            "select tidings.add_source('ppoppo', 'ppoppo', 'ppoppo-dev-token', $1)",
            &[&options],
        )?;
        eventually("the first events are stored", || {
            Ok((stored(stage)? > 0).then_some(()))
        })?;

        // Disabled: the worker hangs up.
        client.batch_execute("select tidings.set_source_enabled('ppoppo', false)")?;
        eventually("the stream is closed", || {
            Ok((!connected(stage)?).then_some(()))
        })?;
        let cursor: String = client
            .query_one("select tidings.stream_cursor('ppoppo')", &[])?
            .get(0);
        ensure!(!cursor.is_empty());

        // Enabled: it goes on where it was, to the end.
        client.batch_execute("select tidings.set_source_enabled('ppoppo', true)")?;
        eventually("every event is stored", || {
            emulator.listen()?;
            Ok((emulator.is_done() && stored(stage)? >= 2_000).then_some(()))
        })?;
        // Not at once, where it ended by itself just now.
        eventually("the stream is open", || Ok(connected(stage)?.then_some(())))?;

        // Its cursor moved, by three statements at once: the worker lets go in between, and
        // all of it comes again.
        let known = duplicates(stage)?;
        for statement in [
            "select tidings.set_source_enabled('ppoppo', false)",
            "select tidings.set_stream_cursor('ppoppo', '00000000000000000000000000')",
            "select tidings.set_source_enabled('ppoppo', true)",
        ] {
            client.batch_execute(statement)?;
        }
        eventually("every event came again", || {
            Ok((duplicates(stage)? >= known + 2_000.0).then_some(()))
        })?;

        // Dropped.
        client.batch_execute("select tidings.drop_source('ppoppo')")?;
        eventually("the stream is closed for good", || {
            Ok((!connected(stage)?).then_some(()))
        })?;
        emulator.finish()?;
        ensure!(stored(stage)? == 2_000);
        stage.worker.drain(Duration::from_secs(30))?;
        Ok(())
    })
}

fn stored(stage: &Stage) -> Result<i64> {
    Ok(stage
        .connect()?
        .query_one("select count(*) from tidings.event", &[])?
        .get(0))
}

/// How many events the worker handed in that were stored before.
fn duplicates(stage: &Stage) -> Result<f64> {
    let metrics = http::get(stage.worker.admin, "/metrics")?.body;
    let series = "tidings_worker_events_total{source=\"ppoppo\",result=\"duplicate\"} ";
    let count = metrics.lines().find_map(|line| line.strip_prefix(series));
    Ok(count.map_or(Ok(0.0), str::parse)?)
}

/// What the worker says of its stream.
fn connected(stage: &Stage) -> Result<bool> {
    let metrics = http::get(stage.worker.admin, "/metrics")?.body;
    Ok(metrics
        .lines()
        .any(|line| line == "tidings_worker_stream_connected{source=\"ppoppo\"} 1"))
}
