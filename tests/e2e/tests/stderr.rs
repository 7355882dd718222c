//! Strangers who would fill the log, and a stderr that nobody reads: neither stops the worker,
//! and neither costs more than a few lines.

use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tidings_e2e::{DEADLINE, eventually, on_stage, on_stage_with, wait_known, wait_logged};
use tidings_harness::http;
use tidings_harness::metrics;
use tidings_harness::stage::Stage;

const DROPPED: &str = "tidings_worker_log_dropped_total";
const STRANGERS: usize = 4;
/// Strangers who come at the same time with [`REQUESTS`] between them.
const MANY: usize = 25;
/// Requests of strangers, of which none is well-formed.
const REQUESTS: usize = 1_000;
/// Lines that so many of them may make, and further lines of an ordinary run.
const LINES: usize = 5;
const ORDINARY: usize = 60;
/// Time limit for the end of a worker with nothing in flight.
const SOON: Duration = Duration::from_secs(30);
/// A line of nobody's, after which nobody reads.
const LAST_READ: &str = "unread";
/// A part of the time for which a worker waits for the reader of its last lines.
const WAIT: Duration = Duration::from_millis(300);

#[test]
fn a_stderr_that_nobody_reads_stops_nothing() -> Result<()> {
    on_stage_with(&["--log", "debug"], |stage| {
        let mut client = stage.connect()?;
        client.batch_execute("select tidings.add_source('sms', 'arpoone', 'token')")?;
        wait_known(stage.worker.http, "sms")?;
        stage.worker.leave_log_unread();
        hammer(stage, 1.0)?;
        let body = br#"[{"MessageId":"beside","Status":"DELIVERED","ReportDateTime":"2026-01-01T00:00:00"}]"#;
        let answer = http::post(stage.worker.http, "/hooks/sms/token", &[], body)?;
        ensure!(answer.status == 200, "{answer:?}");
        let stored = client.query("select message_id from tidings.event", &[])?;
        ensure!(stored.len() == 1, "{} events", stored.len());

        stage.worker.read_log();
        let log = log(stage);
        let counted = eventually("each line that was dropped is reported", || {
            let counted = dropped(stage)?;
            Ok((reported(&log)? == counted).then_some(counted))
        })?;
        println!("{counted} lines dropped");

        stage.worker.leave_log_unread();
        hammer(stage, counted + 1.0)?;
        let status = stage.worker.drain(SOON)?;
        ensure!(status.code() == Some(0), "{status}");
        Ok(())
    })
}

#[test]
fn malformed_requests_have_no_line_each() -> Result<()> {
    on_stage(|stage| {
        pester(stage.worker.http)?;
        pester(stage.worker.grpc)?;
        acknowledge_pings(stage.worker.grpc)?;
        let status = stage.worker.drain(DEADLINE)?;
        ensure!(status.code() == Some(0), "{status}");
        few_lines(&log(stage))
    })
}

#[test]
fn the_last_line_of_a_worker_says_why_it_ended() -> Result<()> {
    on_stage(|stage| {
        let taken = stage.worker.http.to_string();
        let mut command = tidings_harness::worker::command(
            &stage.cluster.url(tidings_harness::stage::DATABASE),
            stage.worker.http,
            tidings_harness::worker::ANY_PORT,
        )?;
        let output = command.output()?;
        ensure!(output.status.code() == Some(71), "{output:?}");
        let text = String::from_utf8(output.stderr)?;
        let last = text.lines().last().context("it says nothing")?;
        let last: serde_json::Value = serde_json::from_str(last)?;
        ensure!(last["exit_code"] == 71, "{last}");
        let message = last["message"].as_str().unwrap_or_default();
        ensure!(message.contains(&taken), "{last}");
        Ok(())
    })
}

/// The worker ends its listeners first, and then waits for whoever reads its log.
#[test]
fn the_last_lines_wait_for_a_slow_reader() -> Result<()> {
    on_stage(|stage| {
        let mut stderr = stderr_of(stage.worker.id())?;
        stage.worker.leave_log_unread();
        // The reader takes one more line, and all that has come with it.
        stderr.write_all(format!("{LAST_READ}\n").as_bytes())?;
        wait_logged(&log(stage), 1, |line| line == LAST_READ)?;
        fill(&mut stderr)?;
        drop(stderr);
        stage.worker.terminate()?;
        let admin = stage.worker.admin;
        eventually("its last listener is gone", || {
            Ok(TcpStream::connect(admin).is_err().then_some(()))
        })?;
        let ended = stage.worker.ended(WAIT);
        ensure!(ended.is_err(), "it waits for nobody: {ended:?}");
        stage.worker.read_log();
        let status = stage.worker.ended(SOON)?;
        ensure!(status.code() == Some(0), "{status}");
        let is_last = |line: &str| line.contains("\"drained\"");
        wait_logged(&log(stage), 1, is_last).map(drop)
    })
}

