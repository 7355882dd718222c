//! Signals: which of them end a worker, and that it loses nothing that it has answered.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tidings_e2e::{DEADLINE, eventually, on_stage, wait_known, wait_logged, wait_upkeep};
use tidings_harness::http::{self, Answer};
use tidings_harness::metrics;
use tidings_harness::process::Signal;
use tidings_harness::stage::Stage;
use tonic::transport::Endpoint;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

const SENDERS: usize = 8;
/// So many answers are awaited before the worker is told to end.
const ANSWERS: usize = 400;
/// What a client of HTTP/2 says first, with no settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[test]
fn what_was_answered_before_the_end_is_stored() -> Result<()> {
    on_stage(|stage| {
        let mut client = stage.connect()?;
        client.batch_execute("select tidings.add_source('sms', 'arpoone', 'token')")?;
        let at = stage.worker.http;
        let answered = Mutex::new(BTreeSet::new());
        let over = AtomicBool::new(false);
        let status = thread::scope(|scope| -> Result<_> {
            for sender in 0..SENDERS {
                let (answered, over) = (&answered, &over);
                scope.spawn(move || send(at, sender, answered, over));
            }
            let outcome = eventually("the worker answers", || {
                Ok((lock(&answered).len() >= ANSWERS).then_some(()))
            })
            .and_then(|()| stage.worker.drain(DEADLINE));
            over.store(true, Ordering::SeqCst);
            outcome
        })?;
        ensure!(status.code() == Some(0), "{status}");
        let stored: BTreeSet<String> = client
            .query("select message_id from tidings.event", &[])?
            .iter()
            .map(|row| row.get(0))
            .collect();
        let answered = answered.into_inner().ok().context("a sender panicked")?;
        let lost: Vec<_> = answered.difference(&stored).collect();
        ensure!(lost.is_empty(), "answered, but not stored: {lost:?}");
        Ok(())
    })
}

