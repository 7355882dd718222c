//! The primary is gone, its synchronous standby is the primary now: what was answered is
//! there, once, and whoever follows the log goes on from the cursor.

mod readers;

use self::readers::{Reader, consume, follow};
use anyhow::{Context as _, Result, bail, ensure};
use postgres::Client;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use tidings_e2e::{DEADLINE, eventually, play, server, wait_sent, wait_upkeep};
use tidings_harness::cluster::{Cluster, Durability};
use tidings_harness::emulator::{Emulator, Play};
use tidings_harness::http::{self, Answer};
use tidings_harness::procfs::Usage;
use tidings_harness::reconcile::Reconciliation;
use tidings_harness::stage::{self, DATABASE, Stage};
use tidings_harness::worker::{self, ANY_PORT, Worker};

/// More than are sent: the play ends some time after the failover.
const EVENTS: u64 = 48_000;
/// So many are sent before it, and after it.
const SENT: u64 = 4_000;
/// More than can have been on its way to the emulator when the standby was lost.
const ANSWERED: u64 = 1_000;
/// Longer than any standby is away here.
const PATIENT: [&str; 2] = ["--patience", "5m"];
const WAITING: &str = "select count(*) from pg_stat_activity
    where application_name = 'tidings-worker' and wait_event = 'SyncRep'";

/// Runs a test on a primary with a synchronous standby, and a worker with these flags that
/// knows both.
fn on_pair(
    flags: &[&str],
    test: impl FnOnce(&mut Stage, &mut Cluster) -> Result<()>,
) -> Result<()> {
    let primary = stage::cluster(&server()?, Durability::Fast)?;
    let mut standby = primary.standby()?;
    primary.require_standby()?;
    let url = Cluster::url_of_primary(&[&primary, &standby], DATABASE);
    let log = primary.folder().join("worker.log");
    let mut command = worker::command(&url, ANY_PORT, ANY_PORT)?;
    let mut worker = Worker::spawn(command.args(flags), &log)?;
    worker.wait_ready()?;
    let mut stage = Stage {
        worker,
        cluster: primary,
    };
    test(&mut stage, &mut standby)
        .inspect_err(|_| eprintln!("{}\n--- the standby's log\n{}", stage.logs(), standby.log()))
}

#[test]
fn a_primary_lost_for_its_standby_loses_and_doubles_nothing() -> Result<()> {
    on_pair(&PATIENT, |stage, standby| {
        let play = Play {
            rate: 4_000,
            ..play(stage, EVENTS, 21)
        };
        let mut emulator = stage.add_emulator(&play)?;
        stage.connect()?.batch_execute(
            "select tidings.create_consumer('application');
             create table effect (n bigint generated always as identity, id tidings.ulid)",
        )?;
        let url = Cluster::url_of_primary(&[&stage.cluster, &*standby], DATABASE);
        let (written, connected) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (followed, sessions) = thread::scope(|scope| -> Result<_> {
            let reader = Reader {
                url: &url,
                written: &written,
                connected: &connected,
            };
            let follower = scope.spawn(move || follow(reader));
            let consumer = scope.spawn(move || consume(reader));
            let outcome = eventually("both are connected", || {
                Ok((connected.load(Ordering::SeqCst) == 2).then_some(()))
            })
            .and_then(|()| fail_over(stage, standby, &mut emulator));
            written.store(true, Ordering::SeqCst);
            let (followed, sessions) = (follower.join(), consumer.join());
            outcome?;
            let followed = followed.ok().context("the follower panicked")??;
            let sessions = sessions.ok().context("the consumer panicked")??;
            Ok((followed, sessions))
        })?;

        let mut client = standby.connect(DATABASE)?;
        emulator.finish()?;
        let reconciliation = Reconciliation::of(&mut client, emulator.ledger())?;
        println!("{:?}", reconciliation.total());
        reconciliation.check()?;
        let ids = |client: &mut Client, query: &str| -> Result<Vec<String>> {
            let rows = client.query(query, &[])?;
            rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
        };
        let stored = ids(
            &mut client,
            "select id::text from tidings.event order by id",
        )?;
        let effects = ids(&mut client, "select id::text from effect order by n")?;
        for (who, seen, sessions) in [
            ("the follower", followed.ids, followed.sessions),
            ("the consumer", effects, sessions),
        ] {
            ensure!(sessions > 1, "{who} has not met the failover");
            ensure!(
                seen == stored,
                "{who} has {} of {} events, or another order",
                seen.len(),
                stored.len()
            );
        }
        Ok(())
    })
}

