//! A gRPC peer of another stack: Python's grpcio, with nothing in common with the
//! worker but the schemas. `tests/peer` says what it plays.
//!
//! Without a Python these tests cannot run and fail; `make test` then leaves them
//! out, and says so.

use anyhow::{Result, ensure};
use postgres::Client;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tidings_e2e::{eventually, on_stage};
use tidings_harness::ledger::Demand;
use tidings_harness::reconcile::Reconciliation;

mod burst;
mod gaps;
mod process;

use process::{Peer, look};

/// Distinct events of each provider.
const EVENTS: usize = 10_000;
/// The authorization that the pushing peer shows.
const AUTHORIZATION: &str = "Bearer peer-secret";
const PUSH_SERVICE: &str = "pushwoosh.event_streaming.v1.EventStreaming";
const HEALTH_SERVICE: &str = "grpc.health.v1.Health";

#[test]
fn ten_thousand_events_each_way() -> Result<()> {
    on_stage(|stage| {
        let callers = [
            "--caller",
            "ppoppo=token",
            "--caller",
            "one-request=token-1",
        ];
        let push = format!("pushwoosh={}", stage.worker.grpc);
        let push = ["--push", &push, "--authorization", AUTHORIZATION];
        let mut peer = Peer::start(stage, EVENTS, &[&callers[..], &push].concat())?;
        let mut client = stage.connect()?;
        let dial = |client: &mut Client, source, token, options| {
            dial(client, source, peer.ppoppo, token, &options)
        };
        dial(&mut client, "ppoppo", "token", json!({}))?;
        let filter = json!({"send_request_id": "request-7"});
        dial(&mut client, "one-request", "token-1", filter)?;
        dial(&mut client, "stranger", "token-2", json!({}))?;
        client.execute(
            "select tidings.add_source('pushwoosh', 'pushwoosh', $1)",
            &[&AUTHORIZATION],
        )?;
        peer.begin()?;
        let done = peer.done()?;
        let stored = expect_all(&mut client, &peer)?;

        // Both providers, and of each kind as many as the peer played.
        ensure!(stored["ppoppo"] == EVENTS as u64 && stored["pushwoosh"] == EVENTS as u64);
        ensure!(stored["one-request"] == 250, "the filter: {stored:?}");
        ensure!(!stored.contains_key("stranger"), "{stored:?}");
        for source in ["ppoppo", "pushwoosh"] {
            let told: BTreeMap<String, i64> =
                serde_json::from_value(done[source]["kinds"].clone())?;
            let have = kinds(&mut client, source)?;
            ensure!(told == have, "{source}: {have:?}, not {told:?}");
            // Those of the contract, by no schema but ours.
            ensure!(told.len() == 5, "{source}: {told:?}");
        }

        // What was to go wrong did.
        let ppoppo = &done["ppoppo"]["callers"]["ppoppo"];
        ensure!(ppoppo["ends"]["clean"].as_u64() > Some(1), "{ppoppo}");
        ensure!(ppoppo["ends"]["unavailable"].as_u64() > Some(1), "{ppoppo}");
        ensure!(ppoppo["resumed"].as_u64() > Some(2), "{ppoppo}");
        ensure!(done["ppoppo"]["refused"].as_u64() > Some(0), "the stranger");
        let pushwoosh = &done["pushwoosh"];
        ensure!(pushwoosh["acknowledged"] == EVENTS, "{pushwoosh}");
        ensure!(
            pushwoosh["sent"].as_u64() > Some(EVENTS as u64),
            "{pushwoosh}"
        );
        let strange: i64 = client
            .query_one(
                "select count(*) from tidings.rejected where verdict <> 'unauthorized'",
                &[],
            )?
            .get(0);
        ensure!(strange == 0, "{strange} were rejected for another reason");
        expect_values(&mut client)?;
        peer.finish()
    })
}

/// The stream stands still in the middle, so that the end of the run cannot
/// outpace the kill; that comes while the half before it is being stored.
#[test]
fn a_worker_killed_in_mid_stream_loses_and_doubles_nothing() -> Result<()> {
    on_stage(|stage| {
        let arguments = ["--caller", "ppoppo=token", "--hold-at", "6000"];
        let mut peer = Peer::start(stage, EVENTS, &arguments)?;
        let mut client = stage.connect()?;
        dial(&mut client, "ppoppo", peer.ppoppo, "token", &json!({}))?;
        peer.begin()?;
        let count = |client: &mut Client| -> Result<i64> {
            let row = client.query_one("select count(*) from tidings.event", &[])?;
            Ok(row.get(0))
        };
        eventually("some of it is stored", || {
            Ok((count(&mut client)? >= 3_000).then_some(()))
        })?;
        stage.restart_worker_hard()?;
        ensure!(count(&mut client)? <= 6_000, "the stream was held");
        peer.held("at", 6_000)?;
        peer.tell("go on")?;
        let done = peer.done()?;
        let stored = expect_all(&mut client, &peer)?;
        ensure!(stored["ppoppo"] == EVENTS as u64);
        let caller = &done["ppoppo"]["callers"]["ppoppo"];
        ensure!(caller["sent"].as_u64() >= Some(EVENTS as u64), "{caller}");
        peer.finish()
    })
}

