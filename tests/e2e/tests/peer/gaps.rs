//! What the peer no longer replays is said to be missing, and asked for.

use super::process::Peer;
use super::{dial, settled, stored};
use anyhow::{Result, ensure};
use postgres::Client;
use serde_json::json;
use std::process::Command;
use tidings_e2e::{DEADLINE, eventually, on_stage};
use tidings_harness::outcomes;
use tidings_harness::paths;
use tidings_harness::process::{Process, Speaks};
use tidings_harness::stage::{DATABASE, Stage};

/// Ten send requests. Each is over after 2,300 events, but for those who are held.
const EVENTS: usize = 2_500;

/// A gap, as far as these tests know it.
#[derive(Debug, PartialEq, Eq)]
struct Gap {
    cause: String,
    has_cursors: (bool, bool),
    is_closed: bool,
}

fn gaps(client: &mut Client, source: &str) -> Result<Vec<Gap>> {
    let rows = client.query(
        "select cause, from_cursor is not null, to_cursor is not null, closed_at is not null
         from tidings.gap where source = $1 order by id",
        &[&source],
    )?;
    let gap = |row: &postgres::Row| Gap {
        cause: row.get(0),
        has_cursors: (row.get(1), row.get(2)),
        is_closed: row.get(3),
    };
    Ok(rows.iter().map(gap).collect())
}

/// Waits until so many gaps were found by an expired cursor, all of which are closed.
fn wait_closed(client: &mut Client, source: &str, expected: usize) -> Result<()> {
    eventually("the gap is closed", || {
        let gaps = gaps(client, source)?;
        let expired = || gaps.iter().filter(|gap| gap.cause == "cursor_expired");
        ensure!(expired().count() <= expected, "{gaps:?}");
        let closed = expired().filter(|gap| gap.is_closed).count();
        Ok((closed == expected).then_some(()))
    })
}

fn disable(client: &mut Client, source: &str) -> Result<()> {
    client.execute("select tidings.set_source_enabled($1, false)", &[&source])?;
    eventually("the stream has ended", || {
        let state: String = client
            .query_one(
                "select t.state from tidings.stream_state t
                 join tidings.source s on s.id = t.source_id where s.name = $1",
                &[&source],
            )?
            .get(0);
        Ok((state == "ended").then_some(()))
    })
}

fn enable(client: &mut Client, source: &str) -> Result<()> {
    client.execute("select tidings.set_source_enabled($1, true)", &[&source])?;
    Ok(())
}

/// Three times events are no longer replayed: each is one gap, which the worker closes by
/// asking for the send requests in it.
#[test]
fn each_gap_is_found_once_and_closed_and_the_states_are_the_peers() -> Result<()> {
    on_stage(|stage| {
        let arguments = [
            "--caller",
            "ppoppo=token",
            "--hold-at",
            "700",
            "--hold-at",
            "1400",
            "--hold-at",
            "2200",
        ];
        let mut peer = Peer::start(stage, EVENTS, &arguments)?;
        let mut client = stage.connect()?;
        dial(&mut client, "ppoppo", peer.ppoppo, "token", &json!({}))?;
        peer.begin()?;
        peer.held("at", 700)?;
        stored(&mut client, "ppoppo", 700)?;

        // A cursor that is too old, although everything after it is stored.
        disable(&mut client, "ppoppo")?;
        peer.tell("window 200")?;
        client.execute(
            "select tidings.set_stream_cursor('ppoppo', min(payload->>'event_id'))
             from tidings.event",
            &[],
        )?;
        enable(&mut client, "ppoppo")?;
        wait_closed(&mut client, "ppoppo", 1)?;

        // A window that is shortened while nobody follows.
        peer.tell("window 5000")?;
        disable(&mut client, "ppoppo")?;
        peer.tell("alone")?;
        peer.held("at", 1400)?;
        peer.tell("window 200")?;
        enable(&mut client, "ppoppo")?;
        wait_closed(&mut client, "ppoppo", 2)?;

        // An outage of the worker that is longer than the window.
        stage.worker.kill()?;
        peer.tell("alone")?;
        peer.held("at", 2200)?;
        stage.restart_worker_hard()?;
        wait_closed(&mut client, "ppoppo", 3)?;

        // What happens from now on arrives, and there is nothing else to be asked.
        peer.tell("go on")?;
        let done = peer.done()?;
        settled(&mut client, &peer)?;
        let caller = &done["ppoppo"]["callers"]["ppoppo"];
        ensure!(caller["expired"] == 3, "{caller}");
        ensure!(
            done["ppoppo"]["status_calls"].as_u64() >= Some(30),
            "{done}"
        );
        let gaps = gaps(&mut client, "ppoppo")?;
        let causes: Vec<&str> = gaps.iter().map(|gap| gap.cause.as_str()).collect();
        ensure!(
            causes
                == [
                    "started_at_live_edge",
                    "cursor_expired",
                    "cursor_expired",
                    "cursor_expired"
                ],
            "{gaps:?}"
        );
        let recipients = outcomes::check(&mut client, &peer.requests)?;
        ensure!(recipients == 10 * 210 + 2 * 40, "{recipients} recipients");
        client.batch_execute("select tidings.rebuild_state()")?;
        outcomes::check(&mut client, &peer.requests)?;
        peer.finish()
    })
}

