//! `make strangers`: the providers among [`strangers`], for long.

use anyhow::{Result, ensure};
use std::io::Write as _;
use tidings_harness::cluster::Durability;
use tidings_harness::leash;
use tidings_harness::server::Server;
use tidings_harness::stage::Stage;
use tidings_harness::strangers::{self, FLAGS, Options};

/// Events a second: few enough to leave the strangers time.
const RATE: u64 = 300;

/// Runs the drill and prints the result; fails unless every event is stored once.
pub(crate) fn run(server: &Server, minutes: u64, seed: u64) -> Result<()> {
    ensure!(minutes > 0, "give a number of minutes");
    let options = Options {
        events: minutes * 60 * RATE,
        rate: RATE,
        seed,
    };
    let mut stage = Stage::set_with(server, Durability::Fast, FLAGS)?;
    let outcome = strangers::among(&mut stage, &options).inspect_err(|_| {
        leash::mute_after_signal();
        eprintln!("{}", stage.logs());
    })?;
    let _ = writeln!(std::io::stdout(), "{outcome}");
    outcome.check()
}