/// The standard services, as another stack's clients read them.
#[test]
fn health_and_reflection() -> Result<()> {
    on_stage(|stage| {
        let seen = eventually("both are said to serve", || {
            let seen = look(stage, stage.worker.grpc)?;
            let serve = |service| seen["health"][service] == "SERVING";
            let both = serve("") && serve(PUSH_SERVICE);
            Ok(both.then_some(seen))
        })?;
        ensure!(has(&seen["services"], PUSH_SERVICE), "{seen}");
        ensure!(has(&seen["services"], HEALTH_SERVICE), "{seen}");
        let method = &seen["methods"][PUSH_SERVICE][0];
        ensure!(method["name"] == "StreamEvents", "{seen}");
        ensure!(has(&method["fields"], "uuid"), "{seen}");

        // The peer's own server, which a check of a source may ask.
        let arguments = ["--caller", "ppoppo=token", "--reflection"];
        let peer = Peer::start(stage, EVENTS, &arguments)?;
        let seen = look(stage, peer.ppoppo)?;
        let method = &seen["methods"]["pcs.external.v1.MessageService"][0];
        ensure!(method["name"] == "StreamSendRequestEvents", "{seen}");
        ensure!(has(&method["fields"], "after_event_id"), "{seen}");
        Ok(())
    })
}

fn has(list: &Value, name: &str) -> bool {
    list.as_array()
        .is_some_and(|list| list.iter().any(|item| item == name))
}

/// Adds a source that follows the peer, with these options besides.
fn dial(
    client: &mut Client,
    name: &str,
    at: SocketAddr,
    token: &str,
    options: &Value,
) -> Result<()> {
    client.execute(
        "select tidings.add_source($1, 'ppoppo', $2, jsonb_build_object('endpoint', $3::text) || $4)",
        &[&name, &token, &format!("http://{at}/ext"), options],
    )?;
    Ok(())
}

/// Waits until so many events of the source are stored.
fn stored(client: &mut Client, source: &str, events: i64) -> Result<()> {
    eventually("events are stored", || {
        let row = client.query_one(
            "select count(*) from tidings.event e join tidings.source s on s.id = e.source_id
             where s.name = $1 and payload->'reconciled' is null",
            &[&source],
        )?;
        Ok((row.get::<_, i64>(0) >= events).then_some(()))
    })
}

/// Waits until as much is stored as was sent, and reconciles it event by event:
/// missing 0, doubled 0. Gives how much each source has.
fn expect_all(client: &mut Client, peer: &Peer) -> Result<BTreeMap<String, u64>> {
    expect(client, peer, Demand::Emitted)
}

/// As [`expect_all`], where some events were no longer replayed.
fn settled(client: &mut Client, peer: &Peer) -> Result<BTreeMap<String, u64>> {
    expect(client, peer, Demand::Acknowledged)
}

fn expect(client: &mut Client, peer: &Peer, demand: Demand) -> Result<BTreeMap<String, u64>> {
    let least = tidings_harness::ledger::least(client, &peer.ledger, demand)?;
    let stored = least
        .iter()
        .try_for_each(|(source, &least)| stored(client, source, i64::try_from(least)?));
    // What is missing is the reconciliation's to say.
    let reconciliation = Reconciliation::by(client, &peer.ledger, demand)?;
    reconciliation.check()?;
    stored?;
    Ok(reconciliation
        .outcomes
        .into_iter()
        .map(|outcome| (outcome.source, outcome.stored))
        .collect())
}

fn kinds(client: &mut Client, source: &str) -> Result<BTreeMap<String, i64>> {
    let rows = client.query(
        "select e.provider_kind, count(*)
         from tidings.event e join tidings.source s on s.id = e.source_id
         where s.name = $1 group by 1",
        &[&source],
    )?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Values that a number of 64 bits, a zero that is there, and text beyond ASCII
/// must survive; the other stack wrote them.
fn expect_values(client: &mut Client) -> Result<()> {
    let row = client.query_one(
        "select sum((payload->>'message_id')::numeric)::text,
                count(distinct recipient),
                count(*) filter (where payload->>'campaign_id' = '0'),
                count(*) filter (where payload->>'payload' = E'Grüße aus Köln, \"bis bald\" 👋\\n')
         from tidings.event where provider = 'pushwoosh'",
        &[],
    )?;
    // Every second event has an id, one above what a double tells from its neighbour.
    let ids: u128 = (0..EVENTS as u128)
        .step_by(2)
        .map(|n| (1 << 53) + 1 + n)
        .sum();
    ensure!(row.get::<_, String>(0) == ids.to_string(), "message ids");
    ensure!(row.get::<_, i64>(1) == EVENTS as i64, "recipients");
    ensure!(row.get::<_, i64>(2) == 1, "a campaign of number 0");
    ensure!(row.get::<_, i64>(3) == EVENTS.div_ceil(3) as i64, "text");
    Ok(())
}
