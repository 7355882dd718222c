//! Tests of whether webhooks are taken: what one request, a lane, a table or a mode of the
//! server may stop, and what the worker says of it.

mod alone;
mod lanes;
mod overload;
mod recreated;

use anyhow::{Context as _, Result, ensure};
use postgres::Client;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tidings_e2e::{eventually, server, wait_upkeep};
use tidings_harness::cluster::{Cluster, Durability};
use tidings_harness::http::{self, Answer};
use tidings_harness::metrics;
use tidings_harness::stage::{self, DATABASE, Stage};
use tidings_harness::worker::{self, ANY_PORT, Worker};

const UP: &str = "tidings_worker_database_up";

/// Runs a test on a stage whose worker has the source `sms` and these flags, with a spool or
/// without one, and has stored a webhook.
fn on_stage(
    has_spool: bool,
    flags: &[&str],
    test: impl FnOnce(&mut Stage) -> Result<()>,
) -> Result<()> {
    let set = match has_spool {
        true => Stage::set_with_spool,
        false => Stage::set_with,
    };
    let mut stage = set(&server()?, Durability::Fast, flags)?;
    let begun = begin(&stage).and_then(|()| test(&mut stage));
    begun.inspect_err(|_| eprintln!("{}", stage.logs()))
}

fn begin(stage: &Stage) -> Result<()> {
    let mut client = stage.connect()?;
    wait_upkeep(&mut client)?;
    client.batch_execute("select tidings.add_source('sms', 'arpoone', 'token')")?;
    eventually("a webhook is stored", || {
        let answer = post(stage.worker.http, "sms", "first")?;
        Ok(answer.body.contains("inserted").then_some(()))
    })
}

fn post(worker: SocketAddr, source: &str, number: &str) -> Result<Answer> {
    let body = json!([{
        "Msisdn": "351913462111",
        "Status": "DELIVERED",
        "MessageId": format!("{source}-{number}"),
        "ReportDateTime": "2026-01-01T00:00:00",
    }]);
    let json = [("content-type", "application/json")];
    let path = format!("/hooks/{source}/token");
    http::post(worker, &path, &json, body.to_string().as_bytes())
        .context("the worker does not answer")
}

/// The answer of `/readyz`.
fn readiness(admin: SocketAddr) -> Result<(u16, Value)> {
    let answer = http::get(admin, "/readyz")?;
    Ok((answer.status, serde_json::from_str(&answer.body)?))
}

/// Waits until `/readyz` answers like this.
fn wait_readiness(admin: SocketAddr, status: u16, word: &str) -> Result<Value> {
    eventually(&format!("it says {status} {word}"), || {
        let (now, body) = readiness(admin)?;
        Ok((now == status && body.get("status").is_some_and(|now| now == word)).then_some(body))
    })
}

fn is_stored(client: &mut Client, message: &str) -> Result<bool> {
    let query = "select exists (select from tidings.event where message_id = $1)";
    Ok(client.query_one(query, &[&message])?.try_get(0)?)
}

fn set_read_only(client: &mut Client, is_on: bool) -> Result<()> {
    let value = if is_on { "on" } else { "off" };
    // One statement at a time, because ALTER SYSTEM is allowed in no transaction block.
    client.execute(
        &format!("alter system set default_transaction_read_only = {value}"),
        &[],
    )?;
    client.execute("select pg_reload_conf()", &[])?;
    Ok(())
}

/// A managed server whose disk is nearly full.
#[test]
fn a_read_only_server_is_not_ready_until_it_writes_again() -> Result<()> {
    on_stage(false, &["--patience", "3s"], |stage| {
        let (worker, mut client) = (stage.worker.http, stage.connect()?);
        let admin = stage.worker.admin;
        ensure!(metrics::gauge(admin, UP)? == 1.0);
        set_read_only(&mut client, true)?;
        // The server's processes learn of the setting a moment later.
        eventually("a webhook is refused", || {
            Ok((post(worker, "sms", "refused")?.status == 503).then_some(()))
        })?;
        let body = wait_readiness(admin, 503, "not ready")?;
        let reason = body["reason"].as_str().unwrap_or_default();
        ensure!(reason.contains("read-only"), "{body}");
        ensure!(
            body["since"]
                .as_str()
                .is_some_and(|since| since.ends_with('Z')),
            "{body}"
        );
        ensure!(metrics::gauge(admin, UP)? == 0.0);

        set_read_only(&mut client, false)?;
        // Nobody sends anything: a load balancer has taken the worker out.
        wait_readiness(admin, 200, "ready")?;
        ensure!(metrics::gauge(admin, UP)? == 1.0);
        let stored = post(worker, "sms", "stored")?;
        ensure!(stored.status == 200, "{stored:?}");
        Ok(())
    })
}

