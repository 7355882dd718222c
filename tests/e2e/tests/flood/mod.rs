//! A flood of what is refused, in front of thousands of idle connections: what is signed
//! still gets through, the worker's memory has its bound, and so has what is kept of it.

mod crowd;
mod forger;

use anyhow::{Result, ensure};
use crowd::Crowd;
use forger::{Tally, forge};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::PoisonError;
use std::time::Instant;
use tidings_e2e::{eventually, on_stage, on_stage_with, play, post_known, wait_known};
use tidings_harness::emulator::Play;
use tidings_harness::http;
use tidings_harness::metrics;
use tidings_harness::procfs::Usage;
use tidings_harness::reconcile::Reconciliation;
use tidings_harness::stage::Stage;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

const CONNECTIONS: usize = 10_000;
const FORGERS: u64 = 48;
const FORGED: u64 = 20_000;
const EVENTS: u64 = 2_000;
/// The bound of memory, in KiB, as the manual has it: by itself, and for what is pending.
const BASE: u64 = 64 << 10;
const PENDING: u64 = TIMES * (64 << 10);
const TIMES: u64 = 3;
/// Of a connection that is idle: less than the manual's bound, which is for all.
const PER_CONNECTION: u64 = 16;

#[test]
fn the_manual_states_the_bound_of_memory() -> Result<()> {
    let (base, manual) = (BASE >> 10, "worker/src/settings/manual.txt");
    let words = format!("the sum of {base} MiB, {TIMES} x --pending-bytes");
    crate::numbers::states(manual, &words)
}

#[test]
fn what_is_signed_gets_through_a_flood() -> Result<()> {
    raise_descriptors()?;
    on_stage(|stage| {
        let play = Play {
            rate: 500,
            only: Some("pushwoosh,arpoone,pushpushgo"),
            ..play(stage, EVENTS, 21)
        };
        let mut emulator = stage.add_emulator(&play)?;
        keep_some(stage)?;
        let before = Usage::of(stage.worker.id())?.resident >> 10;

        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let crowd = Crowd::gather(runtime.handle(), stage.worker.http, CONNECTIONS);
        // Most of them are cut after a while, and come again: never are all there at once
        // where it takes long to gather them.
        let connected = || {
            eventually("they are connected", || {
                let open = metrics::gauge(stage.worker.admin, "tidings_worker_http_connections")?;
                Ok((open > CONNECTIONS as f64 * 0.9).then_some(()))
            })
        };
        eventually("all have come", || {
            Ok((crowd.arrived() >= CONNECTIONS as u64).then_some(()))
        })?;
        connected()?;
        let idle = Usage::of(stage.worker.id())?.resident >> 10;

        let started = Instant::now();
        emulator.begin()?;
        let tally = flood(&runtime, stage)?;
        let flooded = started.elapsed();
        eventually("every signed event is acknowledged", || {
            emulator.listen()?;
            Ok(emulator.is_done().then_some(()))
        })?;
        println!(
            "{CONNECTIONS} idle connections: {before} to {idle} KiB, {} came again; \
             {tally:?} in {flooded:?}; {EVENTS} events in {:?}",
            crowd.closed(),
            started.elapsed()
        );
        connected()?;
        emulator.finish()?;

        let refused = tally.get(&401).copied().unwrap_or_default();
        ensure!(refused == FORGED, "{tally:?}");
        let peak = Usage::of(stage.worker.id())?.peak >> 10;
        let bound = BASE + CONNECTIONS as u64 * PER_CONNECTION;
        println!("peak {peak} KiB, bound {bound} KiB");
        ensure!(peak < bound, "{peak} KiB, more than {bound}");
        kept(stage)?;
        let reconciliation = Reconciliation::of(&mut stage.connect()?, emulator.ledger())?;
        println!("{:?}", reconciliation.total());
        reconciliation.check()
    })
}

