//! Everything can leave the database and come back: by COPY in binary form,
//! and by pg_dump and pg_restore.

use anyhow::{Context as _, Result, ensure};
use postgres::Client;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use tidings_e2e::{on_stage, play};
use tidings_harness::play;
use tidings_harness::stage::{DATABASE, Stage};
use tidings_harness::step;

const RESTORED: &str = "restored";

#[test]
fn events_survive_a_binary_copy() -> Result<()> {
    on_stage(|stage| {
        fill(stage)?;
        let mut from = stage.connect()?;
        stage.cluster.create_database(RESTORED)?;
        let mut into = stage.cluster.connect(RESTORED)?;
        into.batch_execute("create extension tidings")?;

        let mut bytes = Vec::new();
        from.copy_out("copy (select * from tidings.event) to stdout (format binary)")?
            .read_to_end(&mut bytes)?;
        let mut copy = into.copy_in("copy tidings.event from stdin (format binary)")?;
        copy.write_all(&bytes)?;
        let rows = copy.finish()?;

        let (want, have) = (
            digest(&mut from, "tidings.event")?,
            digest(&mut into, "tidings.event")?,
        );
        ensure!(want == have, "{want} became {have}");
        ensure!(rows > 0);
        Ok(())
    })
}

#[test]
fn a_dump_restores_every_row_and_the_deduplication() -> Result<()> {
    on_stage(|stage| {
        fill(stage)?;
        let file = stage.cluster.folder().join("dump");
        step::output(
            stage
                .cluster
                .client_program("pg_dump")
                .args(["-Fc", "-d", DATABASE, "-f"])
                .arg(&file),
        )?;
        stage.cluster.create_database(RESTORED)?;
        // Any error at all makes its exit status 1.
        step::output(
            stage
                .cluster
                .client_program("pg_restore")
                .args(["-d", RESTORED])
                .arg(&file),
        )?;

        let mut restored = stage.cluster.connect(RESTORED)?;
        let want = digests(&mut stage.connect()?)?;
        let have = digests(&mut restored)?;
        ensure!(want == have, "{want:#?}\nbecame\n{have:#?}");
        for table in [
            "tidings.event",
            "tidings.undated",
            "tidings.source_schema",
            "tidings.gap",
        ] {
            ensure!(
                want.get(table).is_some_and(|rows| !rows.starts_with("0 ")),
                "there is nothing of {table} to restore"
            );
        }

        // The consumer goes on where it was, and the state is what the events say.
        let row = restored.query_one(
            "select count(*), bool_and(e.id > c.position)
             from tidings.consumer c, tidings.poll(c.name, 10000) e group by c.name",
            &[],
        )?;
        let (events, all_new): (i64, bool) = (row.try_get(0)?, row.try_get(1)?);
        ensure!(events > 0 && all_new, "{events} events, all new: {all_new}");
        restored.batch_execute("select tidings.rebuild_state()")?;
        for table in STATE {
            let rebuilt = digest(&mut restored, table)?;
            ensure!(
                want.get(table) == Some(&rebuilt),
                "{table} was rebuilt otherwise"
            );
        }

        // What is there is known to be there, and what comes next comes after it.
        let again = "select (tidings.ingest('arpoone', convert_to(jsonb_build_array(e.payload)::text, 'utf8'),
                       '{\"url-token\": \"arpoone-dev-token\"}')).*
                     from tidings.event e join tidings.source s on s.id = e.source_id
                     where s.name = 'arpoone' limit 1";
        let row = restored.query_one(again, &[])?;
        let (verdict, duplicate): (String, i32) = (row.get("verdict"), row.get("duplicate"));
        ensure!((verdict.as_str(), duplicate) == ("accepted", 1));
        restored
            .batch_execute("select tidings.add_source('next', 'arpoone', 'token')")
            .context("the sources' sequence was not restored")?;
        restored
            .batch_execute("select tidings.report_gap('arpoone', 'provider_gave_up')")
            .context("the gaps' sequence was not restored")
    })
}

const STATE: [&str; 4] = [
    "tidings.message",
    "tidings.consent",
    "tidings.subscriber",
    "tidings.request_summary",
];

/// Events of every provider, something rejected, a gap, partitions, and a consumer half-way.
fn fill(stage: &mut Stage) -> Result<()> {
    let mut emulator = stage.add_emulator(&play(stage, 1_000, 1))?;
    play::run(stage, &mut emulator, &[], &mut |_| {})?
        .reconciliation
        .check()?;
    stage.connect()?.batch_execute(
        r#"select tidings.ingest('arpoone', '[]');
         select tidings.maintain();
         select tidings.ingest('arpoone', '{"MessageId": "undated", "Status": "DELIVERED"}', '{"url-token": "arpoone-dev-token"}');
         select tidings.set_source_schema('pushwoosh-grpc', '/p.S/M', proto => 'syntax = "proto3"; package p;
           service S { rpc M(stream E) returns (stream R); }
           message E { string uuid = 1; string event_name = 2; } message R { string uuid = 1; string status = 2; }');
         select tidings.report_gap('arpoone', 'spool_discarded');
         select tidings.create_consumer('app');
         select tidings.ack('app', max(e.id)) from tidings.poll('app', 100) e"#,
    )?;
    Ok(())
}

/// Every table of the extension that holds data; the partitions through their parent.
fn digests(client: &mut Client) -> Result<BTreeMap<String, String>> {
    let tables = client.query(
        "select c.oid::regclass::text from pg_class c
         where c.relnamespace = 'tidings'::regnamespace
           and c.relkind in ('r', 'p') and not c.relispartition
           and c.relname not in ('stream_state', 'stream_lease')",
        &[],
    )?;
    let mut all = BTreeMap::new();
    for table in tables {
        let table: String = table.try_get(0)?;
        let digest = digest(client, &table)?;
        all.insert(table, digest);
    }
    Ok(all)
}

/// The number of rows and a hash over all of them, in whatever order they lie.
fn digest(client: &mut Client, table: &str) -> Result<String> {
    let row = client.query_one(
        &format!(
            "select count(*) || ' rows ' ||
                    coalesce(md5(string_agg(t::text, chr(10) order by t::text collate \"C\")), '')
             from {table} t"
        ),
        &[],
    )?;
    Ok(row.try_get(0)?)
}
