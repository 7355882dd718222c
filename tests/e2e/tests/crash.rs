//! A worker that is killed loses nothing and doubles nothing.

use anyhow::{Result, ensure};
use tidings_e2e::{on_stage, play};
use tidings_harness::emulator::Play;
use tidings_harness::play;

#[test]
fn a_killed_worker_loses_and_doubles_nothing() -> Result<()> {
    on_stage(|stage| {
        // Slow enough that each kill falls into the middle of it.
        let play = Play {
            rate: 500,
            ..play(stage, 10_000, 2)
        };
        let mut emulator = stage.add_emulator(&play)?;
        let played = play::run(stage, &mut emulator, &[1_000, 2_500, 4_000], &mut |_| {})?;
        played.reconciliation.check()?;
        ensure!(played.followed == played.reconciliation.total().stored);
        Ok(())
    })
}
