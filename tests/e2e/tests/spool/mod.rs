//! While Postgres is away, webhooks are kept; what was answered is stored once afterwards.

mod black_hole;
mod displaced;
mod full_disk;
mod refused;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Instant;
use tidings_e2e::{eventually, play, server, wait_known, wait_sent, wait_upkeep};
use tidings_harness::cluster::{Cluster, Durability};
use tidings_harness::emulator::{Emulator, Play};
use tidings_harness::http::{self, Answer};
use tidings_harness::paths;
use tidings_harness::reconcile::Reconciliation;
use tidings_harness::stage::{DATABASE, Stage};
use tidings_harness::worker::{self, ANY_PORT, Worker};

/// More than are sent: the play ends in the outage.
const EVENTS: u64 = 48_000;
/// So many are sent before the outage, and before each kill in it.
const SENT: u64 = 3_000;

/// Runs a test on a database with a worker that has a spool.
fn on_stage(flags: &[&str], test: impl FnOnce(&mut Stage) -> Result<()>) -> Result<()> {
    let mut stage = Stage::set_with_spool(&server()?, Durability::Fast, flags)?;
    test(&mut stage).inspect_err(|_| eprintln!("{}", stage.logs()))
}

fn folder(cluster: &Cluster) -> PathBuf {
    cluster.folder().join("spool")
}

/// Of a worker that has that spool.
fn command(cluster: &Cluster, (http, grpc): (SocketAddr, SocketAddr)) -> Result<Command> {
    let mut command = worker::command(&cluster.url(DATABASE), http, grpc)?;
    command.arg("--spool-dir").arg(folder(cluster));
    Ok(command)
}

/// `tidings-worker spool ..` on the cluster's spool.
fn spool(cluster: &Cluster, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(paths::program("tidings-worker")?);
    command
        .arg("spool")
        .args(arguments)
        .arg("--spool-dir")
        .arg(folder(cluster));
    Ok(command.stdin(Stdio::null()).output()?)
}

fn depth(stage: &Stage) -> Result<u64> {
    counted(stage, "/spool/requests")
}

fn counted(stage: &Stage, name: &str) -> Result<u64> {
    let answer = http::get(stage.worker.admin, "/readyz")?;
    let body: Value = serde_json::from_str(&answer.body)?;
    // Not ready: it has no depth to show.
    let requests = body.pointer(name).and_then(Value::as_u64);
    Ok(requests.unwrap_or(u64::MAX))
}

fn is_drained(stage: &Stage) -> Result<()> {
    eventually("the spool is drained", || {
        Ok((depth(stage)? == 0).then_some(()))
    })?;
    let damaged = counted(stage, "/spool/damaged")?;
    ensure!(damaged == 0, "{damaged} are damaged");
    Ok(())
}

/// After [`Cluster::kill`] some backend may still answer what it is asked.
fn is_spooling(stage: &Stage) -> Result<Answer> {
    eventually("the worker says that it spools", || {
        let answer = http::get(stage.worker.admin, "/readyz")?;
        Ok(answer.body.contains("spooling").then_some(answer))
    })
}

/// Webhooks of all three providers, single and in arrays.
fn webhooks(stage: &Stage, seed: u64) -> Play<'static> {
    Play {
        rate: 4_000,
        only: Some("pushwoosh,arpoone,pushpushgo"),
        ..play(stage, EVENTS, seed)
    }
}

/// Postgres is killed in the middle of it; `meanwhile` is done before it is back.
fn outage(
    stage: &mut Stage,
    seed: u64,
    meanwhile: impl FnOnce(&mut Stage, &mut Emulator) -> Result<()>,
) -> Result<()> {
    let mut emulator = stage.add_emulator(&webhooks(stage, seed))?;
    for source in ["pushwoosh", "arpoone", "pushpushgo"] {
        wait_known(stage.worker.http, source)?;
    }
    emulator.begin()?;
    wait_sent(&mut emulator, SENT)?;
    stage.cluster.kill()?;
    meanwhile(stage, &mut emulator)?;
    is_answered(&mut emulator)?;
    let spooled = depth(stage)?;
    ensure!(spooled > 0, "nothing was spooled");
    stage.cluster.restart()?;
    let started = Instant::now();
    is_drained(stage)?;
    println!(
        "{spooled} requests drained within {:?} of the start of Postgres",
        started.elapsed()
    );
    emulator.finish()?;
    let reconciliation = Reconciliation::of(&mut stage.connect()?, emulator.ledger())?;
    println!("{:?}", reconciliation.total());
    reconciliation.check()
}

/// Nothing more is sent, and what was is answered.
fn is_answered(emulator: &mut Emulator) -> Result<()> {
    emulator.stop()?;
    eventually("all is answered while Postgres is away", || {
        emulator.listen()?;
        Ok(emulator.is_done().then_some(()))
    })
}