/// Follows the peer until an outage that is longer than its window, and then further on. Up to
/// the outage the worker asks nothing, and after it only where it `reconciles`.
fn outage(stage: &mut Stage, peer: &mut Peer, reconciles: bool) -> Result<()> {
    let mut client = stage.connect()?;
    let options = json!({"reconcile": false});
    dial(&mut client, "ppoppo", peer.ppoppo, "token", &options)?;
    peer.begin()?;
    peer.held("at", 1_000)?;
    stored(&mut client, "ppoppo", 1_000)?;
    stage.worker.kill()?;
    client.execute(
        "update tidings.source set options = options || jsonb_build_object('reconcile', $1::boolean)",
        &[&reconciles],
    )?;
    peer.tell("alone")?;
    peer.held("at", 2_000)?;
    peer.tell("window 100")?;
    stage.restart_worker_hard()
}

const HOLDS: [&str; 8] = [
    "--caller",
    "ppoppo=token",
    "--hold-at",
    "1000",
    "--hold-at",
    "2000",
    "--hold-status-at",
    "4",
];

/// Answers about send requests, as they are stored: how many there are, and which.
fn answers(client: &mut Client) -> Result<(i64, String)> {
    let row = client.query_one(
        "select count(*), coalesce(md5(string_agg(event_id::text, ',' order by event_id)), '')
         from tidings.event where payload->'reconciled' is not null",
        &[],
    )?;
    Ok((row.get(0), row.get(1)))
}

#[test]
fn a_reconciliation_that_is_killed_in_the_middle_is_repeated() -> Result<()> {
    on_stage(|stage| {
        let mut peer = Peer::start(stage, EVENTS, &HOLDS)?;
        let mut client = stage.connect()?;
        outage(stage, &mut peer, false)?;
        eventually("the gap is found", || {
            Ok((gaps(&mut client, "ppoppo")?.len() == 2).then_some(()))
        })?;
        peer.tell("go on")?;
        peer.done()?;
        settled(&mut client, &peer)?;

        let mut killed = reconcile(stage)?;
        peer.held("status", 4)?;
        killed.kill()?;
        peer.tell("go on")?;
        let found = gaps(&mut client, "ppoppo")?;
        ensure!(found.iter().all(|gap| !gap.is_closed), "{found:?}");
        let (some, _) = answers(&mut client)?;
        ensure!(some > 0, "it was killed before the middle");

        for _ in 0..2 {
            let before = answers(&mut client)?;
            let mut repeated = reconcile(stage)?;
            let status = repeated.ended(DEADLINE)?;
            ensure!(status.success(), "{status}\n{}", repeated.tail());
            outcomes::check(&mut client, &peer.requests)?;
            let found = gaps(&mut client, "ppoppo")?;
            ensure!(found.iter().all(|gap| gap.is_closed), "{found:?}");
            let after = answers(&mut client)?;
            // The second time nothing is new.
            ensure!(
                (before.0 == some) == (before != after),
                "{before:?} {after:?}"
            );
        }
        peer.finish()
    })
}

