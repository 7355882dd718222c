//! More webhooks than Postgres stores, without a spool, from senders that wait for 5 s. (The
//! unit tests of the batcher do the same for two minutes, in virtual time.)

use super::{on_stage, post};
use anyhow::{Result, anyhow, ensure};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tidings_harness::http::Answer;

/// Time for which a sender waits.
const PATIENCE: Duration = Duration::from_secs(5);
const SENDERS: usize = 30;
const MEASURED: Duration = Duration::from_secs(5);
const OFFERED: Duration = Duration::from_secs(25);

/// Each event costs 20 ms.
const COSTLY: &str = "
    create function costly() returns trigger language plpgsql as $$
    begin
      perform pg_sleep(0.02);
      return null;
    end $$;
    create trigger costly after insert on tidings.event for each row execute function costly()";

/// Number of webhooks that are stored in a second if [`SENDERS`] send one after another.
fn capacity(worker: SocketAddr) -> Result<f64> {
    let (stored, began) = (AtomicUsize::new(0), Instant::now());
    thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let stored = &stored;
                scope.spawn(move || {
                    for number in 0.. {
                        if began.elapsed() >= MEASURED {
                            break;
                        }
                        let answer = post(worker, "sms", &format!("m{sender}-{number}"))?;
                        stored.fetch_add(usize::from(answer.status == 200), Ordering::Relaxed);
                    }
                    Ok::<_, anyhow::Error>(())
                })
            })
            .collect();
        senders
            .into_iter()
            .try_for_each(|sender| sender.join().map_err(|_| anyhow!("a sender panicked"))?)
    })?;
    Ok(stored.into_inner() as f64 / began.elapsed().as_secs_f64())
}

/// The time at which a webhook was answered, the time that this took, and the answer.
type Answered = (Duration, Duration, Answer);

fn offer(worker: SocketAddr, rate: f64) -> Result<Vec<Answered>> {
    let began = Instant::now();
    thread::scope(|scope| {
        let mut senders = Vec::new();
        for number in 0.. {
            let at = began + Duration::from_secs_f64(f64::from(number) / rate);
            if at - began >= OFFERED {
                break;
            }
            thread::sleep(at.saturating_duration_since(Instant::now()));
            senders.push(scope.spawn(move || {
                let sent = Instant::now();
                let answer = post(worker, "sms", &format!("o{number}"))?;
                Ok::<Answered, anyhow::Error>((began.elapsed(), sent.elapsed(), answer))
            }));
        }
        let answers = senders.into_iter();
        answers
            .map(|sender| sender.join().map_err(|_| anyhow!("a sender panicked"))?)
            .collect()
    })
}

#[test]
fn an_overload_without_a_spool_keeps_most_of_the_capacity() -> Result<()> {
    on_stage(false, &["--connections", "1"], |stage| {
        let (worker, mut client) = (stage.worker.http, stage.connect()?);
        client.batch_execute(COSTLY)?;
        let capacity = capacity(worker)?;
        let answers = offer(worker, capacity * 1.6)?;
        // In the seconds in which as much is offered throughout.
        let (from, to) = (Duration::from_secs(5), OFFERED);
        let good = answers.iter().filter(|(at, took, answer)| {
            (from..to).contains(at) && *took < PATIENCE && answer.status == 200
        });
        let goodput = good.count() as f64 / (to - from).as_secs_f64();
        let refused: Vec<_> = answers
            .iter()
            .filter(|(_, _, answer)| answer.status != 200)
            .collect();
        println!(
            "capacity {capacity:.1}/s, offered {:.1}/s, goodput {goodput:.1}/s, {} of {} refused",
            capacity * 1.6,
            refused.len(),
            answers.len()
        );
        ensure!(
            goodput >= 0.8 * capacity,
            "{goodput:.1}/s of {capacity:.1}/s"
        );
        for (_, took, answer) in refused {
            ensure!(answer.status == 503, "{answer:?}");
            ensure!(answer.body.contains("overloaded"), "{answer:?}");
            ensure!(answer.header("retry-after").is_some(), "{answer:?}");
            ensure!(*took < PATIENCE, "told after {took:?}");
        }
        Ok(())
    })
}