#[test]
fn an_outage_is_not_seen_by_those_who_send() -> Result<()> {
    // What takes longer than a lease to ask for costs the connection that names sources.
    on_stage(&["--lease-time", "10m"], |stage| {
        let mut before = 0;
        outage(stage, 11, |stage, emulator| {
            let answer = is_spooling(stage)?;
            ensure!(answer.status == 200, "{answer:?}");
            wait_sent(emulator, SENT)?;
            is_answered(emulator)?;
            before = emulator.sent().values().map(|sent| sent.retried).sum();
            let metrics = http::get(stage.worker.admin, "/metrics")?.body;
            for name in ["requests", "bytes", "oldest_seconds"] {
                let name = format!("tidings_worker_spool_{name} ");
                let line = metrics.lines().find(|line| line.starts_with(&name));
                let value = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
                ensure!(value.is_some_and(|value| value > 0.0), "{line:?}");
            }
            Ok(())
        })?;
        ensure!(before == 0, "{before} were answered otherwise than 200");
        Ok(())
    })
}

#[test]
fn a_worker_killed_while_it_spools_loses_nothing() -> Result<()> {
    on_stage(&[], |stage| {
        outage(stage, 12, |stage, emulator| {
            for _ in 0..2 {
                wait_sent(emulator, SENT)?;
                stage.worker.kill()?;
                let at = (stage.worker.http, stage.worker.grpc);
                // Postgres is away: it knows the sources from the spool.
                let log = stage.cluster.folder().join("worker.log");
                stage.worker = Worker::spawn(&mut command(&stage.cluster, at)?, &log)?;
            }
            Ok(())
        })
    })
}

#[test]
fn at_its_bound_it_refuses_and_keeps_what_it_took() -> Result<()> {
    let flags = ["--max-body", "4KiB", "--spool-bytes", "64KiB"];
    on_stage(&flags, |stage| {
        stage.connect()?.batch_execute(
            "select tidings.add_source('sms', 'arpoone', 'token'),
                    tidings.add_source('other', 'arpoone', 'token')",
        )?;
        // Known once a request of it is committed.
        let mut answered = BTreeSet::new();
        for source in ["sms", "other"] {
            answered.insert(stored(stage, source, "first")?);
        }
        is_drained(stage)?;
        stage.cluster.kill()?;
        is_spooling(stage)?;
        let full = fill(stage, "sms", &mut answered)?;
        ensure!(full.header("retry-after").is_some(), "{full:?}");
        ensure!(full.body.contains("spool_full"), "{full:?}");
        let of_sms = answered.len();
        ensure!(of_sms > 20, "{of_sms}");
        // The other source has the other half.
        fill(stage, "other", &mut answered)?;
        ensure!(answered.len() >= of_sms * 2 - 4, "{answered:?}");

        stage.cluster.restart()?;
        is_drained(stage)?;
        stored_once(stage, &answered)
    })
}

/// The operator's own trigger refuses the events of one source, until it is mended.
#[test]
fn what_postgres_declines_by_itself_stays_and_holds_nobody_up() -> Result<()> {
    on_stage(&[], |stage| {
        let mut client = stage.connect()?;
        wait_upkeep(&mut client)?;
        client.batch_execute(
            "select tidings.add_source('sms', 'arpoone', 'token'),
                    tidings.add_source('other', 'arpoone', 'token');
             create function odd() returns trigger language plpgsql as $$
             begin
               if new.recipient = '351913462111' and new.message_id like 'sms-%' then
                 perform 1 / (new.source_id - new.source_id);
               end if;
               return null;
             end $$;
             create trigger odd after insert on tidings.event for each row execute function odd()",
        )?;
        wait_known(stage.worker.http, "sms")?;
        let mut answered = BTreeSet::from([stored(stage, "other", "first")?]);
        is_drained(stage)?;
        for number in ["1", "2"] {
            for (source, word) in [("sms", "spooled"), ("other", "inserted")] {
                let answer = post(stage, source, "token", number)?;
                ensure!(answer.status == 200, "{answer:?}");
                ensure!(answer.body.contains(word), "{answer:?}");
                answered.insert(id(source, number));
            }
        }
        ensure!(depth(stage)? == 2);
        // Else it locks the partitions before their table, and may deadlock with the drain.
        client.batch_execute("lock table tidings.event; drop trigger odd on tidings.event")?;
        is_drained(stage)?;
        stored_once(stage, &answered)
    })
}