#[test]
fn a_worker_that_starts_on_a_read_only_server_says_so_before_it_loses_a_webhook() -> Result<()> {
    let cluster = stage::cluster(&server()?, Durability::Fast)?;
    let mut client = cluster.connect(DATABASE)?;
    set_read_only(&mut client, true)?;
    let log = cluster.folder().join("worker.log");
    let worker = Worker::start(&cluster.url(DATABASE), ANY_PORT, ANY_PORT, &log)?;
    eventually("it says what is wrong", || {
        let (status, body) = readiness(worker.admin)?;
        ensure!(status == 503, "{body}");
        let reason = body["reason"].as_str().unwrap_or_default();
        Ok(reason.contains("read-only").then_some(()))
    })?;
    set_read_only(&mut client, false)?;
    wait_readiness(worker.admin, 200, "ready")?;
    Ok(())
}

#[test]
fn what_a_read_only_server_does_not_take_the_spool_takes() -> Result<()> {
    on_stage(true, &[], |stage| {
        let (worker, mut client) = (stage.worker.http, stage.connect()?);
        let admin = stage.worker.admin;
        set_read_only(&mut client, true)?;
        eventually("a webhook is spooled", || {
            let answer = post(worker, "sms", "1")?;
            ensure!(answer.status == 200, "{answer:?}");
            Ok(answer.body.contains("spooled").then_some(()))
        })?;
        let answer = post(worker, "sms", "2")?;
        ensure!(answer.body.contains("spooled"), "{answer:?}");
        let (status, body) = readiness(admin)?;
        ensure!(
            status == 200 && body["status"] == "ready, spooling",
            "{body}"
        );
        ensure!(
            body["degraded"] == true && body["since"].is_string(),
            "{body}"
        );
        set_read_only(&mut client, false)?;
        let body = wait_readiness(admin, 200, "ready")?;
        ensure!(body["degraded"] == false, "{body}");
        eventually("the spool is drained", || {
            Ok(
                (is_stored(&mut client, "sms-1")? && is_stored(&mut client, "sms-2")?)
                    .then_some(()),
            )
        })
    })
}

#[test]
fn a_locked_table_is_not_ready_and_no_lane_waits_for_it_for_ever() -> Result<()> {
    let flags = [
        "--patience",
        "8s",
        "--lock-timeout",
        "3s",
        "--statement-timeout",
        "30s",
    ];
    on_stage(false, &flags, |stage| {
        let (worker, mut client) = (stage.worker.http, stage.connect()?);
        let admin = stage.worker.admin;
        client.batch_execute("begin; lock table tidings.event in access exclusive mode")?;
        let refused = post(worker, "sms", "refused")?;
        ensure!(refused.status == 503, "{refused:?}");
        let body = wait_readiness(admin, 503, "not ready")?;
        let reason = body["reason"].as_str().unwrap_or_default();
        ensure!(reason.contains("lock timeout"), "{body}");
        client.batch_execute("rollback")?;
        wait_readiness(admin, 200, "ready")?;
        let stored = post(worker, "sms", "stored")?;
        ensure!(stored.status == 200, "{stored:?}");
        Ok(())
    })
}

#[test]
fn while_a_table_is_locked_webhooks_are_spooled_at_once() -> Result<()> {
    on_stage(true, &[], |stage| {
        let (worker, mut client) = (stage.worker.http, stage.connect()?);
        let admin = stage.worker.admin;
        client.batch_execute("begin; lock table tidings.event in access exclusive mode")?;
        for number in 0..20 {
            let answer = post(worker, "sms", &number.to_string())?;
            ensure!(answer.body.contains("spooled"), "{answer:?}");
        }
        let body = wait_readiness(admin, 200, "ready, spooling")?;
        ensure!(body["spool"]["requests"] == 20, "{body}");
        client.batch_execute("rollback")?;
        eventually("the spool is drained", || {
            Ok((readiness(admin)?.1["spool"]["requests"] == 0).then_some(()))
        })?;
        wait_readiness(admin, 200, "ready")?;
        ensure!(is_stored(&mut client, "sms-19")?);
        Ok(())
    })
}

/// A role for the worker, whose connections can be limited; and the URL with that role.
fn limited(cluster: &Cluster) -> Result<String> {
    cluster
        .connect(DATABASE)?
        .batch_execute("create role limited login; select tidings.grant_worker('limited')")?;
    let (host, port) = (cluster.host(), cluster.port());
    Ok(format!("postgresql://limited@{host}:{port}/{DATABASE}"))
}

/// A stage whose worker connects as the role `limited`.
fn on_limited(flags: &[&str], test: impl FnOnce(&mut Stage) -> Result<()>) -> Result<()> {
    let cluster = stage::cluster(&server()?, Durability::Fast)?;
    let mut command = worker::command(&limited(&cluster)?, ANY_PORT, ANY_PORT)?;
    command
        .args(flags)
        .arg("--spool-dir")
        .arg(cluster.folder().join("spool"));
    let worker = Worker::spawn(&mut command, &cluster.folder().join("worker.log"))?;
    let mut stage = Stage { worker, cluster };
    stage.worker.wait_ready()?;
    let begun = begin(&stage).and_then(|()| test(&mut stage));
    begun.inspect_err(|_| eprintln!("{}", stage.logs()))
}
