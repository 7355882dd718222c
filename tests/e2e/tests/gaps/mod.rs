//! A stream from which events are missing says so: in Postgres, in the metrics, in the log
//! and by `check`.

mod provider;

use self::provider::{Provider, TOO_OLD};
use crate::check::check;
use anyhow::{Context as _, Result, ensure};
use postgres::Client;
use serde_json::{Value, json};
use std::time::Duration;
use tidings_e2e::{eventually, on_stage, wait_logged};
use tidings_harness::cluster::Cluster;
use tidings_harness::metrics;
use tidings_harness::stage::{DATABASE, Stage};

/// Beyond what the provider replays.
const LONG_AGO: Duration = Duration::from_secs(8 * 24 * 3600);
const OPEN: &str = r#"tidings_worker_open_gaps{source="chat"}"#;

/// A row of `tidings.gap`.
#[derive(Clone, Debug, PartialEq)]
struct Gap {
    id: i64,
    cause: String,
    from: Option<String>,
    to: Option<String>,
    is_open: bool,
    detail: Option<String>,
}

fn gaps(client: &mut Client) -> Result<Vec<Gap>> {
    let rows = client.query(
        "select id, cause, from_cursor, to_cursor, closed_at is null, detail
         from tidings.gap where source = 'chat' order by id",
        &[],
    )?;
    let gap = |row: &postgres::Row| {
        Ok(Gap {
            id: row.try_get(0)?,
            cause: row.try_get(1)?,
            from: row.try_get(2)?,
            to: row.try_get(3)?,
            is_open: row.try_get(4)?,
            detail: row.try_get(5)?,
        })
    };
    rows.iter().map(gap).collect()
}

/// The only gap, once it ends with this event.
fn ended(client: &mut Client, at: &str) -> Result<Gap> {
    eventually("the gap ends", || {
        let gaps = gaps(client)?;
        ensure!(gaps.len() <= 1, "{gaps:?}");
        let gap = gaps.into_iter().next();
        Ok(gap.filter(|gap| gap.to.as_deref() == Some(at)))
    })
}

fn dial(client: &mut Client, provider: &Provider, overlap: u32) -> Result<()> {
    let endpoint = format!("http://{}", provider.address);
    let options = json!({"endpoint": endpoint, "overlap": overlap});
    client.execute(
        "select tidings.add_source('chat', 'ppoppo', 'token', $1)",
        &[&options],
    )?;
    Ok(())
}

/// The only gap, once there is one.
fn found(client: &mut Client) -> Result<Gap> {
    eventually("there is a gap", || {
        let gaps = gaps(client)?;
        ensure!(gaps.len() <= 1, "{gaps:?}");
        Ok(gaps.into_iter().next())
    })
}

/// Waits until the worker shows so many open gaps.
fn wait_open(stage: &Stage, gaps: f64) -> Result<()> {
    eventually(&format!("{gaps} gaps are open"), || {
        let open = metrics::value(stage.worker.admin, OPEN)?;
        Ok((open == Some(gaps)).then_some(()))
    })
}

fn cursor(client: &mut Client) -> Result<Option<String>> {
    let row = client.query_one("select tidings.stream_cursor('chat')", &[])?;
    Ok(row.try_get(0)?)
}

