//! A database that is made anew in an outage gets its extension a moment later.

use super::{is_stored, on_stage, post, readiness, wait_readiness};
use anyhow::{Result, ensure};
use tidings_e2e::eventually;
use tidings_harness::stage::DATABASE;

#[test]
fn a_database_made_anew_before_its_extension_ends_no_worker() -> Result<()> {
    on_stage(true, &[], |stage| {
        let worker = stage.worker.http;
        let admin = stage.worker.admin;
        let mut server = stage.cluster.connect("postgres")?;
        server.batch_execute(&format!("drop database {DATABASE} with (force)"))?;
        stage.cluster.create_database(DATABASE)?;
        eventually("it says what is missing", || {
            stage.worker.check_running()?;
            let (status, body) = readiness(admin)?;
            ensure!(status == 200, "{body}");
            let reason = body["reason"].as_str().unwrap_or_default();
            Ok(reason.contains("CREATE EXTENSION tidings").then_some(()))
        })?;
        let answer = post(worker, "sms", "kept")?;
        ensure!(answer.body.contains("spooled"), "{answer:?}");
        let mut client = stage.connect()?;
        client.batch_execute("create extension tidings")?;
        client.batch_execute("select tidings.add_source('sms', 'arpoone', 'token')")?;
        wait_readiness(admin, 200, "ready")?;
        eventually("what was kept is stored", || {
            Ok(is_stored(&mut client, "sms-kept")?.then_some(()))
        })?;
        stage.worker.check_running()
    })
}
