//! `make outage`: an [`outage`] on a private, durable cluster.

use anyhow::{Result, ensure};
use std::io::Write as _;
use std::time::Duration;
use tidings_harness::cluster::Durability;
use tidings_harness::leash;
use tidings_harness::outage::{self, Options};
use tidings_harness::server::Server;
use tidings_harness::stage::Stage;

/// Runs the outage and prints the result; fails unless every webhook was answered 200 and
/// is stored once.
pub(crate) fn run(server: &Server, away: Duration, rate: u64) -> Result<()> {
    ensure!(rate > 0, "give a rate");
    let options = Options {
        before: Duration::from_secs(5),
        away,
        after: Duration::from_secs(10),
        rate,
    };
    let mut stage = Stage::set_with_spool(server, Durability::Durable, &[])?;
    let outage = outage::on(&mut stage, &options).inspect_err(|_| {
        leash::mute_after_signal();
        eprintln!("{}", stage.logs());
    })?;
    let _ = writeln!(std::io::stdout(), "{outage}");
    outage
        .check()
        .inspect_err(|_| eprintln!("{}", stage.logs()))
}