fn stored(client: &mut Client) -> Result<Vec<String>> {
    let rows = client.query(
        "select payload ->> 'event_id'
         from tidings.event e join tidings.source s on s.id = e.source_id
         where s.name = 'chat' order by 1",
        &[],
    )?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

fn wait_stored(client: &mut Client, ids: &[String]) -> Result<()> {
    eventually("the events are stored", || {
        Ok((stored(client)? == ids).then_some(()))
    })
}

/// The warnings about a gap, so many or more.
fn warnings(cluster: &Cluster, least: usize) -> Result<Vec<String>> {
    let log = cluster.folder().join("worker.log");
    wait_logged(&log, least, |l| {
        l.contains("WARN") && l.contains("close_gap(")
    })
}

/// A source whose stream is followed, and which has no gap; its last event is long past.
fn follow(client: &mut Client, provider: &Provider, overlap: u32) -> Result<String> {
    dial(client, provider, overlap)?;
    eventually("the stream begins", || Ok(cursor(client)?.map(|_| ())))?;
    let first = provider.happened(LONG_AGO)?;
    ended(client, &first)?;
    client.batch_execute("delete from tidings.gap")?;
    Ok(first)
}

/// Lets the cursor of a worker that is killed meanwhile expire.
fn expire(stage: &mut Stage, provider: &Provider) -> Result<()> {
    stage.worker.kill()?;
    for _ in 0..3 {
        provider.happened(LONG_AGO)?;
    }
    provider.forget();
    stage.worker.kill_and_restart(&stage.cluster.url(DATABASE))
}

#[test]
fn an_expired_cursor_is_one_gap_until_the_next_event() -> Result<()> {
    on_stage(|stage| {
        let provider = Provider::start()?;
        let mut client = stage.connect()?;
        let first = follow(&mut client, &provider, 0)?;
        let (calls, before) = (provider.calls().len(), warnings(&stage.cluster, 0)?.len());
        expire(stage, &provider)?;
        let gap = found(&mut client)?;
        ensure!(gap.cause == "cursor_expired" && gap.is_open, "{gap:?}");
        ensure!(
            gap.from.as_ref() == Some(&first) && gap.to.is_none(),
            "{gap:?}"
        );
        ensure!(
            gap.detail.as_ref().is_some_and(|d| d.contains(TOO_OLD)),
            "{gap:?}"
        );
        let moment = cursor(&mut client)?;
        ensure!(moment.as_ref() > Some(&first), "{moment:?}");

        // A quiet stream that ends goes on from there, and is no second gap.
        let next = provider.happen_between_streams()?;
        let gap = Gap {
            to: Some(next.clone()),
            ..gap
        };
        ensure!(
            ended(&mut client, &next)? == gap,
            "{:?}",
            gaps(&mut client)?
        );
        wait_stored(&mut client, &[first.clone(), next])?;
        ensure!(
            provider.calls()[calls..] == [Some(first.clone()), moment],
            "{:?}",
            provider.calls()
        );

        let row = client.query_one(
            "select l.open_gaps, s.open_gaps from tidings.lag l, tidings.stream_status s
             where l.name = 'chat' and s.source = 'chat'",
            &[],
        )?;
        let counted: (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        ensure!(counted == (1, 1), "{counted:?}");
        wait_open(stage, 1.0)?;
        let causes = metrics::counter(stage.worker.admin, "tidings_worker_gaps_total", "cause")?;
        let expected = [("cursor_expired".to_owned(), 1)];
        ensure!(causes.into_iter().eq(expected), "not counted once");
        let said = warnings(&stage.cluster, before + 1)?.split_off(before);
        ensure!(said.len() == 1, "{said:?}");
        for part in [
            "cursor_expired",
            &first,
            TOO_OLD,
            "tidings-worker reconcile chat",
        ] {
            ensure!(said[0].contains(part), "{part}: {said:?}");
        }

        let (code, findings) = check(&stage.cluster.url(DATABASE), &["--wait", "1s"])?;
        let text = |finding: &Value| finding["text"].as_str().unwrap_or_default().to_owned();
        let mut open = findings
            .iter()
            .filter(|f| text(f).contains("a gap is open"));
        let open = open.next().with_context(|| format!("{findings:?}"))?;
        ensure!(
            code == Some(0) && open["finding"] == "warn",
            "{code:?}: {open}"
        );
        let detail = open["details"][0].as_str().unwrap_or_default();
        ensure!(
            detail.contains(&first) && detail.contains(TOO_OLD),
            "{open}"
        );

        client.execute("select tidings.close_gap($1)", &[&gap.id])?;
        client.batch_execute("notify tidings_source")?;
        wait_open(stage, 0.0)?;
        client.batch_execute("select tidings.drop_source('chat')")?;
        wait_open(stage, 0.0)
    })
}

#[test]
fn a_stream_that_starts_at_the_live_edge_is_one_gap_and_loses_nothing_after_it() -> Result<()> {
    on_stage(|stage| {
        let provider = Provider::start()?;
        let mut client = stage.connect()?;
        provider.happened(LONG_AGO)?;
        dial(&mut client, &provider, 0)?;
        let gap = found(&mut client)?;
        ensure!(gap.cause == "started_at_live_edge", "{gap:?}");
        ensure!(
            gap.from.is_none() && gap.to.is_none() && gap.is_open,
            "{gap:?}"
        );
        let moment = cursor(&mut client)?;
        ensure!(provider.calls() == [None], "{:?}", provider.calls());
        // Connections without an event are not gaps of their own.
        provider.end_streams();
        provider.called(2)?;
        let first = provider.happen_between_streams()?;
        let ended = ended(&mut client, &first)?;
        ensure!(ended.id == gap.id && ended.is_open, "{ended:?}");
        ensure!(
            provider.calls() == [None, moment.clone(), moment],
            "{:?}",
            provider.calls()
        );
        ensure!(
            stored(&mut client)? == [first],
            "what came before is not sent"
        );
        let causes = metrics::counter(stage.worker.admin, "tidings_worker_gaps_total", "cause")?;
        let expected = [("started_at_live_edge".to_owned(), 1)];
        ensure!(causes.into_iter().eq(expected), "not counted once");
        ensure!(warnings(&stage.cluster, 1)?.len() == 1, "not said once");
        wait_open(stage, 1.0)
    })
}

#[test]
fn a_worker_that_is_killed_before_the_first_event_leaves_one_gap() -> Result<()> {
    on_stage(|stage| {
        let provider = Provider::start()?;
        let mut client = stage.connect()?;
        let first = follow(&mut client, &provider, 0)?;
        let url = stage.cluster.url(DATABASE);
        // Killed while the gap is being written, and again after that.
        let mut other = stage.connect()?;
        let mut lock = other.transaction()?;
        lock.batch_execute("lock table tidings.gap in exclusive mode")?;
        expire(stage, &provider)?;
        eventually("the gap is being written", || {
            let waits = "select exists (select from pg_locks
                where relation = 'tidings.gap'::regclass and mode = 'RowExclusiveLock' and not granted)";
            let waits: bool = client.query_one(waits, &[])?.try_get(0)?;
            Ok(waits.then_some(()))
        })?;
        stage.worker.kill()?;
        lock.rollback()?;
        stage.worker.kill_and_restart(&url)?;
        let gap = found(&mut client)?;
        stage.worker.kill()?;
        let next = provider.happen()?;
        stage.worker.kill_and_restart(&url)?;
        let ended = ended(&mut client, &next)?;
        ensure!(
            ended.id == gap.id && ended.cause == "cursor_expired",
            "{ended:?}"
        );
        ensure!(ended.from == Some(first.clone()), "{ended:?}");
        wait_stored(&mut client, &[first, next])
    })
}

#[test]
fn a_cursor_of_the_overlap_that_has_expired_is_no_gap() -> Result<()> {
    on_stage(|stage| {
        let provider = Provider::start()?;
        let mut client = stage.connect()?;
        let first = follow(&mut client, &provider, 60)?;
        let calls = provider.calls().len();
        // All but the last event, to which the overlap goes back.
        provider.forget();
        stage.worker.kill()?;
        let next = provider.happen()?;
        stage
            .worker
            .kill_and_restart(&stage.cluster.url(DATABASE))?;
        wait_stored(&mut client, &[first.clone(), next])?;
        let called = provider.calls().split_off(calls);
        ensure!(
            called.len() == 2 && called[1] == Some(first.clone()),
            "{called:?}"
        );
        ensure!(called[0].as_ref() < Some(&first), "{called:?}");
        ensure!(gaps(&mut client)?.is_empty(), "{:?}", gaps(&mut client)?);
        Ok(())
    })
}
