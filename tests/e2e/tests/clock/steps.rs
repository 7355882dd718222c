//! One step of the clock at a time.

use super::{Clock, Clocked, after, ids, joined, store};
use anyhow::{Result, ensure};
use postgres::Client;
use tidings_e2e::eventually;
use tidings_harness::stage::DATABASE;

const DAY: i64 = 24 * 60 * 60;
/// The rule of that version used the reader's clock.
const BY_THE_CLOCK: &str = "0.4.0";
/// Enough events that their order would be wrong if it were left to chance.
const EVENTS: usize = 64;

#[test]
fn one_commit_while_the_clock_is_ahead_stops_no_reader() -> Result<()> {
    Clocked::run(|server| {
        let seen = |client: &mut Client| -> Result<usize> {
            server.set(&Clock::Off(DAY))?;
            let ahead = store(client, "ahead")?;
            server.set(&Clock::Off(0))?;
            let then = store(client, "then")?;
            ensure!(ahead < then, "{then} was stored after {ahead}");
            Ok(after(client, None)?.len())
        };
        let by_the_clock = seen(&mut server.database("old", Some(BY_THE_CLOCK))?)?;
        ensure!(
            by_the_clock == 0,
            "the clock was not ahead: nothing was shown"
        );
        let seen = seen(&mut server.database(DATABASE, None)?)?;
        ensure!(seen == 2, "{seen} of 2 events were read");
        Ok(())
    })
}

#[test]
fn positions_of_one_millisecond_are_in_the_order_of_commits() -> Result<()> {
    Clocked::run(|server| {
        let mut client = server.database(DATABASE, None)?;
        server.set(&Clock::Stopped("2040-01-01 00:00:00"))?;
        let mut cursor = None;
        for event in 0..EVENTS {
            // A new connection knows nothing of earlier positions.
            let mut writer = server.cluster.connect(DATABASE)?;
            let stored = store(&mut writer, &format!("event-{event}"))?;
            let read = after(&mut client, cursor.as_ref())?;
            ensure!(
                read == [stored.clone()],
                "after {cursor:?} and {stored}, {read:?} was read"
            );
            cursor = Some(stored);
        }
        // The clock goes back by years: the next positions are above these all the same.
        server.set(&Clock::Off(0))?;
        let stored = store(&mut client, "years before")?;
        let read = after(&mut client, cursor.as_ref())?;
        ensure!(read == [stored], "{read:?} was read");
        Ok(())
    })
}

/// A reader looks where the log ends, and has to wait before it reads. Meanwhile the clock
/// steps back, and writers come.
#[test]
fn a_step_back_between_look_and_snapshot_loses_nothing() -> Result<()> {
    Clocked::run(|server| {
        let mut reader = server.database(DATABASE, None)?;
        let first = store(&mut reader, "first")?;
        let (end, clock) = eventually("the next millisecond comes", || {
            let look = "select tidings.log_end()::text, tidings.ulid_at(clock_timestamp())::text";
            let row = reader.query_one(look, &[])?;
            let (end, clock): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            Ok((clock > first).then_some((end, clock)))
        })?;

        server.set(&Clock::Off(-60))?;
        let mut slow = server.cluster.connect(DATABASE)?;
        let mut fast = server.cluster.connect(DATABASE)?;
        let mut committed = Vec::new();
        // Which of two that begin side by side comes first is left to chance.
        let slow_id = loop {
            slow.batch_execute("begin")?;
            let slow_id = store(&mut slow, "slow")?;
            let fast_id = store(&mut fast, &format!("fast-{}", committed.len()))?;
            committed.push(fast_id.clone());
            if slow_id < fast_id {
                // A reader up to the clock of its look would now read "fast", and never "slow".
                ensure!(fast_id < clock, "nothing was shown");
                break slow_id;
            }
            slow.batch_execute("rollback")?;
        };

        let upto = "select id::text from tidings.event where id <= $1::text::tidings.ulid";
        let read = ids(&mut reader, upto, &[&end])?;
        ensure!(read == [first], "{read:?} was read");

        slow.batch_execute("commit")?;
        committed.push(slow_id);
        committed.sort();
        let read = after(&mut reader, Some(&end))?;
        ensure!(read == committed, "{read:?} was read");
        Ok(())
    })
}

/// A writer has begun its statement, and waits before its first look. Meanwhile a position
/// that lies ahead of its clock is committed.
#[test]
fn a_writer_looks_at_what_is_committed_by_then() -> Result<()> {
    Clocked::run(|server| {
        let mut ahead = server.database(DATABASE, None)?;
        let mut writer = server.cluster.connect(DATABASE)?;
        let mut watch = server.cluster.connect(DATABASE)?;

        ahead.batch_execute("begin; lock table tidings.log_head in access exclusive mode")?;
        let (ahead_id, id) = std::thread::scope(|scope| {
            let waits = scope.spawn(|| store(&mut writer, "waits"));
            let mut meanwhile = || {
                eventually("the writer waits for log_head", || {
                    let waiting = "select count(*) from pg_locks
                        where not granted and relation = 'tidings.log_head'::regclass";
                    let waiting: i64 = watch.query_one(waiting, &[])?.try_get(0)?;
                    Ok((waiting > 0).then_some(()))
                })?;
                server.set(&Clock::Off(DAY))?;
                let ahead_id = store(&mut ahead, "ahead")?;
                server.set(&Clock::Off(0))?;
                Ok::<_, anyhow::Error>(ahead_id)
            };
            let ahead_id = meanwhile();
            // Whatever came of it, the writer waits no longer.
            ahead.batch_execute("commit")?;
            Ok::<_, anyhow::Error>((ahead_id?, joined(waits.join())?))
        })?;
        ensure!(ahead_id < id, "{id} was stored after {ahead_id}");
        let read = after(&mut watch, None)?;
        ensure!(read == [ahead_id, id], "{read:?} was read");
        Ok(())
    })
}