#[test]
fn a_spool_has_one_holder_and_is_drained_by_a_command() -> Result<()> {
    on_stage(&[], |stage| {
        first(stage)?;
        stage.cluster.kill()?;
        is_spooling(stage)?;
        for (token, number) in [
            ("token", "1"),
            ("wrong", "2"),
            ("token", "3"),
            ("token", "3"),
        ] {
            let answer = post(stage, "sms", token, number)?;
            ensure!(answer.status == 200, "{answer:?}");
            ensure!(answer.body.contains("spooled"), "{answer:?}");
        }

        let cluster = &stage.cluster;
        let url = cluster.url(DATABASE);
        let second = command(cluster, (ANY_PORT, ANY_PORT))?
            .stdin(Stdio::null())
            .output()?;
        held(&second)?;
        held(&spool(cluster, &["status"])?)?;
        held(&spool(cluster, &["drain", "--database-url", &url])?)?;

        stage.worker.kill()?;
        let status = spool(cluster, &["status", "--json"])?;
        let status: Value = serde_json::from_slice(&status.stdout)?;
        ensure!(status["requests"] == 4, "{status}");
        let away = spool(cluster, &["drain", "--database-url", &url])?;
        ensure!(away.status.code() == Some(69), "{away:?}");
        stage.cluster.restart()?;
        let drained = spool(&stage.cluster, &["drain", "--database-url", &url])?;
        let said = String::from_utf8_lossy(&drained.stdout);
        ensure!(drained.status.code() == Some(0), "{drained:?}");
        ensure!(said.trim() == "4 drained; left: empty", "{said}");
        let status = spool(&stage.cluster, &["status"])?;
        ensure!(status.stdout == b"empty\n", "{status:?}");

        let row = stage.connect()?.query_one(
            "select (select count(*) from tidings.event),
                    (select count(distinct message_id) from tidings.event),
                    (select count(*) from tidings.rejected where verdict = 'unauthorized')",
            &[],
        )?;
        let counts: [i64; 3] = [row.get(0), row.get(1), row.get(2)];
        ensure!(counts == [3, 3, 1], "{counts:?}");
        Ok(())
    })
}

/// Exit 73 and a line that says why.
fn held(output: &Output) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(73), "{output:?}");
    ensure!(said.contains("another process holds the spool"), "{said}");
    ensure!(!said.contains("listening"), "{said}");
    Ok(())
}

/// Adds the source, which is known afterwards, with the first event; notes that.
fn first(stage: &Stage) -> Result<BTreeSet<String>> {
    stage
        .connect()?
        .batch_execute("select tidings.add_source('sms', 'arpoone', 'token')")?;
    let first = stored(stage, "sms", "first")?;
    is_drained(stage)?;
    Ok(BTreeSet::from([first]))
}

/// Sends until a commit is what answers: a lane's first one may be late, and is spooled.
fn stored(stage: &Stage, source: &str, number: &str) -> Result<String> {
    eventually("the source is known, and commits are quick", || {
        let answer = post(stage, source, "token", number)?;
        Ok(answer.body.contains("inserted").then_some(()))
    })?;
    Ok(id(source, number))
}

/// Sends until it is refused; notes what was answered 200.
fn fill(stage: &Stage, source: &str, answered: &mut BTreeSet<String>) -> Result<Answer> {
    for number in 0..5_000 {
        let number = number.to_string();
        let answer = post(stage, source, "token", &number)?;
        match answer.status {
            200 => answered.insert(id(source, &number)),
            503 => return Ok(answer),
            _ => bail!("{answer:?}"),
        };
    }
    bail!("it never refused")
}

/// What was answered 200, and nothing else, is there once.
fn stored_once(stage: &Stage, answered: &BTreeSet<String>) -> Result<()> {
    let rows = stage
        .connect()?
        .query("select message_id from tidings.event", &[])?;
    let stored: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    ensure!(rows.len() == stored.len(), "some are there twice");
    let missing: Vec<_> = answered.difference(&stored).collect();
    let unknown: Vec<_> = stored.difference(answered).collect();
    ensure!(missing.is_empty(), "missing: {missing:?}");
    ensure!(unknown.is_empty(), "refused, and there: {unknown:?}");
    Ok(())
}

fn id(source: &str, number: &str) -> String {
    format!("{source}-{number}")
}

fn post(stage: &Stage, source: &str, token: &str, number: &str) -> Result<Answer> {
    post_to(stage.worker.http, source, token, number)
}

fn post_to(worker: SocketAddr, source: &str, token: &str, number: &str) -> Result<Answer> {
    let body = json!([{
        "Msisdn": "351913462111",
        "Status": "DELIVERED",
        "MessageId": id(source, number),
        "ReportDateTime": "2026-01-01T00:00:00",
        "ReportDescription": "x".repeat(500),
    }]);
    let path = format!("/hooks/{source}/{token}");
    let json = [("content-type", "application/json")];
    http::post(worker, &path, &json, body.to_string().as_bytes())
        .context("the worker does not answer")
}
