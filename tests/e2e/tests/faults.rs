//! What goes wrong between the providers and the worker costs no event and doubles none.

use anyhow::{Result, bail, ensure};
use postgres::Client;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tidings_e2e::{eventually, on_stage_with, play};
use tidings_harness::emulator::{Emulator, Play};
use tidings_harness::http;
use tidings_harness::play;
use tidings_harness::sources::Wish;
use tidings_harness::stage::Stage;

/// A run with faults.
struct Case {
    faults: &'static str,
    only: &'static str,
    events: u64,
    /// Of the source `ppoppo`.
    options: Value,
}

impl Case {
    fn of_ppoppo(faults: &'static str, options: Value) -> Self {
        Self {
            faults,
            only: "ppoppo",
            events: 1_500,
            options,
        }
    }

    /// Plays it to the end; every event is stored once, and every fault happened.
    fn survive(&self, stage: &mut Stage, look: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let flags = ["--faults", self.faults];
        let play = Play {
            // What comes twice comes by a fault.
            duplicates: 0.0,
            only: Some(self.only),
            flags: &flags,
            ..play(stage, self.events, 5)
        };
        let mut emulator = stage.add_emulator_with(&play, |emulator| vec![self.wish(emulator)])?;
        let mut looked = Ok(());
        let played = play::run(stage, &mut emulator, &[], &mut |_| {
            if looked.is_ok() {
                looked = look();
            }
        })?;
        looked?;
        played.reconciliation.check()?;
        let faults = emulator.faults();
        ensure!(!faults.is_empty(), "no fault was counted");
        for (fault, &times) in faults {
            // The only one that is the worker's.
            let expected = if fault == "too early" {
                times == 0
            } else {
                times > 0
            };
            ensure!(expected, "{fault}: {times} times, among {faults:?}");
        }
        Ok(())
    }

    fn wish(&self, emulator: &Emulator) -> Wish<'static> {
        let mut wish = Wish {
            source: "ppoppo",
            options: self.options.clone(),
            secret: None,
        };
        if let (Some(oauth), Some(options)) = (emulator.oauth, wish.options.as_object_mut()) {
            options.insert("issuer".to_owned(), json!(format!("http://{oauth}")));
            options.insert("client_id".to_owned(), json!("ppoppo-dev-client"));
            wish.secret = Some("ppoppo-dev-secret");
        }
        wish
    }
}

/// Nobody waits for a lease here, and one that takes longer than its time to ask for would
/// cost the connection: a fault that is not in play.
fn on_stage(test: impl FnOnce(&mut Stage) -> Result<()>) -> Result<()> {
    on_stage_with(&["--lease-time", "10m"], test)
}

fn survives(case: &Case) -> Result<()> {
    on_stage(|stage| case.survive(stage, &mut || Ok(())))
}

#[test]
fn a_fault_that_never_happens_fails_the_run() -> Result<()> {
    let case = Case {
        events: 10,
        ..Case::of_ppoppo("goaway", json!({}))
    };
    let Err(error) = on_stage(|stage| case.survive(stage, &mut || Ok(()))) else {
        bail!("ten events were enough for GOAWAY");
    };
    let told = format!("{error:#}").contains("never happened: goaway");
    ensure!(told, "{error:#}");
    Ok(())
}

#[test]
fn tokens_that_expire() -> Result<()> {
    survives(&Case::of_ppoppo("token-expiry", json!({})))
}

#[test]
fn a_hint_when_to_come_back() -> Result<()> {
    on_stage(|stage| {
        let mut client = stage.connect()?;
        let mut last = String::new();
        Case::of_ppoppo("exhausted", json!({})).survive(stage, &mut || {
            last = status(&mut client)?.error;
            Ok(())
        })?;
        ensure!(last.starts_with("RESOURCE_EXHAUSTED"), "{last}");
        Ok(())
    })
}

#[test]
fn a_half_open_connection_by_its_silence() -> Result<()> {
    on_stage(|stage| {
        let options = json!({"idle_limit": 1, "keepalive": 0});
        Case::of_ppoppo("half-open", options).survive(stage, &mut || Ok(()))?;
        ensure!(
            ends(stage, "idle")? >= 2.0,
            "no stream ended for its silence"
        );
        Ok(())
    })
}

#[test]
fn a_half_open_connection_by_its_pings() -> Result<()> {
    on_stage(|stage| {
        let options = json!({"idle_limit": 0, "keepalive": 1});
        Case::of_ppoppo("half-open", options).survive(stage, &mut || Ok(()))?;
        ensure!(
            ends(stage, "cut")? >= 2.0,
            "no stream ended for want of a pong"
        );
        Ok(())
    })
}

#[test]
fn goaway_in_mid_stream() -> Result<()> {
    survives(&Case::of_ppoppo("goaway", json!({})))
}

#[test]
fn a_clean_end_every_100_events() -> Result<()> {
    on_stage(|stage| {
        Case::of_ppoppo("clean-100", json!({})).survive(stage, &mut || Ok(()))?;
        ensure!(
            ends(stage, "clean")? >= 14.0,
            "the streams did not end cleanly"
        );
        Ok(())
    })
}

