mod refused;

use std::{sync::Mutex, time::Duration};

use tokio::{task::JoinHandle, time::Instant};

use super::*;
use crate::{
    admission::directory::fake::{snapshot, source},
    pipeline::{
        batcher::Pipeline,
        request::{Outcome, Refusal, Request, Verdict},
        taking::Taking,
    },
    process::backoff::Backoff,
    sources::source::Database,
    spool::drain,
    testing,
};

const LIMITS: ReadLimits = ReadLimits {
    requests: 3,
    bytes: 1_000,
};
const ONE: ReadLimits = ReadLimits {
    requests: 1,
    ..LIMITS
};
const DEFAULT: ReadLimits = drain::LIMITS;
const PATIENCE: Duration = Duration::from_secs(5);

/// By what the body says.
fn as_told(request: &Request) -> Outcome {
    let body = std::str::from_utf8(&request.body).unwrap();
    let verdict = match body.split('-').next().unwrap() {
        "unauthorized" => Verdict::Unauthorized,
        "malformed" => Verdict::Malformed,
        "unknown" => Verdict::UnknownSource,
        "disabled" => Verdict::Disabled,
        "declined" => return Err(Refusal::Declined("as told".into())),
        "odd" => return Err(Refusal::Failed("as told".into())),
        _ => Verdict::Accepted,
    };
    Ok(fake::receipt(verdict))
}

fn away(_: &Request) -> Outcome {
    Err(Refusal::Failed("as told".into()))
}

fn declined(_: &Request) -> Outcome {
    Err(Refusal::Declined("as told".into()))
}

async fn spool(folder: &Path, requests: &[&str]) -> Spool {
    let spool = open(folder, LIMIT).unwrap();
    for body in requests {
        spool.keep(fake::request("s", body)).await.unwrap();
    }
    spool
}

/// Drains once: how many were done with, how many stay, and whether nothing passed.
async fn once(spool: &Spool, pipeline: &Pipeline, limits: ReadLimits) -> (usize, usize, bool) {
    let drained = drain::once(spool, pipeline, limits).await.unwrap();
    (drained.done, drained.stays, drained.blocked)
}

/// Postgres is there, and has the source.
fn there() -> drain::Postgres {
    there_with(watch::channel(snapshot(&[source("s", "arpoone")])).1)
}

fn there_with(snapshot: watch::Receiver<Snapshot>) -> drain::Postgres {
    (snapshot, Taking::trusting())
}

/// Drains until it is aborted, with no rest but for what a round took.
fn draining(spool: &Spool, pipeline: Pipeline, limits: ReadLimits) -> JoinHandle<()> {
    let rests = Backoff::between(Duration::ZERO, Duration::ZERO);
    let rounds = drain::rounds(spool.clone(), pipeline, there(), limits, rests);
    tokio::spawn(rounds)
}

/// The bodies that Postgres was given, in order.
fn given(seen: &Mutex<Vec<Request>>) -> Vec<String> {
    let text = |request: &Request| String::from_utf8(request.body.to_vec()).unwrap();
    seen.lock().unwrap().iter().map(text).collect()
}

#[actix::test]
async fn what_is_done_goes_in_order_and_what_may_pass_stays() {
    let folder = tempfile::tempdir().unwrap();
    let requests = [
        "a",
        "disabled-1",
        "b",
        "unauthorized",
        "malformed",
        "unknown",
        "declined-1",
        "odd-1",
        "c",
    ];
    let spool = spool(folder.path(), &requests).await;
    let (pipeline, seen) = testing::pipeline(as_told, PATIENCE);
    assert_eq!(once(&spool, &pipeline, LIMITS).await, (5, 4, false));
    let left = ["disabled-1", "unknown", "declined-1", "odd-1"];
    assert_eq!(bodies(&spool).await, left);
    // What is not known to have passed goes again with what was behind it, and then alone.
    let again = ["odd-1", "c", "odd-1", "c"];
    assert_eq!(given(&seen), [&requests[..], &again].concat());
}

#[actix::test]
async fn nothing_is_deleted_that_was_not_committed() {
    let folder = tempfile::tempdir().unwrap();
    let requests = ["a", "b", "c", "d", "e", "f", "g"];
    let spool = spool(folder.path(), &requests).await;
    let (pipeline, seen) = testing::pipeline(away, PATIENCE);
    assert_eq!(once(&spool, &pipeline, LIMITS).await, (0, 2, true));
    assert_eq!(bodies(&spool).await, requests);
    assert_eq!(seen.lock().unwrap().len(), 5, "no further than two alone");
}

