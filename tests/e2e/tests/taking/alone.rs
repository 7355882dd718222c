//! One request's error is one request's; one connection's end is one connection's.

use super::{is_stored, on_limited, on_stage, post, readiness, wait_readiness};
use anyhow::{Context as _, Result, anyhow, ensure};
use std::thread;
use std::time::Instant;
use tidings_e2e::{eventually, wait_known};
use tidings_harness::metrics;

const GOOD: usize = 99;
const BAD: usize = 3;

/// A typo in an operator's trigger, in a branch that only one source's rows reach.
const TYPO: &str = "
    create function typo() returns trigger language plpgsql as $$
    begin
      if new.message_id like 'odd-%' then
        new.no_such_column := 1;
      end if;
      return new;
    end $$;
    create trigger typo before insert on tidings.event for each row execute function typo()";

/// Webhooks of two sources that wait together, and so are of one batch; their answers.
fn together(flags: &[&str], has_spool: bool, setup: &str) -> Result<()> {
    let flags = [&["--connections", "1", "--lock-timeout", "30s"], flags].concat();
    on_stage(has_spool, &flags, |stage| {
        let (worker, mut client) = (stage.worker.http, stage.connect()?);
        let admin = stage.worker.admin;
        client.batch_execute("select tidings.add_source('odd', 'arpoone', 'token')")?;
        client.batch_execute(setup)?;
        wait_known(worker, "odd")?;
        client.batch_execute("begin; lock table tidings.event in access exclusive mode")?;
        let answers = thread::scope(|scope| {
            let posts: Vec<_> = (0..GOOD + BAD)
                .map(|number| {
                    let is_odd = number % 34 == 20;
                    let source = if is_odd { "odd" } else { "sms" };
                    let post = move || post(worker, source, &number.to_string());
                    (is_odd, scope.spawn(post))
                })
                .collect();
            eventually("all of them wait", || {
                let pending = metrics::gauge(admin, "tidings_worker_pending_requests")?;
                Ok((pending >= (GOOD + BAD) as f64).then_some(()))
            })?;
            client.batch_execute("rollback")?;
            let answers = posts.into_iter().map(|(is_odd, post)| {
                let answer = post.join().map_err(|_| anyhow!("a sender panicked"))?;
                Ok((is_odd, answer?))
            });
            answers.collect::<Result<Vec<_>>>()
        })?;
        let odd = answers.iter().filter(|(is_odd, _)| *is_odd).count();
        ensure!(odd == BAD, "{odd}");
        for (is_odd, answer) in &answers {
            let expected = match (is_odd, has_spool) {
                (false, _) => (200, "inserted"),
                (true, false) => (503, "declined"),
                (true, true) => (200, "spooled"),
            };
            ensure!(answer.status == expected.0, "{is_odd}: {answer:?}");
            ensure!(answer.body.contains(expected.1), "{is_odd}: {answer:?}");
        }
        let (status, body) = readiness(admin)?;
        ensure!(
            status == 200 && body.get("status").is_some_and(|word| word == "ready"),
            "{body}"
        );
        Ok(())
    })
}

#[test]
fn a_typo_in_a_trigger_refuses_only_the_webhooks_that_reach_it() -> Result<()> {
    together(&[], false, TYPO)
}

#[test]
fn a_typo_in_a_trigger_diverts_nobody_elses_webhooks_into_the_spool() -> Result<()> {
    together(&[], true, TYPO)
}

/// Postgres says 42501 then, as it does where a right is missing.
#[test]
fn a_right_that_one_sources_rows_lack_refuses_only_that_source() -> Result<()> {
    let denied = "
        create function denied() returns trigger language plpgsql as $$
        begin
          if new.message_id like 'odd-%' then
            raise insufficient_privilege using message = 'as the test wants';
          end if;
          return new;
        end $$;
        create trigger denied before insert on tidings.event for each row execute function denied()";
    together(&[], false, denied)
}

/// An error of everybody's is found by one probe rather than by halving each batch.
#[test]
fn a_right_that_is_missing_is_everybodys_and_ends_when_it_is_granted() -> Result<()> {
    on_limited(&["--patience", "3s"], |stage| {
        let (worker, mut client) = (stage.worker.http, stage.connect()?);
        let admin = stage.worker.admin;
        let right = "execute on function tidings.ingest_batch(text[], bytea[], jsonb[])";
        client.batch_execute(&format!("revoke {right} from limited"))?;
        let answer = post(worker, "sms", "kept")?;
        ensure!(answer.body.contains("spooled"), "{answer:?}");
        let body = wait_readiness(admin, 200, "ready, spooling")?;
        let reason = body["reason"].as_str().unwrap_or_default();
        ensure!(reason.contains("permission denied"), "{body}");
        client.batch_execute(&format!("grant {right} to limited"))?;
        wait_readiness(admin, 200, "ready")?;
        eventually("the spool is drained", || {
            Ok(is_stored(&mut client, "sms-kept")?.then_some(()))
        })
    })
}

/// The control connection is closed, and cannot be opened again.
#[test]
fn without_its_control_connection_it_stores_and_drains() -> Result<()> {
    // No timeout ends the wait for the lock, and the connection with it.
    let flags = [
        "--connections",
        "1",
        "--lock-timeout",
        "1m",
        "--statement-timeout",
        "1m",
    ];
    on_limited(&flags, |stage| {
        let (worker, mut client) = (stage.worker.http, stage.connect()?);
        let admin = stage.worker.admin;
        let mut locking = stage.connect()?;
        locking.batch_execute("begin; lock table tidings.event in access exclusive mode")?;
        let answer = post(worker, "sms", "spooled")?;
        ensure!(answer.body.contains("spooled"), "{answer:?}");
        wait_readiness(admin, 200, "ready, spooling")?;

        client.batch_execute("alter role limited connection limit 1")?;
        let of_control = "from pg_stat_activity where usename = 'limited' and query !~ 'ingest'";
        eventually("the upkeep has closed its connection", || {
            let count = client.query_one(&format!("select count(*) {of_control}"), &[])?;
            Ok((count.try_get::<_, i64>(0)? == 1).then_some(()))
        })?;
        client.execute(
            &format!("select pg_terminate_backend(pid) {of_control}"),
            &[],
        )?;
        locking.batch_execute("rollback")?;
        let body = wait_readiness(admin, 200, "ready, degraded")?;
        let reason = body["reason"].as_str().unwrap_or_default();
        ensure!(
            reason.contains("too many connections") || reason.contains("closed"),
            "{body}"
        );
        eventually("the spool is drained", || {
            Ok((readiness(admin)?.1["spool"]["requests"] == 0).then_some(()))
        })?;
        ensure!(is_stored(&mut client, "sms-spooled")?);
        for number in 0..10 {
            let began = Instant::now();
            let answer = post(worker, "sms", &number.to_string())?;
            ensure!(answer.body.contains("inserted"), "{answer:?}");
            ensure!(began.elapsed().as_secs() < 3, "{:?}", began.elapsed());
        }
        ensure!(metrics::gauge(admin, "tidings_worker_control_up")? == 0.0);
        ensure!(metrics::gauge(admin, super::UP)? == 1.0);
        client.batch_execute("alter role limited connection limit -1")?;
        wait_readiness(admin, 200, "ready").context("it connects again")?;
        Ok(())
    })
}
