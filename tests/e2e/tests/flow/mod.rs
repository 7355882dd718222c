//! Where Postgres is slow, the worker stops reading: its senders wait, and its memory
//! stays as it was.
//!
//! A lock keeps every commit waiting while a Pushwoosh ([`push`]) and a Ppoppo
//! ([`dialed`]) offer events without end. Both must come to a stop. When the lock is
//! gone, what was taken of them is stored once, and each push is answered.

mod dialed;
mod push;
mod supply;

use anyhow::{Context as _, Result, bail, ensure};
use postgres::Client;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use supply::Supply;
use tidings_e2e::{DEADLINE, eventually, on_stage_with};
use tidings_harness::stage::Stage;

const AUTHORIZATION: &str = "Bearer flow";
/// Push streams at once, each on a connection of its own.
const STREAMS: usize = 4;
/// The length of the text in an event.
const PUSHED_TEXT: usize = 4_000;
const STREAMED_TEXT: usize = 1_000;
/// So many events, 24 and 40 MB of each sender, are taken only where nothing is slowed
/// down. What may be taken is a fraction of it: the chunks and batches that the worker
/// gathers, and what HTTP/2 has on its way.
const MOST_PUSHED: usize = 6_000;
const MOST_STREAMED: usize = 40_000;
/// How much larger the worker may become meanwhile, at its peak, in MiB.
const MOST_GROWTH: u64 = 80;
/// Senders of which nothing was taken for so long are blocked.
const QUIET: Duration = Duration::from_secs(1);

#[test]
fn a_slow_postgres_slows_the_senders_and_the_worker_does_not_grow() -> Result<()> {
    // Longer than any wait here: what is given up makes room for more.
    let patient = ["--statement-timeout", "5m", "--patience", "5m"];
    // What takes longer to ask for costs the connection, and streams are refused meanwhile.
    let patient = [&patient[..], &["--lease-time", "10m"]].concat();
    on_stage_with(&patient, |stage| {
        let runtime = tokio::runtime::Runtime::new()?;
        let streamed = Supply::new("the dialed stream", MOST_STREAMED);
        let ppoppo =
            runtime.block_on(dialed::serve(streamed.clone(), "x".repeat(STREAMED_TEXT)))?;
        let mut client = stage.connect()?;
        add_sources(&mut client, &format!("http://{ppoppo}"))?;
        eventually("the stream is open", || {
            Ok((streamed.taken() > 0).then_some(()))
        })?;

        let mut slow = stage.connect()?;
        let mut lock = slow.transaction()?;
        lock.batch_execute("lock table only tidings.event in access exclusive mode")?;
        // From here on the stream too has all it can take, and nothing is stored.
        streamed.open();
        let before = peak_memory(stage)?;
        let successes = Arc::new(AtomicUsize::new(0));
        let mut supplies = vec![streamed.clone()];
        let mut pushes = Vec::new();
        for number in 0..STREAMS {
            let supply = Supply::new(format!("push stream {number}"), MOST_PUSHED);
            supply.open();
            supplies.push(supply.clone());
            let push = push::Push {
                at: stage.worker.grpc,
                authorization: AUTHORIZATION,
                number,
                text: "y".repeat(PUSHED_TEXT),
                successes: successes.clone(),
            };
            pushes.push(runtime.spawn(push.run(supply)));
        }

        wait_until_blocked(&supplies)?;
        let taken: Vec<String> = supplies.iter().map(|supply| supply.to_string()).collect();
        println!("{}", taken.join(", "));
        expect_growth(stage, before)?;
        let early = successes.load(Ordering::SeqCst);
        ensure!(
            early == 0,
            "{early} were answered Success before any commit"
        );

        for supply in &supplies {
            supply.end();
        }
        lock.rollback()?;
        let answered = runtime.block_on(async {
            tokio::time::timeout(DEADLINE, async {
                let mut answered = 0;
                for push in pushes {
                    answered += push.await??;
                }
                Ok::<_, anyhow::Error>(answered)
            })
            .await
            .context("not every push is answered Success")?
        })?;
        let pushed: usize = supplies.iter().skip(1).map(|supply| supply.taken()).sum();
        ensure!(answered == pushed, "{answered} of {pushed} answered");
        for (source, key, count) in [
            ("pushwoosh", "uuid", pushed),
            ("ppoppo", "event_id", streamed.taken()),
        ] {
            expect_once(&mut client, source, key, i64::try_from(count)?)?;
        }
        expect_growth(stage, before)
    })
}

fn add_sources(client: &mut Client, endpoint: &str) -> Result<()> {
    client.execute(
        "select tidings.add_source('pushwoosh', 'pushwoosh', $1),
                tidings.add_source('ppoppo', 'ppoppo', 'token', jsonb_build_object('endpoint', $2::text))",
        &[&AUTHORIZATION, &endpoint],
    )?;
    Ok(())
}

/// Returns when something was taken of each, and of none anything more for a while.
fn wait_until_blocked(supplies: &[Arc<Supply>]) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    let mut last = Vec::new();
    let mut since = Instant::now();
    loop {
        let taken: Vec<usize> = supplies.iter().map(|supply| supply.taken()).collect();
        if let Some(supply) = supplies.iter().find(|supply| supply.is_exhausted()) {
            bail!("{supply}, and nothing slows it down");
        }
        if taken != last {
            (last, since) = (taken, Instant::now());
        } else if since.elapsed() >= QUIET && last.iter().all(|taken| *taken > 1) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the senders do not get going");
        thread::sleep(Duration::from_millis(20));
    }
}

fn expect_growth(stage: &Stage, before: u64) -> Result<()> {
    let growth = peak_memory(stage)?.saturating_sub(before) >> 20;
    println!("the worker grew by {growth} MiB");
    ensure!(
        growth <= MOST_GROWTH,
        "the worker grew by {growth} MiB, more than {MOST_GROWTH}"
    );
    Ok(())
}

/// The most memory that the worker ever had, in bytes.
fn peak_memory(stage: &Stage) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", stage.worker.id()))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"))
        .context("no VmHWM in the worker's status")?;
    Ok(kib.trim().parse::<u64>()? << 10)
}

/// Waits for as many rows; then each must be another event.
fn expect_once(client: &mut Client, source: &str, key: &str, count: i64) -> Result<()> {
    let mut stored = || -> Result<(i64, i64)> {
        let row = client.query_one(
            "select count(*), count(distinct e.payload->>$2)
             from tidings.event e join tidings.source s on s.id = e.source_id
             where s.name = $1",
            &[&source, &key],
        )?;
        Ok((row.get(0), row.get(1)))
    };
    let (rows, events) = eventually(&format!("{count} events of {source} are stored"), || {
        Ok(Some(stored()?).filter(|(rows, _)| *rows >= count))
    })?;
    ensure!(
        rows == count && events == count,
        "{source}: {rows} rows of {events} events, not {count}"
    );
    Ok(())
}