/// A supervisor that signals twice, while a request waits for Postgres.
#[test]
fn new_connections_are_refused_at_once_while_open_ones_are_answered() -> Result<()> {
    on_stage(|stage| {
        let (http, grpc) = (stage.worker.http, stage.worker.grpc);
        let mut client = known_source(stage)?;
        let mut holding = client.transaction()?;
        holding.batch_execute("lock table tidings.event in access exclusive mode")?;
        let mut open = TcpStream::connect(http)?;
        open.set_read_timeout(Some(DEADLINE))?;
        let waiting = in_flight(stage)?;
        stage.worker.terminate()?;
        stage.worker.terminate()?;
        for at in [http, grpc] {
            eventually(
                "new connections are refused",
                || match TcpStream::connect_timeout(&at, DEADLINE) {
                    Ok(_) => Ok(None),
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(Some(())),
                    Err(error) => Err(error.into()),
                },
            )?;
        }
        let ready = http::get(stage.worker.admin, "/readyz")?;
        ensure!(ready.status == 503, "{ready:?}");
        let late = http::exchange(&mut open, "POST", "/hooks/sms/token", &[], b"[]")?;
        ensure!(late.status == 503, "{late:?}");
        ensure!(late.body.contains("stopping"), "{late:?}");
        ensure!(!waiting.is_finished(), "the drain was cut");
        holding.commit()?;
        let answer = waiting.join().ok().context("the sender panicked")??;
        ensure!(answer.status == 200, "{answer:?}");
        let status = stage.worker.ended(DEADLINE)?;
        ensure!(status.code() == Some(0), "{status}");
        let log = std::fs::read_to_string(stage.cluster.folder().join("worker.log"))?;
        ensure!(!log.contains(r#""level":"ERROR""#), "{log}");
        Ok(())
    })
}

#[test]
fn a_second_signal_ends_the_drain_when_it_comes_later() -> Result<()> {
    on_stage(|stage| {
        let mut client = known_source(stage)?;
        let mut holding = client.transaction()?;
        holding.batch_execute("lock table tidings.event in access exclusive mode")?;
        let waiting = in_flight(stage)?;
        let started = Instant::now();
        let status = eventually("the drain is cut", || {
            stage.worker.signal(Signal::INT)?;
            Ok(stage.worker.ended(Duration::from_millis(20)).ok())
        })?;
        ensure!(status.code() == Some(75), "{status}");
        ensure!(started.elapsed() >= Duration::from_secs(1), "too early");
        let answer = waiting.join().ok().context("the sender panicked")?;
        ensure!(answer.is_err(), "{answer:?}");
        Ok(())
    })
}

#[test]
fn other_signals_end_nothing_and_sigquit_drains() -> Result<()> {
    on_stage(|stage| {
        let log = stage.cluster.folder().join("worker.log");
        for signal in [Signal::USR1, Signal::USR2, Signal::PIPE, Signal::HUP] {
            stage.worker.signal(signal)?;
        }
        wait_logged(&log, 1, |line| line.contains("SIGHUP"))?;
        stage.worker.check_running()?;
        let alive = http::get(stage.worker.http, "/healthz")?;
        ensure!(alive.status == 200, "{alive:?}");
        stage.worker.signal(Signal::QUIT)?;
        let status = stage.worker.ended(DEADLINE)?;
        ensure!(status.code() == Some(0), "{status}");
        wait_logged(&log, 1, |line| line.contains("SIGQUIT")).map(drop)
    })
}

/// Adds a source, and waits until the worker knows it and its upkeep wants no lock.
fn known_source(stage: &Stage) -> Result<postgres::Client> {
    let mut client = stage.connect()?;
    client.batch_execute("select tidings.add_source('sms', 'arpoone', 'token')")?;
    wait_known(stage.worker.http, "sms")?;
    wait_upkeep(&mut client)?;
    Ok(client)
}

/// Sends a webhook that Postgres does not answer yet.
fn in_flight(stage: &Stage) -> Result<JoinHandle<Result<Answer>>> {
    let at = stage.worker.http;
    let id = "00000000-0000-4000-8000-000000000001";
    let sending = thread::spawn(move || http::post(at, "/hooks/sms/token", &[], &report(id)));
    eventually("the request is pending", || {
        let pending = metrics::gauge(stage.worker.admin, "tidings_worker_pending_requests")?;
        Ok((pending >= 1.0).then_some(()))
    })?;
    Ok(sending)
}

fn report(id: &str) -> Vec<u8> {
    let body = serde_json::json!([{
        "Msisdn": "351913462111",
        "Status": "DELIVERED",
        "MessageId": id,
        "OrganizationId": "00000000-0000-4000-8000-000000000000",
        "ReportDateTime": "2026-01-01T00:00:00",
    }]);
    body.to_string().into_bytes()
}

/// An open call of somebody who has no part in what is acknowledged, and a connection whose
/// peer answers nothing, not even that it has heard of the end.
#[test]
fn who_does_not_hang_up_does_not_hold_up_the_end() -> Result<()> {
    on_stage(|stage| {
        let at = stage.worker.grpc;
        let mut silent = TcpStream::connect(at)?;
        silent.set_read_timeout(Some(DEADLINE))?;
        silent.write_all(PREFACE)?;
        silent.read_exact(&mut [0; 9])?;
        let runtime = tokio::runtime::Runtime::new()?;
        let mut answers = runtime.block_on(async {
            let questions = futures_util::stream::pending::<ServerReflectionRequest>();
            let channel = Endpoint::new(format!("http://{at}"))?.connect().await?;
            let answers = ServerReflectionClient::new(channel)
                .server_reflection_info(questions)
                .await?;
            anyhow::Ok(answers.into_inner())
        })?;
        let status = stage.worker.drain(DEADLINE)?;
        ensure!(status.code() == Some(0), "{status}");
        let end = runtime.block_on(answers.message());
        let code = end.err().map(|status| status.code());
        ensure!(code == Some(tonic::Code::Unavailable), "{code:?}");
        Ok(())
    })
}

/// One request after the other, until the worker is gone.
fn send(at: SocketAddr, sender: usize, answered: &Mutex<BTreeSet<String>>, over: &AtomicBool) {
    for number in 0.. {
        let id = format!("{sender:08x}-0000-4000-8000-{number:012x}");
        let json = [("content-type", "application/json")];
        let answer = http::post(at, "/hooks/sms/token", &json, &report(&id));
        match answer {
            Ok(answer) if answer.status == 200 => {
                lock(answered).insert(id);
            }
            // Refused while it drains, or gone already.
            _ if over.load(Ordering::SeqCst) => return,
            _ => {}
        }
    }
}

fn lock(set: &Mutex<BTreeSet<String>>) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}
