//! Each limit at its edge: what is just within is taken, what is just beyond is answered
//! as the manual says, and nothing hangs.

mod wire;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tidings_e2e::{eventually, server};
use tidings_harness::cluster::Durability;
use tidings_harness::http;
use tidings_harness::metrics;
use tidings_harness::stage::{self, DATABASE};
use tidings_harness::worker::{self, ANY_PORT, Worker};
use wire::{Wire, head, status};

/// Runs a test on a worker with these flags, and sources that let everybody in.
fn on_worker(flags: &[&str], test: impl FnOnce(&Worker) -> Result<()>) -> Result<()> {
    let cluster = stage::cluster(&server()?, Durability::Fast)?;
    cluster.connect(DATABASE)?.batch_execute(
        r#"select tidings.add_source(name, 'arpoone', null, '{"allow_unauthenticated": true}')
           from unnest('{one,two,three}'::text[]) name;
           select tidings.add_source('push', 'pushwoosh', null, '{"allow_unauthenticated": true}')"#,
    )?;
    let mut command = worker::command(&cluster.url(DATABASE), ANY_PORT, ANY_PORT)?;
    let log = cluster.folder().join("worker.log");
    let mut worker = Worker::spawn(command.args(flags), &log)?;
    worker.wait_ready()?;
    test(&worker).inspect_err(|_| eprintln!("{}", worker.tail()))
}

/// A webhook of exactly so many bytes.
fn body(bytes: usize) -> String {
    let report = json!([{
        "Msisdn": "351913462111",
        "Status": "DELIVERED",
        "MessageId": "0b1f5d1e-7f1e-4f57-a8a1-0e4f3c2c7a11",
        "ReportDateTime": "2026-01-01T00:00:00",
    }]);
    format!("{:<bytes$}", report.to_string())
}

fn post(worker: &Worker, source: &str) -> Result<http::Answer> {
    http::post(
        worker.http,
        &format!("/hooks/{source}"),
        &[],
        body(0).as_bytes(),
    )
}

#[test]
fn a_body_has_at_most_its_bytes() -> Result<()> {
    on_worker(&["--max-body", "4KiB"], |worker| {
        for (bytes, expected) in [(4096, "200"), (4097, "413")] {
            let body = body(bytes);
            let plain = head("one", &format!("content-length: {bytes}")) + &body;
            let (first, second) = body.split_at(1000);
            // Its length is known only at its end.
            let chunked = head("one", "transfer-encoding: chunked")
                + &format!(
                    "{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
                    1000,
                    bytes - 1000
                );
            for request in [plain, chunked] {
                let mut wire = Wire::to(worker.http)?;
                wire.say(&request)?;
                let answer = wire.answer()?;
                ensure!(status(&answer) == expected, "{bytes}: {answer}");
            }
        }
        // An announcement is enough.
        let mut wire = Wire::to(worker.http)?;
        wire.say(head("one", "content-length: 4097"))?;
        let answer = wire.rest()?;
        ensure!(status(&answer) == "413", "{answer}");
        Ok(())
    })
}

#[test]
fn nobody_may_take_for_ever() -> Result<()> {
    const WHOLE: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    const HALF: &str = "POST /hooks/one HTTP/1.1\r\nhost: loc";
    let times = [
        "--head-timeout",
        "5s",
        "--body-timeout",
        "5s",
        "--keep-alive",
        "5s",
    ];
    on_worker(&times, |worker| {
        let slow_body = head("one", "content-length: 10") + "12345";
        let slow_chunk = head("one", "transfer-encoding: chunked") + "5\r\n123";
        // After a 4xx Pushwoosh gives up.
        let slow_push = head("push", "content-length: 10") + "12345";
        let unread = head("nobody", "content-length: 10") + "12345";
        let half_behind = [WHOLE, HALF].concat();
        let huge = format!("{HALF}{}", "x".repeat(200_000));
        // What is sent, and the status of the last answer before it is closed.
        let cases = [
            ("", "408"),
            (HALF, "408"),
            (WHOLE, "200"),
            (&half_behind, "200"),
            (&slow_body, "408"),
            (&slow_chunk, "408"),
            (&slow_push, "503"),
        ];
        let said = |(sent, expected)| {
            let mut wire = Wire::to(worker.http)?;
            wire.say(sent)?;
            anyhow::Ok((sent, expected, wire))
        };
        let said = cases.into_iter().map(said).collect::<Result<Vec<_>>>()?;
        for (sent, expected, mut wire) in said {
            let answer = wire.rest().with_context(|| format!("{sent:?}"))?;
            ensure!(status(&answer) == expected, "{sent:?}: {answer}");
        }
        // A body that nobody wants; 503 where nobody could look for the source in time.
        let answer = eventually("it is known, or is not", || {
            let mut wire = Wire::to(worker.http)?;
            wire.say(&unread)?;
            let answer = wire.rest()?;
            Ok((status(&answer) != "503").then_some(answer))
        })?;
        ensure!(status(&answer) == "404", "{answer}");
        // Half a head, after an answer.
        let mut wire = Wire::to(worker.http)?;
        wire.say(WHOLE)?;
        wire.answer()?;
        wire.say(HALF)?;
        ensure!(wire.rest()?.is_empty());
        // A head without end is not read to its end.
        let mut wire = Wire::to(worker.http)?;
        let _ = wire.say(&huge);
        ensure!(!wire.rest()?.starts_with("HTTP/1.1 2"));
        // Nothing said to the gRPC entrance, and half of what is said first.
        for said in ["", "PRI * HTTP/2.0\r\n"] {
            let mut wire = Wire::to(worker.grpc)?;
            wire.say(said)?;
            wire.rest()?;
        }
        Ok(())
    })
}

