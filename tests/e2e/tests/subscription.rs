//! Events that another database publishes come without the locks of their writers: nobody
//! follows them where they arrive, until the subscription is gone.

use anyhow::{Context as _, Result, ensure};
use postgres::error::SqlState;
use tidings_e2e::{eventually, on_cluster_with};
use tidings_harness::stage::DATABASE;

const COPY: &str = "copy";
const EVENTS: i64 = 30;

const PUBLISH: &str = r#"
    select tidings.add_source('log', 'arpoone', null, '{"allow_unauthenticated": true}');
    select tidings.ingest('log', convert_to((
      select jsonb_agg(jsonb_build_object('MessageId', n, 'Status', 'DELIVERED', 'ReportDateTime', '2026-01-01T00:00:00'))
      from generate_series(1, 30) n)::text, 'UTF8'));
    create publication events for table tidings.event with (publish_via_partition_root = true)"#;

#[test]
fn a_log_that_a_subscription_fills_is_followed_by_nobody() -> Result<()> {
    on_cluster_with("alter system set wal_level = logical", |cluster| {
        let mut publisher = cluster.connect(DATABASE)?;
        publisher.batch_execute(PUBLISH)?;
        publisher
            .batch_execute("select pg_create_logical_replication_slot('events', 'pgoutput')")?;

        cluster.create_database(COPY)?;
        let mut client = cluster.connect(COPY)?;
        client.batch_execute("create extension tidings")?;
        client.batch_execute(&format!(
            "create subscription events connection '{}' publication events
             with (slot_name = 'events', create_slot = false)",
            cluster.url(DATABASE)
        ))?;
        eventually("the events arrive", || {
            let row = client.query_one("select count(*) from tidings.event", &[])?;
            Ok((row.try_get::<_, i64>(0)? == EVENTS).then_some(()))
        })?;

        for refused in [
            "select tidings.events_after()",
            "select tidings.read_log()",
            "select tidings.log_end()",
            "select tidings.tick()",
            "select tidings.ingest_batch('{}', '{}', '{}')",
        ] {
            let error = client.batch_execute(refused).err().context(refused)?;
            ensure!(
                error.code() == Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE),
                "{refused}: {error}"
            );
        }

        client.batch_execute("alter subscription events disable")?;
        client.batch_execute("alter subscription events set (slot_name = none)")?;
        client.batch_execute("drop subscription events; select tidings.rebuild_log()")?;
        let query = "select count(*), bool_and(e = o) from tidings.events_after() e join tidings.event o using (id)";
        let row = client.query_one(query, &[])?;
        let (followed, same): (i64, bool) = (row.try_get(0)?, row.try_get(1)?);
        ensure!(followed == EVENTS && same, "{followed} events, {same}");
        Ok(())
    })
}
