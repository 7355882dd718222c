//! The smallest events from another stack, while Postgres stands still.

use super::AUTHORIZATION;
use super::process::Burst;
use crate::bursts::{locked, stored_once};
use anyhow::{Result, ensure};
use serde_json::json;
use tidings_e2e::{on_stage, wait_upkeep};

const EVENTS: usize = 5_000;

#[test]
fn a_burst_of_the_smallest_events_is_answered_once_each() -> Result<()> {
    on_stage(|stage| {
        let mut client = stage.connect()?;
        client.execute(
            "select tidings.add_source('pushwoosh', 'pushwoosh', $1)",
            &[&AUTHORIZATION],
        )?;
        wait_upkeep(&mut client)?;
        let burst = locked(&mut stage.connect()?, || {
            Burst::start(stage, AUTHORIZATION, EVENTS)
        })?;
        let ended = burst.ended()?;
        let expected = json!({"once": EVENTS, "success": EVENTS, "ended": "OK"});
        ensure!(ended == expected, "{ended}");
        stored_once(&mut client, "pushwoosh", "uuid", EVENTS)
    })
}