/// The primary is lost in the middle of a play, which then goes on to its end.
fn fail_over(stage: &mut Stage, standby: &mut Cluster, emulator: &mut Emulator) -> Result<()> {
    let mut client = stage.connect()?;
    emulator.begin()?;
    wait_sent(emulator, SENT)?;
    // Without its standby, the primary has commits that nobody may be told of: were they
    // answered, as without the setting, they would be lost with it.
    standby.crash()?;
    let before = acknowledged(emulator);
    eventually("commits wait for the standby", || {
        emulator.listen()?;
        let row = client.query_one(WAITING, &[])?;
        let answered = acknowledged(emulator) > before + ANSWERED;
        Ok((answered || row.try_get::<_, i64>(0)? > 0).then_some(()))
    })?;
    stage.cluster.crash()?;
    standby.restart()?;
    standby.promote()?;
    wait_sent(emulator, SENT)?;
    emulator.stop()?;
    eventually("all is answered", || {
        emulator.listen()?;
        stage.worker.check_running()?;
        Ok(emulator.is_done().then_some(()))
    })?;
    // The stream goes over what the old primary did not commit.
    let mut client = standby.connect(DATABASE)?;
    eventually("every event is there", || {
        let reconciliation = Reconciliation::of(&mut client, emulator.ledger())?;
        Ok((reconciliation.total().missing == 0).then_some(()))
    })
}

fn acknowledged(emulator: &Emulator) -> u64 {
    emulator.sent().values().map(|sent| sent.acknowledged).sum()
}

/// A duplicate is an answer too: that of an event which, should the primary be lost
/// now, would never have been there.
#[test]
fn nothing_is_answered_before_the_standby_has_it_duplicates_included() -> Result<()> {
    on_pair(&PATIENT, |stage, standby| {
        let mut client = stage.connect()?;
        let at = stage.worker.http;
        first(&mut client, at)?;
        // Whoever waits for more than an answer fails.
        client.batch_execute("set statement_timeout = '30s'")?;
        lose(standby, &mut client)?;

        let (answered, answer) = mpsc::channel();
        let sender = thread::spawn(move || answered.send(post(at, 2)));
        let unanswered = || match answer.try_recv() {
            Err(TryRecvError::Empty) => Ok(()),
            Ok(answer) => bail!("answered without the standby: {:?}", answer?),
            Err(error) => Err(error.into()),
        };
        let mut administrator = stage.connect()?;
        let mut waiting = |but: i32| {
            eventually("a commit of the worker waits for the standby", || {
                unanswered()?;
                let query = "select pid from pg_stat_activity
                    where application_name = 'tidings-worker' and wait_event = 'SyncRep'
                      and query like '%ingest_batch%' and pid <> $1
                    order by backend_start desc limit 1";
                let row = administrator.query_opt(query, &[&but])?;
                row.map(|row| Ok(row.try_get::<_, i32>(0)?)).transpose()
            })
        };
        let mut waited = waiting(0)?;
        ensure!(
            count(&mut client, "tidings.event")? == 1,
            "it is seen too early"
        );
        // It is committed here, and its client is told so by a warning alone, or never.
        for end in ["pg_cancel_backend", "pg_terminate_backend"] {
            let query = format!("select {end}($1)");
            stage.connect()?.execute(&query, &[&waited])?;
            eventually("the event is there, on the primary alone", || {
                Ok((count(&mut client, "tidings.event")? == 2).then_some(()))
            })?;
            waited = waiting(waited).with_context(|| format!("the retry after {end}"))?;
        }

        standby.restart()?;
        let answer = answer.recv_timeout(DEADLINE).context("no answer")??;
        let _ = sender.join();
        ensure!(answer.status == 200, "{answer:?}");
        let counts: Value = serde_json::from_str(&answer.body)?;
        ensure!(
            counts["duplicate"] == 1 && counts["inserted"] == 0,
            "{counts}"
        );
        ensure!(count(&mut client, "tidings.event")? == 2);
        // It had it before the answer, and shows it when it has replayed it.
        eventually("the standby shows it", || {
            let there = count(&mut standby.connect(DATABASE)?, "tidings.event")?;
            Ok((there == 2).then_some(()))
        })
    })
}

