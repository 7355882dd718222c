//! A request that the worker refuses before Postgres sees it leaves a trace: a row of
//! tidings.rejected, a line of the log and a series with its source.

use anyhow::{Context as _, Result, ensure};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};
use tidings_e2e::{DEADLINE, eventually, on_stage_with, wait_known, wait_logged};
use tidings_harness::http;
use tidings_harness::metrics;
use tidings_harness::stage::Stage;

const HOOK: &str = "/hooks/sms/token";
const KEPT: &str = "tidings_worker_refused_kept_total";
/// Number of requests of a source that are kept at once, and in each second from then on.
const BURST: f64 = 100.0;
const PER_SECOND: f64 = 10.0;

fn event(id: &str) -> String {
    format!(
        r#"[{{"Msisdn":"351913462111","Status":"DELIVERED","MessageId":"{id}","ReportDateTime":"2026-01-01T00:00:00"}}]"#
    )
}

fn on_source(flags: &[&str], test: impl FnOnce(&mut Stage) -> Result<()>) -> Result<()> {
    on_stage_with(flags, |stage| {
        stage
            .connect()?
            .batch_execute("select tidings.add_source('sms', 'arpoone', 'token')")?;
        wait_known(stage.worker.http, "sms")?;
        test(stage)
    })
}

/// A row of tidings.rejected.
#[derive(Debug)]
struct Row {
    reason: String,
    peer: String,
    receipt: Option<String>,
    token: Option<String>,
    body: Vec<u8>,
    bytes: i32,
}

/// The refused requests, the oldest first, as soon as there are so many.
fn rows(stage: &Stage, count: usize) -> Result<Vec<Row>> {
    let mut client = stage.connect()?;
    eventually("the refused requests are kept", || {
        let rows = client.query(
            "select reason, host(peer), headers ->> 'receipt-id', headers ->> 'url-token', body, body_bytes
             from tidings.rejected where verdict = 'refused' order by id",
            &[],
        )?;
        let row = |row: &postgres::Row| -> Result<Row> {
            Ok(Row {
                reason: row.try_get(0)?,
                peer: row.try_get(1)?,
                receipt: row.try_get(2)?,
                token: row.try_get(3)?,
                body: row.try_get(4)?,
                bytes: row.try_get(5)?,
            })
        };
        ensure!(rows.len() <= count, "{} rows, not {count}", rows.len());
        Ok((rows.len() == count).then_some(rows.iter().map(row).collect::<Result<Vec<_>>>()?))
    })
}

#[test]
fn what_a_source_loses_is_a_row_a_line_and_a_series() -> Result<()> {
    let flags = ["--max-body", "4KiB", "--body-timeout", "1s"];
    on_source(&flags, |stage| {
        let at = stage.worker.http;
        let large = "x".repeat(5_000);
        let body = event("lost");
        let mut expected = Vec::new();
        for (request, status, cause, head, bytes) in [
            (
                (
                    "POST",
                    HOOK,
                    &[("content-encoding", "br")][..],
                    body.as_bytes(),
                ),
                415,
                "unsupported_encoding",
                body.as_str(),
                body.len(),
            ),
            (
                (
                    "POST",
                    HOOK,
                    &[("content-encoding", "gzip")],
                    body.as_bytes(),
                ),
                400,
                "malformed",
                &body,
                body.len(),
            ),
            (
                ("POST", HOOK, &[], large.as_bytes()),
                413,
                "too_large",
                &large[..4096],
                5_000,
            ),
            (
                ("POST", "/hooks/sms/token/more", &[], body.as_bytes()),
                404,
                "not_found",
                &body,
                body.len(),
            ),
            (
                ("PUT", HOOK, &[], body.as_bytes()),
                405,
                "method_not_allowed",
                &body,
                body.len(),
            ),
        ] {
            let (method, path, headers, sent) = request;
            let answer = http::request(at, method, path, headers, sent)?;
            ensure!(answer.status == status, "{cause}: {answer:?}");
            let receipt = answer.header("tidings-receipt").map(str::to_owned);
            expected.push((status, cause, receipt, head.to_owned(), bytes));
        }
        // In chunks, so that nobody knows how long it is; and one that does not end.
        let chunk = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
        for (rest, status, cause, head, bytes) in [
            (chunk.as_str(), 413, "too_large", &large[..4096], 4097),
            ("7\r\npartial\r\n", 408, "timeout", "partial", 8),
        ] {
            let mut stream = TcpStream::connect(at)?;
            stream.set_read_timeout(Some(DEADLINE))?;
            write!(
                stream,
                "POST {HOOK} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{rest}"
            )?;
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            ensure!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{answer}"
            );
            let receipt = answer
                .lines()
                .find_map(|line| line.strip_prefix("tidings-receipt: "));
            expected.push((
                status,
                cause,
                receipt.map(str::to_owned),
                head.to_owned(),
                bytes,
            ));
        }
        let log = stage.cluster.folder().join("worker.log");
        for (row, (status, cause, receipt, head, bytes)) in
            rows(stage, expected.len())?.iter().zip(&expected)
        {
            ensure!(
                row.reason
                    .starts_with(&format!("answered {status} ({cause})")),
                "{row:?}"
            );
            ensure!(
                receipt.is_some() && row.receipt == *receipt,
                "{row:?} {receipt:?}"
            );
            ensure!(
                row.peer == "127.0.0.1" && row.token.as_deref() == Some("token"),
                "{row:?}"
            );
            ensure!(
                row.body == head.as_bytes(),
                "{cause}: {} bytes",
                row.body.len()
            );
            ensure!(
                row.bytes as usize == *bytes,
                "{cause}: {} of {}",
                row.body.len(),
                row.bytes
            );
            // Two of them have one cause, and the second is counted for the next minute.
            let lines = wait_logged(&log, 1, |line| {
                line.contains("a webhook is refused") && line.contains(cause)
            })?;
            ensure!(
                lines
                    .iter()
                    .all(|line| line.contains("\"sms\"") && line.contains("WARN")),
                "{lines:?}"
            );
            let series =
                format!("tidings_worker_refused_early_total{{source=\"sms\",reason=\"{cause}\"}}");
            ensure!(
                metrics::value(stage.worker.admin, &series)? >= Some(1.0),
                "{series}"
            );
        }
        let series = format!("{KEPT}{{source=\"sms\",result=\"kept\"}}");
        eventually("the rows are counted", || {
            Ok(
                (metrics::value(stage.worker.admin, &series)? == Some(expected.len() as f64))
                    .then_some(()),
            )
        })?;

        // Whole bodies with the right token come in after all; of the others only the
        // beginning is known.
        let mut client = stage.connect()?;
        let replayed = client.query(
            "select verdict, inserted from tidings.replay_rejected('sms') order by ordinal",
            &[],
        )?;
        let replayed: Vec<(String, i32)> = replayed
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect();
        let accepted = replayed.iter().filter(|(verdict, _)| verdict == "accepted");
        ensure!(accepted.clone().count() == 4, "{replayed:?}");
        ensure!(
            accepted.map(|(_, inserted)| inserted).sum::<i32>() == 1,
            "{replayed:?}"
        );
        ensure!(
            rows(stage, 3)?
                .iter()
                .all(|row| row.bytes as usize > row.body.len())
        );
        Ok(())
    })
}

