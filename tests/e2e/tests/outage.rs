//! `make outage`, shorter: nobody who sends sees that Postgres is away, and every event
//! is stored once afterwards.

use anyhow::{Result, ensure};
use std::time::Duration;
use tidings_e2e::server;
use tidings_harness::cluster::Durability;
use tidings_harness::outage::{self, Options};
use tidings_harness::stage::Stage;

#[test]
fn every_webhook_is_answered_200_and_stored_once() -> Result<()> {
    let options = Options {
        before: Duration::from_secs(1),
        away: Duration::from_secs(8),
        // A kill that comes late must not leave the outage without senders.
        after: Duration::from_secs(4),
        rate: 100,
    };
    let mut stage = Stage::set_with_spool(&server()?, Durability::Fast, &[])?;
    let outage = outage::on(&mut stage, &options).inspect_err(|_| eprintln!("{}", stage.logs()))?;
    println!("{outage}");
    ensure!(outage.spooled_requests >= 700, "{outage}");
    outage
        .check()
        .inspect_err(|_| eprintln!("{}", stage.logs()))
}