/// Nothing ends a commit's wait for a standby. Those who send have given up long before, and
/// others come: what nobody waits for is not kept.
#[test]
fn what_nobody_waits_for_is_not_kept_while_the_standby_is_away() -> Result<()> {
    const PENDING: u64 = 8 << 20;
    /// As the manual has it; a connection takes 64 KiB of it.
    const MOST: u64 = (64 << 20) + 3 * PENDING + SENDERS * (64 << 10);
    const SENDERS: u64 = 7;
    const SENT: u64 = 3 * MOST;
    let flags = ["--patience", "250ms", "--max-body", "1MiB"];
    let limits = ["--pending-bytes", "8MiB", "--source-share", "100"];
    on_pair(&[flags, limits].concat(), |stage, standby| {
        let mut client = stage.connect()?;
        let at = stage.worker.http;
        first(&mut client, at)?;
        lose(standby, &mut client)?;

        let large = vec![b' '; 1_000_000];
        let rounds = SENT / SENDERS / large.len() as u64;
        let send = || (0..rounds).try_for_each(|_| refused(at, &large));
        thread::scope(|scope| {
            let sending: Vec<_> = (0..SENDERS).map(|_| scope.spawn(send)).collect();
            sending
                .into_iter()
                .try_for_each(|sender| sender.join().ok().context("a sender panicked")?)
        })?;
        let waiting: i64 = client.query_one(WAITING, &[])?.try_get(0)?;
        ensure!(waiting >= 2, "{waiting} commits wait for the standby");
        let peak = Usage::of(stage.worker.id())?.peak;
        println!("{} MiB after {} MiB were sent", peak >> 20, SENT >> 20);
        ensure!(peak < MOST, "the worker has had {} MiB", peak >> 20);

        standby.restart()?;
        eventually("it goes on", || {
            Ok((post(at, 2)?.status == 200).then_some(()))
        })
    })
}

fn refused(at: SocketAddr, body: &[u8]) -> Result<()> {
    let answer = http::post(at, "/hooks/sms/token", &[], body)?;
    ensure!(answer.status == 503, "{answer:?}");
    Ok(())
}

/// Kills the standby, at a moment when nothing but what is sent can wait for it.
fn lose(standby: &mut Cluster, primary: &mut Client) -> Result<()> {
    wait_upkeep(primary)?;
    standby.kill()?;
    eventually("the standby is away", || {
        Ok((count(primary, "pg_stat_replication")? == 0).then_some(()))
    })
}

fn count(client: &mut Client, of: &str) -> Result<i64> {
    let row = client.query_one(&format!("select count(*) from {of}"), &[])?;
    Ok(row.try_get(0)?)
}

/// Adds the source, which is known afterwards, with the first event.
fn first(client: &mut Client, at: SocketAddr) -> Result<()> {
    client.batch_execute("select tidings.add_source('sms', 'arpoone', 'token')")?;
    eventually("the source is known", || {
        Ok((post(at, 1)?.status == 200).then_some(()))
    })
}

fn post(at: SocketAddr, number: u32) -> Result<Answer> {
    let event = json!([{
        "Msisdn": "351913462111",
        "Status": "DELIVERED",
        "MessageId": format!("0b1f5d1e-0000-4000-8000-{number:012}"),
        "ReportDateTime": "2026-01-01T00:00:00",
    }]);
    let json = [("content-type", "application/json")];
    // An answer may have to wait for the standby.
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let body = event.to_string();
    http::exchange(
        &mut stream,
        "POST",
        "/hooks/sms/token",
        &json,
        body.as_bytes(),
    )
}
