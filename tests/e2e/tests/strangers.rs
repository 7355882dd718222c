//! `make strangers`, shorter: idle calls, malformed requests and a log that nobody reads
//! cost the providers nothing.

use anyhow::Result;
use tidings_e2e::on_stage_with;
use tidings_harness::strangers::{self, FLAGS, Options};

#[test]
fn every_event_among_strangers_is_stored_once_and_the_worker_drains() -> Result<()> {
    let options = Options {
        events: 3_000,
        rate: 400,
        seed: 51,
    };
    on_stage_with(FLAGS, |stage| {
        let outcome = strangers::among(stage, &options)?;
        println!("{outcome}");
        outcome.check()
    })
}
