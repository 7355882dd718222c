//! Every form that the providers' pages leave open is read, and read as one event.

use anyhow::{Result, ensure};
use tidings_e2e::{on_stage, play};
use tidings_harness::emulator::Play;
use tidings_harness::play;

#[test]
fn every_liberal_form_is_stored_once_and_nothing_rejected() -> Result<()> {
    on_stage(|stage| {
        let play = Play {
            flags: &["--forms", "liberal"],
            ..play(stage, 8_000, 4)
        };
        let mut emulator = stage.add_emulator(&play)?;
        let played = play::run(stage, &mut emulator, &[], &mut |_| {})?;
        played.reconciliation.check()?;
        ensure!(played.followed == played.reconciliation.total().stored);
        let mut client = stage.connect()?;
        let rejected: i64 = client
            .query_one("select count(*) from tidings.rejected", &[])?
            .get(0);
        ensure!(rejected == 0, "{rejected} rejected");
        // Each of these comes only in a form that no page shows.
        for (what, condition) in [
            ("an inbound SMS", "kind = 'inbound.received'"),
            (
                "an e-mail that was blocked",
                "payload::text ilike '%\"eventtype\": \"blocked\"%'",
            ),
            (
                "an unknown type of event",
                "payload @> '{\"event_type\": 42}'",
            ),
            (
                "an id that is no ULID",
                "payload->>'event_id' like '%-%-%-%-%'",
            ),
            (
                "an SMS without a time",
                "payload ? 'msisdn' and not payload ? 'reportdatetime'",
            ),
            ("a click as a text", "payload->>'clickAction' = '3'"),
        ] {
            let query = format!("select count(*) from tidings.event where {condition}");
            let events: i64 = client.query_one(&query, &[])?.get(0);
            ensure!(events > 0, "{what} was not stored");
        }
        Ok(())
    })
}