#[test]
fn a_full_budget_has_its_bound() -> Result<()> {
    // Longer than any wait here.
    let patient = ["--statement-timeout", "5m", "--patience", "5m"];
    let patient = [&patient[..], &["--body-timeout", "5m"]].concat();
    on_stage_with(&patient, |stage| {
        let mut client = stage.connect()?;
        client.batch_execute(
            r#"select tidings.add_source(name, 'arpoone', null, '{"allow_unauthenticated": true}')
               from unnest('{one,two}'::text[]) name"#,
        )?;
        let at = stage.worker.http;
        for source in ["one", "two"] {
            wait_known(at, source)?;
        }
        let body = |number: usize| {
            let report = format!(r#"[{{"MessageId": "{number}", "Status": "DELIVERED"}}]"#);
            report + &" ".repeat(7 << 20)
        };
        // Nothing is committed while this is held: all of it waits.
        let mut holding = client.transaction()?;
        holding.batch_execute("lock table tidings.event in access exclusive mode")?;
        let senders: Vec<_> = (0..8)
            .map(|number| {
                let path = ["/hooks/one", "/hooks/two"][number % 2];
                std::thread::spawn(move || http::post(at, path, &[], body(number).as_bytes()))
            })
            .collect();
        let pending = eventually("the budget is nearly full", || {
            let pending = metrics::gauge(stage.worker.admin, "tidings_worker_pending_bytes")?;
            Ok((pending >= f64::from(8 * (7 << 20))).then_some(pending))
        })?;
        holding.commit()?;
        for sender in senders {
            let answer = sender.join().expect("it does not panic")?;
            ensure!(answer.status == 200, "{answer:?}");
        }
        let (peak, bound) = (Usage::of(stage.worker.id())?.peak >> 10, BASE + PENDING);
        println!("{pending} bytes pending: peak {peak} KiB, bound {bound} KiB");
        ensure!(peak < bound, "{peak} KiB, more than {bound}");
        Ok(())
    })
}

/// Connections on both sides, and some more.
fn raise_descriptors() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, wanted)?;
    let enough = limit
        .maximum
        .is_none_or(|most| most > CONNECTIONS as u64 + 1_000);
    ensure!(enough, "raise the hard limit of open files: ulimit -Hn");
    Ok(())
}

/// Refused requests of other sources and verdicts, which the flood must not push out.
fn keep_some(stage: &Stage) -> Result<()> {
    stage.connect()?.batch_execute(
        "select tidings.add_source('other', 'arpoone', 'token');
         select tidings.ingest('pushpushgo', b, jsonb_build_object('x-ppg-signature',
           encode(tidings.hmac_sha1(b, '5d411352784425000bd02a15'), 'hex')))
         from (select '{'::bytea) x (b)",
    )?;
    let wrong = post_known(stage.worker.http, "/hooks/other/wrong", &[], b"[]")?;
    ensure!(wrong.status == 401, "{wrong:?}");
    Ok(())
}

/// Forged requests to a source that is in use, and unknown names beside them.
fn flood(runtime: &Runtime, stage: &Stage) -> Result<std::collections::BTreeMap<u16, u64>> {
    let at = stage.worker.http;
    let (tally, strangers) = (Tally::default(), Tally::default());
    let mut forgers = JoinSet::new();
    for number in 0..FORGERS {
        let count = FORGED / FORGERS + u64::from(number < FORGED % FORGERS);
        let forging = forge(at, "/hooks/pushpushgo".to_owned(), count, tally.clone());
        forgers.spawn_on(forging, runtime.handle());
    }
    let mut guessers = JoinSet::new();
    for number in 0..FORGERS {
        let path = format!("/hooks/nobody-{number}");
        let guessing = forge(at, path, u64::MAX, strangers.clone());
        guessers.spawn_on(guessing, runtime.handle());
    }
    runtime.block_on(async {
        while let Some(forger) = forgers.join_next().await {
            forger??;
        }
        anyhow::Ok(())
    })?;
    guessers.abort_all();
    let strangers = strangers.lock().unwrap_or_else(PoisonError::into_inner);
    // 503 where nobody could look in time: they are to come again, and are told then.
    ensure!(
        strangers.keys().all(|status| [404, 503].contains(status)),
        "{strangers:?}"
    );
    let told = post_known(at, "/hooks/nobody-0", &[], b"x")?;
    ensure!(told.status == 404, "{told:?}");
    let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(tally.clone())
}

/// What is kept of the flood is bounded, and it pushed nothing else out.
fn kept(stage: &Stage) -> Result<()> {
    // Concurrent batches do not see each other's rows: the next one trims for both.
    let last = http::post(stage.worker.http, "/hooks/pushpushgo", &[], b"forged")?;
    ensure!(last.status == 401, "{last:?}");
    let rows = stage.connect()?.query(
        "select s.name, r.verdict, count(*), sum(r.body_bytes)::bigint
         from tidings.rejected r join tidings.source s on s.id = r.source_id
         group by 1, 2",
        &[],
    )?;
    let count = |source: &str, verdict: &str| {
        let mut found = rows.iter();
        let found =
            found.find(|row| row.get::<_, &str>(0) == source && row.get::<_, &str>(1) == verdict);
        found.map_or((0, 0), |row| (row.get::<_, i64>(2), row.get::<_, i64>(3)))
    };
    let (flooded, bytes) = count("pushpushgo", "unauthorized");
    ensure!(
        (1..=1_000).contains(&flooded),
        "{flooded} rows of the flood"
    );
    ensure!(bytes <= 16 << 20, "{bytes} bytes of the flood");
    ensure!(
        count("pushpushgo", "malformed").0 == 1,
        "another verdict was pushed out"
    );
    ensure!(
        count("other", "unauthorized").0 == 1,
        "another source was pushed out"
    );
    Ok(())
}
