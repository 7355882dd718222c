//! Every event of every provider is stored, once.

use anyhow::{Result, ensure};
use tidings_e2e::{on_stage, play};
use tidings_harness::play;

#[test]
fn every_event_of_every_provider_is_stored_once() -> Result<()> {
    on_stage(|stage| {
        let mut emulator = stage.add_emulator(&play(stage, 8_000, 1))?;
        let played = play::run(stage, &mut emulator, &[], &mut |_| {})?;
        played.reconciliation.check()?;
        for source in tidings_harness::sources::SOURCES {
            ensure!(
                played
                    .reconciliation
                    .outcomes
                    .iter()
                    .any(|outcome| outcome.source == source.name && outcome.stored > 0),
                "nothing of {} was played",
                source.name
            );
        }
        ensure!(played.followed == played.reconciliation.total().stored);
        let row = stage
            .connect()?
            .query_one("select count(*) from tidings.rejected", &[])?;
        ensure!(row.get::<_, i64>(0) == 0, "something was rejected");
        Ok(())
    })
}