#[test]
fn ids_out_of_order_at_a_reconnect() -> Result<()> {
    survives(&Case::of_ppoppo(
        "disorder",
        json!({"overlap": 3600, "idle_limit": 1}),
    ))
}

#[test]
fn every_status_of_the_table() -> Result<()> {
    on_stage(|stage| {
        let mut mender = Mender::new(stage)?;
        Case::of_ppoppo("refusals", json!({})).survive(stage, &mut || mender.look())?;
        mender.check(&[])
    })
}

#[test]
fn equal_events_in_one_batch() -> Result<()> {
    survives(&Case {
        faults: "equal-events",
        only: "pushwoosh",
        events: 1_500,
        options: json!({}),
    })
}

#[test]
fn a_batch_sent_again_after_its_answer_was_lost() -> Result<()> {
    on_stage(|stage| {
        let case = Case {
            faults: "lost-answers",
            only: "pushwoosh,pushwoosh-grpc,arpoone,pushpushgo",
            events: 6_000,
            options: json!({}),
        };
        case.survive(stage, &mut || Ok(()))?;
        for source in case.only.split(',') {
            let labels = format!("source=\"{source}\",result=\"duplicate\"");
            let twice = counted(stage, "tidings_worker_events_total", &labels)?;
            ensure!(twice > 0.0, "nothing of {source} came twice");
        }
        Ok(())
    })
}

#[test]
fn all_of_them_together() -> Result<()> {
    on_stage(|stage| {
        let mut mender = Mender::new(stage)?;
        let case = Case {
            faults: "token-expiry,exhausted,half-open,goaway,clean-100,disorder,refusals,\
                     equal-events,lost-answers",
            only: "ppoppo,pushwoosh,pushwoosh-grpc,arpoone,pushpushgo",
            events: 12_000,
            options: json!({"idle_limit": 1, "overlap": 3600}),
        };
        case.survive(stage, &mut || mender.look())?;
        // A token that is refused by the table, and its successor because it has expired.
        mender.check(&["UNAUTHENTICATED"])
    })
}

/// What `tidings.stream_status` says of the stream.
struct Status {
    state: String,
    error: String,
}

fn status(client: &mut Client) -> Result<Status> {
    let row = client.query_one(
        "select state, coalesce(last_error, '') from tidings.stream_status where source = 'ppoppo'",
        &[],
    )?;
    Ok(Status {
        state: row.try_get(0)?,
        error: row.try_get(1)?,
    })
}

/// Somebody who looks at the streams, and puts right what has stopped one.
struct Mender {
    client: Client,
    stopped_by: BTreeSet<String>,
}

impl Mender {
    fn new(stage: &Stage) -> Result<Self> {
        Ok(Self {
            client: stage.connect()?,
            stopped_by: BTreeSet::new(),
        })
    }

    fn look(&mut self) -> Result<()> {
        // One stop follows the other, and each look is worth a second.
        loop {
            let status = status(&mut self.client)?;
            if status.state != "stopped" {
                return Ok(());
            }
            let code = status.error.split(':').next().unwrap_or_default();
            self.stopped_by.insert(code.to_owned());
            self.start_anew()?;
        }
    }

    fn start_anew(&mut self) -> Result<()> {
        let client = &mut self.client;
        client.batch_execute("select tidings.set_source_enabled('ppoppo', false)")?;
        eventually("the stream has ended", || {
            let state: String = client
                .query_one("select state from tidings.stream_state", &[])?
                .get(0);
            Ok((state == "ended").then_some(()))
        })?;
        client.batch_execute("select tidings.set_source_enabled('ppoppo', true)")?;
        eventually("the stream is dialed again", || {
            let status = status(client)?;
            let again = !matches!(status.state.as_str(), "ended" | "connecting");
            Ok(again.then_some(()))
        })
    }

    /// Of the table, these last until somebody does something; the rest passes, unless it
    /// `may_last`.
    fn check(&self, may_last: &[&str]) -> Result<()> {
        let lasting = [
            "FAILED_PRECONDITION",
            "INVALID_ARGUMENT",
            "NOT_FOUND",
            "PERMISSION_DENIED",
        ];
        ensure!(
            self.stopped_by
                .iter()
                .filter(|code| !may_last.contains(&code.as_str()))
                .eq(lasting),
            "stopped by {:?}",
            self.stopped_by
        );
        Ok(())
    }
}

/// How many streams have ended so.
fn ends(stage: &Stage, reason: &str) -> Result<f64> {
    let labels = format!("source=\"ppoppo\",reason=\"{reason}\"");
    counted(stage, "tidings_worker_stream_ends_total", &labels)
}

/// What the worker says of itself; what it has not counted yet is none.
fn counted(stage: &Stage, name: &str, labels: &str) -> Result<f64> {
    let metrics = http::get(stage.worker.admin, "/metrics")?.body;
    let start = format!("{name}{{{labels}}} ");
    let found = metrics.lines().find_map(|line| line.strip_prefix(&start));
    Ok(found.map(str::parse).transpose()?.unwrap_or_default())
}