#[actix::test]
async fn those_behind_one_that_is_refused_are_drained() {
    let folder = tempfile::tempdir().unwrap();
    let requests = ["a", "b", "c", "odd-1", "d", "e", "odd-2"];
    let spool = spool(folder.path(), &requests).await;
    let (pipeline, _) = testing::pipeline(as_told, PATIENCE);
    assert_eq!(once(&spool, &pipeline, LIMITS).await, (5, 2, false));
    assert_eq!(bodies(&spool).await, ["odd-1", "odd-2"]);
}

#[actix::test]
async fn the_only_one_that_is_refused_is_postgres_refusing() {
    let folder = tempfile::tempdir().unwrap();
    let spool = spool(folder.path(), &["a"]).await;
    let (pipeline, _) = testing::pipeline(away, PATIENCE);
    assert_eq!(once(&spool, &pipeline, LIMITS).await, (0, 1, true));
}

/// Stores the first two requests of each batch, as if Postgres refused the rest of a batch that was halved.
fn two_of_each(requests: &[Request]) -> Vec<Outcome> {
    let answer = |(number, request)| match number {
        0 | 1 => as_told(request),
        _ => away(request),
    };
    requests.iter().enumerate().map(answer).collect()
}

#[actix::test]
async fn those_that_are_untried_are_next() {
    let folder = tempfile::tempdir().unwrap();
    let declined = ["declined-1", "declined-2", "declined-3", "declined-4"];
    let requests = [&declined[..], &["a", "b"]].concat();
    let spool = spool(folder.path(), &requests).await;
    let (pipeline, _) = testing::pipeline_of_batches(two_of_each, PATIENCE);
    assert_eq!(once(&spool, &pipeline, DEFAULT).await, (2, 4, false));
    assert_eq!(bodies(&spool).await, declined);
}

#[actix::test]
async fn a_batch_is_bounded_in_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let large = "x".repeat(960);
    let spool = spool(folder.path(), &[&large, &large, "a", "b"]).await;
    for (after, expected) in [(None, 1), (Some(0), 1), (Some(1), 2)] {
        let read = spool.read(after, LIMITS).await.unwrap();
        assert_eq!(read.entries.len(), expected, "{after:?}");
    }
}

#[actix::test]
async fn it_waits_for_postgres_and_goes_on_with_what_comes() {
    let folder = tempfile::tempdir().unwrap();
    let spool = spool(folder.path(), &["a", "disabled-1", "b"]).await;
    spool.set_stalled(true);
    assert!(spool.is_stalled());
    let (pipeline, seen) = testing::pipeline(as_told, PATIENCE);
    let (sender, receiver) = watch::channel(Snapshot::default());
    let long = Duration::from_secs(3600);
    let rests = Backoff::between(long, long);
    let taking = Taking::stopped_for("gone");
    let postgres = (receiver, taking.clone());
    let rounds = drain::rounds(spool.clone(), pipeline, postgres, LIMITS, rests);
    let running = tokio::spawn(rounds);
    spool.keep(fake::request("s", "c")).await.unwrap();
    assert!(seen.lock().unwrap().is_empty(), "Postgres is away");
    taking.resume();
    sender.send_replace(snapshot(&[]));
    for _ in 0..20 {
        bodies(&spool).await;
    }
    assert!(seen.lock().unwrap().is_empty(), "it may be restored yet");

    sender.send_replace(snapshot(&[source("s", "arpoone")]));
    let mut depth = spool.depth.clone();
    depth.wait_for(|depth| depth.requests == 1).await.unwrap();
    assert_eq!(bodies(&spool).await, ["disabled-1"]);
    assert!(!spool.is_stalled());
    spool.keep(fake::request("s", "d")).await.unwrap();
    depth
        .wait_for(|depth| depth.next == 5 && depth.requests == 1)
        .await
        .unwrap();
    let tried = given(&seen);
    let tried = tried.iter().filter(|body| *body == "disabled-1");
    assert_eq!(tried.count(), 1, "what stays does not go with every batch");
    running.abort();
}

/// The control connection is lost, and those that store requests are not.
#[actix::test]
async fn it_goes_on_with_the_sources_that_were_read_last_and_gives_none_up() {
    tokio::time::pause();
    let folder = tempfile::tempdir().unwrap();
    let spool = spool(folder.path(), &["a", "unknown", "b"]).await;
    let (pipeline, _) = testing::pipeline(as_told, PATIENCE);
    let mut lost = snapshot(&[source("s", "arpoone")]);
    lost.database = Database::Down("gone".to_owned());
    let (_sender, receiver) = watch::channel(lost);
    let running = tokio::spawn(drain::run(
        spool.clone(),
        pipeline,
        there_with(receiver),
        LIMITS,
    ));
    let mut depth = spool.depth.clone();
    depth.wait_for(|depth| depth.requests == 1).await.unwrap();
    assert_eq!(bodies(&spool).await, ["unknown"]);
    running.abort();
}