#[test]
fn one_source_has_a_share_and_all_have_the_whole() -> Result<()> {
    let limits = ["--pending-requests", "8", "--source-share", "50"];
    // Longer than any wait here.
    let patient = ["--body-timeout", "5m"];
    on_worker(&[&limits[..], &patient].concat(), |worker| {
        let pending = |requests: usize| {
            let name = "tidings_worker_pending_requests";
            eventually("so many are pending", || {
                Ok((metrics::gauge(worker.admin, name)? == requests as f64).then_some(()))
            })
        };
        // What is pending: a body that has not come yet.
        let held = |source: &str| {
            let mut wire = Wire::to(worker.http)?;
            wire.say(head(source, &format!("content-length: {}", body(0).len())))?;
            anyhow::Ok(wire)
        };
        let mut ones = (0..4).map(|_| held("one")).collect::<Result<Vec<_>>>()?;
        pending(4)?;
        let answer = post(worker, "one")?;
        ensure!(answer.status == 503, "{answer:?}");
        ensure!(answer.header("retry-after") == Some("1"), "{answer:?}");
        ensure!(answer.body.contains("source_busy"), "{answer:?}");
        ensure!(post(worker, "two")?.status == 200);

        let twos = (0..4).map(|_| held("two")).collect::<Result<Vec<_>>>()?;
        pending(8)?;
        let answer = post(worker, "three")?;
        ensure!(answer.status == 503, "{answer:?}");
        ensure!(answer.header("retry-after") == Some("1"), "{answer:?}");
        ensure!(answer.body.contains(r#""busy""#), "{answer:?}");
        // One of them is finished, and there is room for one.
        let one = ones.first_mut().context("there are four")?;
        one.say(body(0))?;
        ensure!(status(&one.answer()?) == "200");
        pending(7)?;
        for source in ["one", "three"] {
            ensure!(post(worker, source)?.status == 200, "{source}");
        }
        // Those who go away give back what they had.
        drop((ones, twos));
        pending(0)
    })
}

#[test]
fn beyond_its_connections_everybody_is_still_answered() -> Result<()> {
    let limits = ["--http-connections", "2", "--head-timeout", "5s"];
    on_worker(&limits, |worker| {
        let ask = |wire: &mut Wire| {
            let body = body(0);
            wire.say(head("one", &format!("content-length: {}", body.len())) + &body)?;
            let answer = wire.answer()?.to_ascii_lowercase();
            ensure!(status(&answer) == "200", "{answer}");
            Ok(answer.contains("connection: close"))
        };
        let open = |connections: usize| {
            eventually("so many are open", || {
                let open = metrics::gauge(worker.admin, "tidings_worker_http_connections")?;
                Ok((open == connections as f64).then_some(()))
            })
        };
        open(0)?;
        let mut first = Wire::to(worker.http)?;
        ensure!(!ask(&mut first)?, "the first may stay");
        // Not before: its head is due from then on.
        let mut second = Wire::to(worker.http)?;
        ensure!(!ask(&mut second)?, "the second may stay");
        open(2)?;
        let mut third = Wire::to(worker.http)?;
        ensure!(ask(&mut third)?, "the third may not stay");
        ensure!(third.rest()?.is_empty());
        ensure!(!ask(&mut first)?, "the first may");

        // More than are accepted: the next one waits, at most until these are cut.
        let silent = (0..600)
            .map(|_| Wire::to(worker.http))
            .collect::<Result<Vec<_>>>()?;
        ask(&mut Wire::to(worker.http)?)?;
        drop(silent);
        Ok(())
    })
}

#[test]
fn beyond_its_connections_grpc_closes_the_oldest_that_does_not_push() -> Result<()> {
    // What says nothing is held, longer than any wait here.
    let limits = ["--grpc-connections", "2", "--head-timeout", "5m"];
    on_worker(&limits, |worker| {
        let name = "tidings_worker_grpc_connections";
        let open = |connections: f64| {
            eventually("so many are open", || {
                Ok((metrics::gauge(worker.admin, name)? == connections).then_some(()))
            })
        };
        let refused = || {
            metrics::gauge(
                worker.admin,
                "tidings_worker_grpc_connections_refused_total",
            )
        };
        // Nobody has come yet, and both say so.
        ensure!(metrics::gauge(worker.admin, name)? == 0.0);
        ensure!(refused()? == 0.0);
        let mut first = Wire::to(worker.grpc)?;
        open(1.0)?;
        let second = Wire::to(worker.grpc)?;
        open(2.0)?;
        let third = Wire::to(worker.grpc)?;
        // It ends, perhaps after the settings of HTTP/2.
        first.rest()?;
        ensure!(refused()? == 1.0);
        open(2.0)?;
        drop((second, third));
        open(0.0)?;
        let _held = Wire::to(worker.grpc)?;
        open(1.0)
    })
}
