//! A lane that cannot connect holds nobody up.

use super::{on_limited, post};
use anyhow::{Result, anyhow, ensure};
use std::thread;
use std::time::{Duration, Instant};

const SENDERS: usize = 40;
const ROUNDS: usize = 5;

/// The role may have one connection less than the worker wants: one for control, one lane.
#[test]
fn no_webhook_waits_for_a_lane_that_cannot_connect() -> Result<()> {
    on_limited(&["--connections", "3"], |stage| {
        let (worker, mut client) = (stage.worker.http, stage.connect()?);
        // Each commit takes long enough for a further lane to be wanted.
        client.batch_execute(
            "create function slow() returns trigger language plpgsql as $$
             begin
               perform pg_sleep(0.05);
               return null;
             end $$;
             create trigger slow after insert on tidings.event for each statement execute function slow();
             alter role limited connection limit 2",
        )?;
        for round in 0..ROUNDS {
            let took = thread::scope(|scope| {
                let posts: Vec<_> = (0..SENDERS)
                    .map(|number| {
                        let send = move || {
                            thread::sleep(Duration::from_millis(number as u64 * 10));
                            let began = Instant::now();
                            let answer = post(worker, "sms", &format!("{round}-{number}"))?;
                            ensure!(answer.body.contains("inserted"), "{answer:?}");
                            Ok::<_, anyhow::Error>(began.elapsed())
                        };
                        scope.spawn(send)
                    })
                    .collect();
                let took = posts
                    .into_iter()
                    .map(|post| post.join().map_err(|_| anyhow!("a sender panicked"))?);
                took.collect::<Result<Vec<_>>>()
            })?;
            let longest = took.iter().max().copied().unwrap_or_default();
            ensure!(longest < Duration::from_secs(4), "{longest:?}");
        }
        let refused = stage.cluster.log().matches("too many connections").count();
        ensure!(refused > 0, "no further lane was wanted");
        ensure!(refused < 100, "{refused} attempts");
        Ok(())
    })
}