/// While a batch was on its way the database was made anew.
#[actix::test]
async fn what_a_database_without_sources_does_not_know_stays() {
    tokio::time::pause();
    let folder = tempfile::tempdir().unwrap();
    let spool = spool(folder.path(), &["a"]).await;
    let (sender, receiver) = watch::channel(snapshot(&[source("s", "arpoone")]));
    let database = sender.clone();
    let (tried, mut heard) = mpsc::unbounded_channel();
    let answer = move |requests: &[Request]| {
        let verdict = match tried.is_closed() {
            false => Verdict::UnknownSource,
            true => Verdict::Accepted,
        };
        database.send_replace(snapshot(&[]));
        let _ = tried.send(());
        requests
            .iter()
            .map(|_| Ok(fake::receipt(verdict)))
            .collect()
    };
    let (pipeline, seen) = testing::pipeline_of_batches(answer, PATIENCE);
    let running = tokio::spawn(drain::run(
        spool.clone(),
        pipeline,
        there_with(receiver),
        LIMITS,
    ));
    heard.recv().await.unwrap();
    drop(heard);
    // Restored.
    sender.send_replace(snapshot(&[source("s", "arpoone")]));
    let mut depth = spool.depth.clone();
    depth.wait_for(|depth| depth.requests == 0).await.unwrap();
    assert_eq!(given(&seen), ["a", "a"]);
    running.abort();
}

/// They say nothing of the others.
#[actix::test]
async fn a_batch_that_is_declined_is_not_tried_again_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let requests = ["declined-1", "declined-2", "declined-3", "a"];
    let spool = spool(folder.path(), &requests).await;
    spool.set_stalled(true);
    let (pipeline, seen) = testing::pipeline(as_told, PATIENCE);
    for done in [1, 0] {
        assert_eq!(once(&spool, &pipeline, LIMITS).await, (done, 3, false));
    }
    assert!(!spool.is_stalled());
    assert_eq!(bodies(&spool).await, requests[..3]);
    assert_eq!(seen.lock().unwrap().len(), 7);
}

/// Else every webhook would be kept from Postgres for good.
#[actix::test]
async fn a_drain_that_fails_lets_the_next_webhook_find_out() {
    let spool = broken(1);
    spool.set_stalled(true);
    let (pipeline, _) = testing::pipeline(as_told, PATIENCE);
    let running = tokio::spawn(drain::run(spool.clone(), pipeline, there(), LIMITS));
    let found = async {
        while spool.is_stalled() {
            tokio::task::yield_now().await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(30), found).await;
    found.expect("it is not stalled for good");
    running.abort();
}

fn slowly(request: &Request) -> Outcome {
    std::thread::sleep(Duration::from_millis(3));
    as_told(request)
}

/// However long a round takes, and however soon what stays is due again.
#[actix::test]
async fn a_round_reaches_its_end_before_the_next_begins() {
    let folder = tempfile::tempdir().unwrap();
    let mut requests: Vec<String> = (0..40).map(|n| format!("disabled-{n}")).collect();
    requests.push("a".to_owned());
    let expected: Vec<_> = requests.iter().map(String::as_str).collect();
    let spool = spool(folder.path(), &expected).await;
    let (pipeline, seen) = testing::pipeline(slowly, PATIENCE);
    let running = draining(&spool, pipeline, ONE);
    let mut depth = spool.depth.clone();
    let end = depth.wait_for(|depth| depth.requests == 40);
    let end = tokio::time::timeout(Duration::from_secs(30), end).await;
    end.expect("the end is reached").unwrap();
    running.abort();
    assert_eq!(given(&seen)[..expected.len()], expected);
}

/// Two batches of damaged entries are followed by one entry that is whole.
#[actix::test]
async fn what_is_damaged_is_stepped_over_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    put_damaged(folder.path(), 0..6, "s");
    let spool = spool(folder.path(), &["a"]).await;
    spool.set_stalled(true);
    let (pipeline, seen) = testing::pipeline(as_told, PATIENCE);
    let rounds = drain::run(spool.clone(), pipeline.clone(), there(), LIMITS);
    let running = tokio::spawn(rounds);
    let mut depth = spool.depth.clone();
    for next in [7, 8] {
        let end = depth.wait_for(|depth| depth.next == next && depth.requests == 0);
        let end = tokio::time::timeout(Duration::from_secs(30), end).await;
        end.expect("what is whole is drained").unwrap();
        assert!(!spool.is_stalled());
        spool.keep(fake::request("s", "b")).await.unwrap();
    }
    running.abort();
    let _ = running.await;
    let (_, stays, blocked) = once(&spool, &pipeline, LIMITS).await;
    assert_eq!((stays, blocked), (0, false));
    let depth = spool.depth();
    assert_eq!((depth.requests, depth.damaged.requests), (0, 6));
    assert_eq!(given(&seen)[..2], ["a", "b"]);
}

