//! SIGTERM ends a worker without losing what it has answered.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tidings_e2e::{DEADLINE, eventually, on_stage};
use tidings_harness::http;
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
        let body = serde_json::json!([{
            "Msisdn": "351913462111",
            "Status": "DELIVERED",
            "MessageId": id,
            "OrganizationId": "00000000-0000-4000-8000-000000000000",
            "ReportDateTime": "2026-01-01T00:00:00",
        }]);
        let json = [("content-type", "application/json")];
        let answer = http::post(at, "/hooks/sms/token", &json, body.to_string().as_bytes());
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
