//! Two workers on one database, through a pooler in transaction mode: a connection to the
//! server is theirs for one transaction, and somebody else's for the next.

use crate::check::check;
use anyhow::{Result, ensure};
use postgres::Client;
use postgres::fallible_iterator::FallibleIterator as _;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use tidings_e2e::{DEADLINE, eventually, play, server, wait_logged};
use tidings_harness::cluster::{Cluster, Durability};
use tidings_harness::emulator::Play;
use tidings_harness::http;
use tidings_harness::metrics;
use tidings_harness::pgbouncer::{Mode, Pgbouncer};
use tidings_harness::reconcile::Reconciliation;
use tidings_harness::stage::{self, DATABASE, Stage};
use tidings_harness::worker::{self, ANY_PORT, Worker};

/// More than are sent: the play ends when the stream has changed hands.
const EVENTS: u64 = 48_000;
/// So many are sent before the worker is killed.
const SENT: u64 = 4_000;
/// Fewer than the two workers have connections of their own.
const CONNECTIONS: u32 = 4;
const HELD: &str = r#"tidings_worker_stream_lease{source="ppoppo"}"#;

fn pooled(pooler: &Pgbouncer, http: SocketAddr, grpc: SocketAddr) -> Result<Command> {
    let mut command = worker::command(&pooler.url(DATABASE), http, grpc)?;
    // Nobody tells it of new sources: it asks.
    command.args(["--pooled", "--source-poll", "1s"]);
    Ok(command)
}

fn start(cluster: &Cluster, pooler: &Pgbouncer, name: &str) -> Result<Worker> {
    let log = cluster.folder().join(format!("{name}.log"));
    let mut worker = Worker::spawn(&mut pooled(pooler, ANY_PORT, ANY_PORT)?, &log)?;
    worker.wait_ready()?;
    Ok(worker)
}

#[test]
fn two_workers_behind_a_pooler_lose_and_double_nothing() -> Result<()> {
    let cluster = stage::cluster(&server()?, Durability::Fast)?;
    let pooler = Pgbouncer::start(&cluster, Mode::Transaction, CONNECTIONS)?;
    let first = start(&cluster, &pooler, "first")?;
    let mut stage = Stage {
        worker: first,
        cluster,
    };
    let mut second = start(&stage.cluster, &pooler, "second")?;
    share(&mut stage, &mut second, &pooler).inspect_err(|_| {
        eprintln!("{}\n{}\n{}", stage.logs(), second.tail(), pooler.tail());
    })
}

/// Whichever worker has the stream is killed; the webhooks' senders know the second, which
/// is then started again.
fn share(stage: &mut Stage, second: &mut Worker, pooler: &Pgbouncer) -> Result<()> {
    let play = Play {
        rate: 3_000,
        http: second.http,
        grpc: second.grpc,
        ..play(stage, EVENTS, 31)
    };
    let mut listening = stage.connect()?;
    listening.batch_execute("listen tidings")?;
    let mut emulator = stage.add_emulator(&play)?;
    emulator.begin()?;
    eventually("events are emitted", || {
        emulator.listen()?;
        Ok((emulator.emitted() >= SENT).then_some(()))
    })?;
    let is_holder =
        |worker: &Worker| -> Result<bool> { Ok(metrics::value(worker.admin, HELD)? == Some(1.0)) };
    let second_held = eventually("one of them has the stream", || {
        let held = (is_holder(&stage.worker)?, is_holder(second)?);
        Ok((held.0 != held.1).then_some(held.1))
    })?;
    let killed = if second_held {
        &mut *second
    } else {
        &mut stage.worker
    };
    killed.kill()?;
    emulator.listen()?;
    ensure!(!emulator.is_done(), "the worker was killed too late");
    if second_held {
        eventually("the first takes it over", || {
            Ok(is_holder(&stage.worker)?.then_some(()))
        })?;
        let log = stage.cluster.folder().join("second.log");
        *second = Worker::spawn(&mut pooled(pooler, second.http, second.grpc)?, &log)?;
    } else {
        eventually("the second takes it over", || {
            Ok(is_holder(second)?.then_some(()))
        })?;
    }
    emulator.stop()?;
    eventually("all is answered", || {
        emulator.listen()?;
        second.check_running()?;
        Ok(emulator.is_done().then_some(()))
    })?;
    // The workers cannot listen behind a pooler, but they can notify.
    let woken = listening.notifications().timeout_iter(DEADLINE).next()?;
    ensure!(woken.is_some(), "no reader was woken up");
    let mut client = stage.connect()?;
    eventually("every event is there", || {
        let reconciliation = Reconciliation::of(&mut client, emulator.ledger())?;
        Ok((reconciliation.total().missing == 0).then_some(()))
    })?;
    emulator.finish()?;
    let reconciliation = Reconciliation::of(&mut client, emulator.ledger())?;
    println!("{:?}", reconciliation.total());
    reconciliation.check()?;
    nothing_is_left_behind(&mut client, pooler)
}