/// The pipe that is the stderr of a process; a write never waits.
fn stderr_of(process: u32) -> Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits())?;
    let pipe = options.write(true).custom_flags(nonblocking);
    Ok(pipe.open(format!("/proc/{process}/fd/2"))?)
}

fn fill(pipe: &mut fs::File) -> Result<()> {
    for line in ["x".repeat(1_000) + "\n", "\n".to_owned()] {
        loop {
            match pipe.write(line.as_bytes()) {
                Ok(_) => {}
                Err(full) if full.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Malformed requests, until so many lines of the log were dropped.
fn hammer(stage: &Stage, least: f64) -> Result<()> {
    let at = stage.worker.http;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..STRANGERS {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    for form in forms() {
                        let _ = say(at, &form);
                    }
                }
            });
        }
        let full = eventually("lines are dropped", || {
            Ok((dropped(stage)? >= least).then_some(()))
        });
        over.store(true, Ordering::SeqCst);
        full
    })
}

/// [`REQUESTS`] malformed requests, side by side, because the worker lets some of them linger
/// for a second.
pub(crate) fn pester(at: SocketAddr) -> Result<()> {
    let forms = &forms();
    let of = move |stranger: usize| {
        let forms = forms.iter().cycle().skip(stranger).step_by(MANY);
        let mut forms = forms.take(REQUESTS / MANY);
        forms.try_for_each(|form| say(at, form))
    };
    thread::scope(|scope| {
        let strangers = (0..MANY).map(|stranger| scope.spawn(move || of(stranger)));
        let strangers: Vec<_> = strangers.collect();
        let mut strangers = strangers.into_iter();
        strangers.try_for_each(|stranger| stranger.join().ok().context("a stranger panicked")?)
    })
}

/// Fails if a log has many lines, or more than a few that warn or are not the worker's own.
pub(crate) fn few_lines(log: &Path) -> Result<()> {
    let lines = lines(log)?;
    let is_noise = |line: &serde_json::Value| {
        let target = line["target"].as_str().unwrap_or_default();
        !target.starts_with("tidings_worker") || line["level"] == "WARN" || line["level"] == "ERROR"
    };
    let noise: Vec<_> = lines.iter().filter(|line| is_noise(line)).collect();
    println!("{} lines, {} of noise: {noise:?}", lines.len(), noise.len());
    ensure!(noise.len() <= LINES, "{} lines: {noise:?}", noise.len());
    ensure!(lines.len() <= ORDINARY, "{} lines: {lines:?}", lines.len());
    Ok(())
}

fn forms() -> Vec<Vec<u8>> {
    let hook = "POST /hooks/sms/token HTTP/1.1\r\nhost: a\r\n";
    vec![
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\n\0: x\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\xff\0\0\0\0\0".to_vec(),
        format!("{hook}content-length: x\r\n\r\n").into_bytes(),
        format!("{hook}transfer-encoding: chunked\r\n\r\nzz\r\n").into_bytes(),
        format!("{hook}x: {}\r\n\r\n", "x".repeat(70 << 10)).into_bytes(),
        format!("{hook}content-length: 10\r\n\r\n[").into_bytes(),
    ]
}

/// Says something, and waits until the worker has had enough of it.
fn say(at: SocketAddr, bytes: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&at, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    // It may close before all is sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
    Ok(())
}

/// Acknowledgements of pings that were never sent, for each of which the HTTP/2 library has a
/// warning.
fn acknowledge_pings(at: SocketAddr) -> Result<()> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for _ in 0..REQUESTS {
        bytes.extend_from_slice(b"\0\0\x08\x06\x01\0\0\0\0unasked!");
    }
    say(at, &bytes)
}

fn log(stage: &Stage) -> PathBuf {
    stage.cluster.folder().join("worker.log")
}

/// The whole lines of a log.
fn lines(log: &Path) -> Result<Vec<serde_json::Value>> {
    let text = fs::read_to_string(log)?;
    let whole = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    whole.map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Number of dropped lines, by the metric.
fn dropped(stage: &Stage) -> Result<f64> {
    metrics::gauge(stage.worker.admin, DROPPED)
}

/// Number of dropped lines, by the log.
fn reported(log: &Path) -> Result<f64> {
    let reports = lines(log)?;
    let reports = reports.iter().filter(|line| {
        let message = line["message"].as_str().unwrap_or_default();
        message.starts_with("lines of the log were dropped")
    });
    Ok(reports.filter_map(|line| line["dropped"].as_f64()).sum())
}
