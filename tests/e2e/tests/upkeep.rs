//! Upkeep beside those who use the events.

use anyhow::{Context as _, Result, ensure};
use std::thread;
use tidings_e2e::{eventually, on_cluster};
use tidings_harness::stage::DATABASE;

/// A request for the lock would make everybody wait who comes after it.
#[test]
fn behind_a_long_report_upkeep_makes_nobody_wait() -> Result<()> {
    on_cluster(|cluster| {
        let mut report = cluster.connect(DATABASE)?;
        let mut report = report.transaction()?;
        report.query("select count(*) from tidings.event", &[])?;
        let mut client = cluster.connect(DATABASE)?;
        eventually("the report has been open for a while", || {
            let row = client.query_one(
                "select count(*) > 0 from pg_stat_activity
                 where xact_start < clock_timestamp() - interval '6 s' and pid <> pg_backend_pid() and state = 'idle in transaction'",
                &[],
            )?;
            Ok(row.get::<_, bool>(0).then_some(()))
        })?;
        thread::scope(|scope| {
            let upkeep = scope.spawn(|| -> Result<_> {
                let mut upkeep = cluster.connect(DATABASE)?;
                Ok(upkeep.query("select * from tidings.maintain()", &[]))
            });
            let mut looks = 0;
            while !upkeep.is_finished() {
                let row = client.query_one(
                    "select count(*) from pg_locks where not granted and mode = 'AccessExclusiveLock'",
                    &[],
                )?;
                ensure!(row.get::<_, i64>(0) == 0, "upkeep has requested the lock");
                looks += 1;
            }
            let outcome = upkeep.join().ok().context("upkeep panicked")??;
            let error = outcome
                .err()
                .context("upkeep has found the events unused")?;
            let state = error.code().map(|code| code.code().to_owned());
            ensure!(state.as_deref() == Some("55P03"), "{error}");
            let detail = error.as_db_error().and_then(|error| error.detail());
            ensure!(
                detail.is_some_and(|detail| detail.contains("process ")),
                "{detail:?}"
            );
            println!("{looks} looks");
            Ok(())
        })?;
        report.commit()?;
        let made = client.query("select * from tidings.maintain()", &[])?;
        ensure!(!made.is_empty());
        Ok(())
    })
}
