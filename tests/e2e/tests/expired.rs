//! A provider that no longer replays what came while nobody followed: the gap is recorded, and
//! what can be asked for is recovered.

use anyhow::{Context as _, Result, ensure};
use tidings_e2e::{eventually, on_stage, play};
use tidings_harness::emulator::Play;
use tidings_harness::ledger::Demand;
use tidings_harness::outcomes;
use tidings_harness::reconcile::Reconciliation;
use tidings_harness::sources;
use tidings_harness::stage::DATABASE;

#[test]
fn what_an_expired_cursor_has_cost_is_asked_for() -> Result<()> {
    on_stage(|stage| {
        let requests = stage.cluster.folder().join("requests.jsonl");
        let flags = [
            "--faults",
            "cursor-expired",
            "--requests",
            requests.to_str().context("not UTF-8")?,
        ];
        let play = Play {
            only: Some("ppoppo,ppoppo-channels"),
            flags: &flags,
            // Slow enough for events after the last expired cursor.
            rate: 1_000,
            ..play(stage, 2_500, 7)
        };
        let mut emulator = stage.add_emulator(&play)?;
        let mut client = stage.connect()?;
        sources::add_channels(&mut client, emulator.ppoppo, &[])?;
        emulator.begin()?;
        eventually("the play is over", || {
            emulator.listen()?;
            Ok(emulator.is_done().then_some(()))
        })?;
        ensure!(
            emulator.faults()["cursor-expired"] == 4,
            "two of each stream"
        );
        let ledger = emulator.ledger().to_owned();
        eventually("all that was demanded is stored", || {
            let reconciliation = Reconciliation::by(&mut client, &ledger, Demand::Acknowledged)?;
            Ok((reconciliation.total().missing == 0).then_some(()))
        })?;
        // Nobody can be asked for the messages of channels.
        let rows = eventually("the gaps are closed", || {
            let rows = client.query(
                "select source, count(*), count(closed_at) from tidings.gap
                 where cause = 'cursor_expired' group by 1 order by 1",
                &[],
            )?;
            let found = |row: &postgres::Row| (row.get::<_, String>(0), row.get(1), row.get(2));
            let rows: Vec<(String, i64, i64)> = rows.iter().map(found).collect();
            let closed = |(source, found, closed): &(String, i64, i64)| {
                source != "ppoppo" || found == closed
            };
            Ok(rows.iter().all(closed).then_some(rows))
        })?;
        let expected = [("ppoppo", 2, 2), ("ppoppo-channels", 2, 0)];
        let expected = expected.map(|(source, found, closed)| (source.to_owned(), found, closed));
        ensure!(rows == expected, "{rows:?}");
        outcomes::ask_for_unknown(&mut client, &requests, &stage.cluster.url(DATABASE))?;
        emulator.finish()?;
        Reconciliation::by(&mut client, &ledger, Demand::Acknowledged)?.check()?;
        let recipients = outcomes::check(&mut client, &requests)?;
        ensure!(recipients > 500, "{recipients} recipients");
        client.batch_execute("select tidings.rebuild_state()")?;
        outcomes::check(&mut client, &requests).map(drop)
    })
}