/// A pooler that nobody mentioned is said, by the worker and by `check`.
#[test]
fn a_pooler_in_transaction_mode_without_its_flag_is_said() -> Result<()> {
    let cluster = stage::cluster(&server()?, Durability::Fast)?;
    for (mode, is_said) in [(Mode::Transaction, true), (Mode::Session, false)] {
        let pooler = Pgbouncer::start(&cluster, mode, CONNECTIONS)?;
        let url = pooler.url(DATABASE);
        let log = cluster.folder().join(format!("unsaid-{is_said}.log"));
        let worker = Worker::start(&url, ANY_PORT, ANY_PORT, &log)?;
        let says = |line: &str| line.contains("WARN") && line.contains("--pooled");
        if is_said {
            wait_logged(&log, 1, says)?;
        } else {
            // A worker that is ready has opened the connections of its start.
            eventually("it is ready", || {
                Ok((http::get(worker.admin, "/readyz")?.status == 200).then_some(()))
            })?;
            let text = std::fs::read_to_string(&log)?;
            ensure!(!text.lines().any(says), "{text}");
        }
        drop(worker);
        for (flags, expected) in [(&[][..], is_said), (&["--pooled"][..], false)] {
            let (_, findings) = check(&url, flags)?;
            let found = findings
                .iter()
                .find(|finding| finding["subject"] == "pooler");
            ensure!(found.is_some() == expected, "{flags:?}: {findings:?}");
            ensure!(
                found.is_none_or(|found| found["finding"] == "warn"),
                "{found:?}"
            );
        }
    }
    let (_, findings) = check(&cluster.url(DATABASE), &[])?;
    let found = findings
        .iter()
        .find(|finding| finding["subject"] == "pooler");
    ensure!(found.is_none(), "{found:?}");
    Ok(())
}

/// Each connection that the pooler has is as any other.
fn nothing_is_left_behind(direct: &mut Client, pooler: &Pgbouncer) -> Result<()> {
    let session = "select pg_backend_pid(), jsonb_build_object(
        'statement_timeout', current_setting('statement_timeout'),
        'lock_timeout', current_setting('lock_timeout'),
        'idle_in_transaction_session_timeout', current_setting('idle_in_transaction_session_timeout'),
        'default_transaction_isolation', current_setting('default_transaction_isolation'),
        'log_parameter_max_length', current_setting('log_parameter_max_length'),
        'log_parameter_max_length_on_error', current_setting('log_parameter_max_length_on_error'),
        'synchronous_commit', current_setting('synchronous_commit'),
        'search_path', current_setting('search_path'),
        'prepared', (select count(*) from pg_prepared_statements where not from_sql is true
                     and statement not like '%pg_backend_pid%'),
        'channels', (select count(*) from pg_listening_channels()),
        'locks', (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())
    )::text";
    let of = |client: &mut Client| -> Result<(i32, String)> {
        let row = client.query_one(session, &[])?;
        Ok((row.try_get(0)?, row.try_get(1)?))
    };
    let (_, wanted) = of(direct)?;
    // Open at once, so that each has another connection.
    let mut clients = Vec::new();
    let mut pids = BTreeSet::new();
    for _ in 0..CONNECTIONS {
        let mut client = pooler.connect(DATABASE)?;
        client.batch_execute("begin")?;
        let (pid, have) = of(&mut client)?;
        ensure!(have == wanted, "{have}, not {wanted}");
        pids.insert(pid);
        clients.push(client);
    }
    ensure!(pids.len() == clients.len(), "{pids:?}");
    Ok(())
}