/// Nothing of a batch with one that is slow comes in time.
fn none_beside_a_slow_one(requests: &[Request]) -> Vec<Outcome> {
    let answer = match requests.iter().any(|request| request.body == "slow") {
        true => away,
        false => as_told,
    };
    requests.iter().map(answer).collect()
}

/// So many that stay lie behind the others: what is left never becomes few.
const OTHERS: usize = 600;

/// A slow one alone does not come in time either, or is declined for the time it takes.
#[actix::test]
async fn those_beside_one_that_is_slow_are_drained() {
    tokio::time::pause();
    for slow in [away, declined] {
        let folder = tempfile::tempdir().unwrap();
        let requests = [&["a", "slow"][..], &["b"; 60], &["disabled"; OTHERS]].concat();
        let spool = spool(folder.path(), &requests).await;
        let enough = Arc::new(tokio::sync::Notify::new());
        let (batches, told) = (std::cell::Cell::new(0), Arc::clone(&enough));
        let answer = move |requests: &[Request]| {
            batches.set(batches.get() + 1);
            if batches.get() == 200 {
                told.notify_one();
            }
            match requests {
                [request] if request.body == "slow" => vec![slow(request)],
                requests => none_beside_a_slow_one(requests),
            }
        };
        let (pipeline, _) = testing::pipeline_of_batches(answer, PATIENCE);
        let running = draining(&spool, pipeline, DEFAULT);
        let mut depth = spool.depth.clone();
        let left = 1 + OTHERS as u64;
        tokio::select! {
            end = depth.wait_for(|depth| depth.requests == left) => drop(end.unwrap()),
            () = enough.notified() => panic!("the same ones for ever"),
        }
        running.abort();
        let left = [&["slow"][..], &["disabled"; OTHERS]].concat();
        assert_eq!(bodies(&spool).await, left);
    }
}

#[actix::test]
async fn those_beside_one_that_is_slow_are_drained_by_the_command() {
    for place in [0, 1, 11, 22] {
        let folder = tempfile::tempdir().unwrap();
        let mut requests = ["a"; 23];
        requests[place] = "slow";
        let spool = spool(folder.path(), &requests).await;
        let (pipeline, _) = testing::pipeline_of_batches(none_beside_a_slow_one, PATIENCE);
        assert_eq!(
            once(&spool, &pipeline, DEFAULT).await,
            (22, 1, false),
            "{place}"
        );
        assert_eq!(bodies(&spool).await, ["slow"]);
    }
}

/// When each batch of a drain was answered, as far as the so manieth, where each takes
/// `takes` and there is no rest but for what that takes.
async fn answered(
    requests: &[&str],
    answer: fn(&Request) -> Outcome,
    count: usize,
) -> Vec<Instant> {
    let folder = tempfile::tempdir().unwrap();
    let spool = spool(folder.path(), requests).await;
    let (times, mut seen) = mpsc::unbounded_channel();
    let noting = move |requests: &[Request]| {
        let _ = times.send(Instant::now());
        requests.iter().map(answer).collect()
    };
    let (pipeline, _) = testing::slow_pipeline(noting, TAKES, TAKES * 2);
    let running = draining(&spool, pipeline, ONE);
    let mut answered = Vec::new();
    while answered.len() < count {
        answered.push(seen.recv().await.unwrap());
    }
    running.abort();
    answered
}

const TAKES: Duration = Duration::from_secs(100);

#[actix::test]
async fn what_stays_has_half_of_the_time_at_most() {
    tokio::time::pause();
    let requests = ["declined-1", "declined-2", "declined-3"];
    let at = answered(&requests, as_told, 4).await;
    // The first is answered again when it was at rest for as long as all three took.
    assert!(at[3] - at[2] >= TAKES * 4, "{at:?}");
}

/// It says nothing of what stays, and is to be found out soon when it is over. The shortest time
/// counts, because the clock also runs on while the keeper's thread waits for the disk.
#[actix::test]
async fn the_time_that_postgres_is_away_is_not_rested_for() {
    tokio::time::pause();
    let at = answered(&["a"], away, 6).await;
    let shortest = at.windows(2).map(|pair| pair[1] - pair[0]).min();
    assert!(shortest.unwrap() < TAKES * 2, "{at:?}");
}
