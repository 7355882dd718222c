//! Sources that are changed while their providers send: no event is lost, and none is stored
//! twice.

use crate::check::check;
use anyhow::{Context as _, Result, ensure};
use postgres::Client;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use tidings_e2e::{eventually, on_stage, wait_known};
use tidings_harness::http;
use tidings_harness::stage::{DATABASE, Stage};

const SENDERS: usize = 4;
/// Changes of each kind.
const ROUNDS: usize = 5;
/// Events that each sender has acknowledged between two changes.
const BETWEEN: usize = 20;

/// The path to which a provider sends now, and what was acknowledged.
#[derive(Default)]
struct Sending {
    path: Mutex<String>,
    acknowledged: AtomicUsize,
    over: AtomicBool,
}

impl Sending {
    fn path(&self) -> String {
        let path = self.path.lock().unwrap_or_else(PoisonError::into_inner);
        path.clone()
    }

    fn set_path(&self, path: &str) {
        path.clone_into(&mut self.path.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Sends one event after another, each until it is answered 200 and then once more, as a
    /// provider does that has not seen the answer. Returns their number.
    fn send(&self, at: SocketAddr, sender: usize) -> Result<usize> {
        for number in 0.. {
            if self.over.load(Ordering::SeqCst) {
                return Ok(number);
            }
            let body = format!(
                r#"{{"MessageId":"{sender}-{number}","Status":"DELIVERED","ReportDateTime":"2026-01-01T00:00:00Z"}}"#
            );
            for _ in 0..2 {
                eventually("the webhook is answered 200", || {
                    let answer = http::post(at, &self.path(), &[], body.as_bytes())?;
                    Ok((answer.status == 200).then_some(()))
                })?;
            }
            self.acknowledged.fetch_add(1, Ordering::SeqCst);
        }
        Ok(0)
    }

    /// Waits until each sender may have seen what was changed.
    fn wait(&self) -> Result<()> {
        let before = self.acknowledged.load(Ordering::SeqCst);
        eventually("webhooks are acknowledged", || {
            let now = self.acknowledged.load(Ordering::SeqCst);
            Ok((now >= before + SENDERS * BETWEEN).then_some(()))
        })
    }
}

#[test]
fn a_source_that_is_changed_under_load_loses_nothing_and_stores_nothing_twice() -> Result<()> {
    on_stage(|stage| {
        let mut client = stage.connect()?;
        client.batch_execute("select tidings.add_source('sms', 'arpoone', 'token')")?;
        wait_known(stage.worker.http, "sms")?;
        let at = stage.worker.http;
        let sending = Sending::default();
        sending.set_path("/hooks/sms/token");
        let sent: usize = thread::scope(|scope| {
            let senders: Vec<_> = (0..SENDERS)
                .map(|sender| {
                    scope.spawn({
                        let sending = &sending;
                        move || sending.send(at, sender)
                    })
                })
                .collect();
            let changed = change(&mut client, &sending);
            sending.over.store(true, Ordering::SeqCst);
            let sent = senders
                .into_iter()
                .map(|sender| sender.join().ok().context("a sender panicked")?);
            let sent: Result<Vec<_>> = sent.collect();
            changed.and(sent.map(|sent| sent.iter().sum()))
        })?;
        let row = client.query_one(
            "select count(*), count(distinct message_id), count(distinct source_id),
               (select count(*) from tidings.message), (select count(*) from tidings.rejected where verdict <> 'unauthorized')
             from tidings.event",
            &[],
        )?;
        let sent = i64::try_from(sent)?;
        let [events, messages, sources, state, rejected] =
            [0, 1, 2, 3, 4].map(|at| row.get::<_, i64>(at));
        println!("{sent} sent");
        ensure!(
            [events, messages, sources, state, rejected] == [sent, sent, 1, sent, 0],
            "{sent} sent: {row:?}"
        );
        is_clean(stage)
    })
}

/// Each kind of change, in turn.
fn change(client: &mut Client, sending: &Sending) -> Result<()> {
    let mut token = "token".to_owned();
    for round in 0..ROUNDS {
        sending.wait()?;
        client.batch_execute("select tidings.rename_source('sms', 'texts')")?;
        // The provider has the former URL still, and then the new one.
        sending.wait()?;
        sending.set_path(&format!("/hooks/texts/{token}"));
        sending.wait()?;
        client.batch_execute("select tidings.rename_source('texts', 'sms')")?;
        sending.wait()?;
        sending.set_path(&format!("/hooks/sms/{token}"));

        client.batch_execute(
            r#"select tidings.set_source_options('sms', '{"timezone": "Europe/Lisbon", "allow_from": ["127.0.0.0/8", "::1"]}')"#,
        )?;
        sending.wait()?;
        client.batch_execute(
            r#"select tidings.set_source_options('sms', '{"timezone": null, "allow_from": null}')"#,
        )?;

        for kind in ["secret", "url_token"] {
            let new = format!("{kind} {round}+");
            client.execute(
                "select tidings.rotate_secret('sms', $1, '1 day', $2)",
                &[&new, &kind],
            )?;
            sending.wait()?;
            let paths = client.query("select tidings.webhook_paths('sms')", &[])?;
            let escaped = new.replace(' ', "%20").replace('+', "%2B");
            let mut paths = paths.iter().map(|row| row.get::<_, String>(0));
            let path = paths.find(|path| path.ends_with(&escaped));
            let path = path.with_context(|| format!("no path ends with {escaped}"))?;
            sending.set_path(&path);
            sending.wait()?;
        }

        // For a moment there is no such source, and the provider tries again.
        client.batch_execute("select tidings.drop_source('sms')")?;
        client.execute(
            "select tidings.add_source('sms', 'arpoone', $1)",
            &[&format!("again {round}")],
        )?;
        token = format!("again%20{round}");
        sending.set_path(&format!("/hooks/sms/{token}"));
    }
    sending.wait()
}

fn is_clean(stage: &Stage) -> Result<()> {
    let (code, findings) = check(&stage.cluster.url(DATABASE), &[])?;
    let failed: Vec<_> = findings
        .iter()
        .filter(|finding| finding["finding"] == "fail")
        .collect();
    ensure!(code == Some(0) && failed.is_empty(), "{code:?}: {failed:?}");
    Ok(())
}