#[test]
fn a_worker_that_is_killed_as_it_closes_a_gap_closes_it_afterwards() -> Result<()> {
    on_stage(|stage| {
        let mut peer = Peer::start(stage, EVENTS, &HOLDS)?;
        let mut client = stage.connect()?;
        outage(stage, &mut peer, true)?;
        peer.held("status", 4)?;
        // From now on there is no other gap.
        peer.tell("window 5000")?;
        stage.restart_worker_hard()?;
        peer.tell("go on")?;
        peer.done()?;
        settled(&mut client, &peer)?;
        wait_closed(&mut client, "ppoppo", 1)?;
        outcomes::check(&mut client, &peer.requests)?;
        peer.finish()
    })
}

/// `tidings-worker reconcile ppoppo`, under way.
fn reconcile(stage: &Stage) -> Result<Process> {
    let mut command = Command::new(paths::program("tidings-worker")?);
    command
        .args(["reconcile", "ppoppo", "--database-url"])
        .arg(stage.cluster.url(DATABASE));
    let log = stage.cluster.folder().join("reconcile.log");
    Process::start(
        "tidings-worker reconcile",
        &mut command,
        &log,
        Speaks::Stderr,
    )
}

/// The second stream: what people write is apart from what the app does, and a gap of the one
/// stream is none of the other.
#[test]
fn the_messages_of_channels_have_a_cursor_and_a_gap_of_their_own() -> Result<()> {
    const MESSAGES: i64 = 900;
    on_stage(|stage| {
        let arguments = [
            "--caller",
            "ppoppo=token",
            "--messages",
            "900",
            "--channel-caller",
            "channels=token-2",
            "--hold-message-at",
            "300",
            "--hold-message-at",
            "600",
        ];
        let mut peer = Peer::start(stage, 250, &arguments)?;
        let mut client = stage.connect()?;
        dial(&mut client, "ppoppo", peer.ppoppo, "token", &json!({}))?;
        let channels = json!({"stream": "channels"});
        dial(&mut client, "channels", peer.ppoppo, "token-2", &channels)?;
        peer.begin()?;
        peer.held("message", 300)?;
        stored(&mut client, "channels", 300)?;
        stored(&mut client, "ppoppo", 250)?;

        disable(&mut client, "channels")?;
        peer.tell("alone")?;
        peer.held("message", 600)?;
        peer.tell("window 100")?;
        enable(&mut client, "channels")?;
        eventually("the gap is found", || {
            let gaps = gaps(&mut client, "channels")?;
            Ok((gaps.len() == 2).then_some(()))
        })?;
        peer.tell("go on")?;
        let done = peer.done()?;
        settled(&mut client, &peer)?;
        let caller = &done["ppoppo"]["callers"]["channels"];
        ensure!(caller["expired"] == 1, "{caller}");
        let causes = |client: &mut Client, source| -> Result<Vec<String>> {
            let gaps = gaps(client, source)?;
            Ok(gaps.into_iter().map(|gap| gap.cause).collect())
        };
        let found = causes(&mut client, "channels")?;
        ensure!(
            found == ["started_at_live_edge", "cursor_expired"],
            "{found:?}"
        );
        let found = causes(&mut client, "ppoppo")?;
        ensure!(found == ["started_at_live_edge"], "{found:?}");
        let cursors: i64 = client
            .query_one("select count(distinct cursor) from tidings.stream", &[])?
            .get(0);
        ensure!(cursors == 2, "{cursors} cursors");

        // 300 of them were never sent: every fourth message is the app's own.
        let rows = client.query(
            "select kind, (payload->>'from_app')::boolean is true, count(*),
                    count(recipient), count(payload#>>'{message,content}'), count(payload->>'channel_id')
             from tidings.event e join tidings.source s on s.id = e.source_id
             where s.name = 'channels' group by 1, 2 order by 1",
            &[],
        )?;
        let read: Vec<(String, bool, [i64; 4])> = rows
            .iter()
            .map(|row| (row.get(0), row.get(1), [2, 3, 4, 5].map(|at| row.get(at))))
            .collect();
        let (people, app) = (450, 150);
        ensure!(people + app == MESSAGES - 300);
        let expected = [
            ("inbound.received".to_owned(), false, [people; 4]),
            ("other".to_owned(), true, [app, 0, app, app]),
        ];
        ensure!(read == expected, "{read:?}");
        peer.finish()
    })
}