/// Strangers, and the sender of a known source while Postgres is down.
#[test]
fn what_is_nobodys_or_cannot_be_kept_is_counted_and_not_kept() -> Result<()> {
    on_source(&[], |stage| {
        let at = stage.worker.http;
        let odd = [("content-encoding", "br")];
        for path in ["/hooks/unknown", "/hooks/unknown/token/more", "/elsewhere"] {
            let answer = http::post(at, path, &odd, b"[]")?;
            ensure!(answer.status == 404, "{path}: {answer:?}");
        }
        stage.cluster.kill()?;
        eventually("the worker knows that Postgres is away", || {
            let up = metrics::gauge(stage.worker.admin, "tidings_worker_database_up")?;
            Ok((up == 0.0).then_some(()))
        })?;
        let answer = http::post(at, HOOK, &odd, b"[]")?;
        ensure!(answer.status == 415, "{answer:?}");
        let series = format!("{KEPT}{{source=\"sms\",result=\"dropped\"}}");
        eventually("it is counted", || {
            Ok((metrics::value(stage.worker.admin, &series)? == Some(1.0)).then_some(()))
        })?;
        stage.cluster.restart()?;
        stage.worker.wait_ready()?;
        ensure!(http::post(at, HOOK, &odd, b"[1]")?.status == 415);
        let [row] = rows(stage, 1)?.try_into().ok().context("one row")?;
        ensure!(row.body == b"[1]", "{row:?}");
        Ok(())
    })
}

/// Anybody who knows the name of a source can send what is refused.
#[test]
fn a_flood_of_bad_requests_costs_few_rows_and_delays_nobody() -> Result<()> {
    on_source(&[], |stage| {
        stage
            .connect()?
            .batch_execute("select tidings.add_source('other', 'arpoone', 'token')")?;
        wait_known(stage.worker.http, "other")?;
        let (at, began) = (stage.worker.http, Instant::now());
        let flood: Vec<_> = (0..8)
            .map(|_| {
                thread::spawn(move || -> Result<usize> {
                    let mut refused = 0;
                    while began.elapsed() < Duration::from_secs(3) {
                        let answer = http::post(at, HOOK, &[("content-encoding", "br")], b"[]")?;
                        ensure!(answer.status == 415, "{answer:?}");
                        refused += 1;
                    }
                    Ok(refused)
                })
            })
            .collect();
        let mut longest = Duration::ZERO;
        while began.elapsed() < Duration::from_secs(3) {
            let sent = Instant::now();
            let answer = http::post(at, "/hooks/other/token", &[], event("beside").as_bytes())?;
            ensure!(answer.status == 200, "{answer:?}");
            longest = longest.max(sent.elapsed());
        }
        let mut refused = 0;
        for sender in flood {
            refused += sender.join().expect("it does not panic")?;
        }
        let most = BURST + began.elapsed().as_secs_f64() * PER_SECOND;
        let counted = |result: &str| -> Result<f64> {
            let series = format!("{KEPT}{{source=\"sms\",result=\"{result}\"}}");
            Ok(metrics::value(stage.worker.admin, &series)?.unwrap_or_default())
        };
        eventually("each is kept or dropped", || {
            Ok((counted("kept")? + counted("dropped")? == refused as f64).then_some(()))
        })?;
        let rows = stage
            .connect()?
            .query_one("select count(*) from tidings.rejected", &[])?;
        let rows = rows.try_get::<_, i64>(0)? as f64;
        println!("{refused} refused, {rows} kept of at most {most}; beside it at most {longest:?}");
        ensure!(refused as f64 > most * 2.0, "this is no flood: {refused}");
        ensure!(rows == counted("kept")? && rows <= most, "{rows} of {most}");
        ensure!(rows >= BURST.min(64.0), "{rows}");
        Ok(())
    })
}
