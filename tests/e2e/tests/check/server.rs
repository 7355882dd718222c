//! The findings of a check about the server's settings: the measurements are the server's own,
//! and a setting is named only while the server's statistics ask for another value.

use super::*;

/// The settings that a check warns of, and all of its findings.
fn warned(url: &str) -> Result<(Vec<String>, Vec<Value>)> {
    let (code, findings) = check(url, &[])?;
    ensure!(
        code == Some(0),
        "advice is no failure: {code:?}, {findings:?}"
    );
    let warnings = findings.iter().filter(|f| f["finding"] == "warn");
    let subjects = warnings.filter_map(|f| f["subject"].as_str());
    Ok((subjects.map(str::to_owned).collect(), findings))
}

/// A measurement, as the check shows it.
fn measured(findings: &[Value], what: &str) -> Result<String> {
    let found = findings.iter().find(|f| f["subject"] == "server settings");
    let details = found.and_then(|f| f["details"].as_array());
    let mut texts = details.into_iter().flatten().filter_map(Value::as_str);
    let text = texts.find_map(|text| text.strip_prefix(what));
    Ok(text
        .with_context(|| format!("{what}: {findings:?}"))?
        .to_owned())
}

#[test]
fn checkpoints_that_the_wal_forces() -> Result<()> {
    on_cluster_with("alter system set max_wal_size = '32MB'", |cluster| {
        let mut client = cluster.connect(DATABASE)?;
        let url = role(cluster)?;
        // CHECKPOINT commands count as requested too, and must cause no warning.
        for _ in 0..12 {
            client.batch_execute("checkpoint")?;
        }
        eventually("the checkpoints are counted", || {
            let (warned, findings) = warned(&url)?;
            ensure!(warned.is_empty(), "{findings:?}");
            let counted = measured(&findings, "checkpoints since ")?;
            let requested = counted.rsplit(", ").next().unwrap_or_default();
            let requested = requested.trim_end_matches(" requested").parse::<u32>();
            // The end of the recovery was one, too.
            Ok((requested? >= 12).then_some(()))
        })?;

        for _ in 0..300 {
            let wal = "select pg_logical_emit_message(false, 'check', repeat('x', 1 << 20))";
            client.execute(wal, &[])?;
        }
        let wal: i64 = client
            .query_one(
                "select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint",
                &[],
            )?
            .get(0);
        ensure!(wal > 300 << 20, "{wal}");
        let findings = eventually("the WAL is counted", || {
            client.batch_execute("select pg_stat_force_next_flush()")?;
            let (warned, findings) = warned(&url)?;
            Ok((warned == ["max_wal_size"]).then_some(findings))
        })?;
        let found = findings.iter().find(|f| f["subject"] == "max_wal_size");
        let text = found.and_then(|f| f["text"].as_str()).unwrap_or_default();
        let advice = "`alter system set max_wal_size = '128MB'; select pg_reload_conf()`";
        ensure!(text.contains(advice), "{text}");

        client.batch_execute("alter system set max_wal_size = '4GB'")?;
        client.batch_execute("select pg_reload_conf()")?;
        eventually("what was raised is no longer named", || {
            Ok(warned(&url)?.0.is_empty().then_some(()))
        })
    })
}

#[test]
fn locks_and_indexes_as_the_server_counts_them() -> Result<()> {
    on_cluster_with(
        "alter system set max_locks_per_transaction = 10",
        |cluster| {
            let mut client = cluster.connect(DATABASE)?;
            let url = role(cluster)?;
            ensure!(warned(&url)?.0.is_empty(), "few partitions need few locks");

            client.batch_execute(
            "update tidings.retention set partitions_ahead = 60; select tidings.maintain();
             select tidings.add_source('sms', 'arpoone', options => '{\"allow_unauthenticated\": true}')",
        )?;
            let counted = |client: &mut Client| {
                let mut reads = client.transaction()?;
                reads.execute("select count(*) from tidings.event", &[])?;
                let counted = "select count(*) from pg_locks l join pg_class c on c.oid = l.relation
                 left join pg_index x on x.indexrelid = c.oid
                 where l.pid = pg_backend_pid()
                     and coalesce(x.indrelid, c.oid) in (select inhrelid from pg_inherits where inhparent = 'tidings.event'::regclass)";
                Ok::<i64, anyhow::Error>(reads.query_one(counted, &[])?.get(0))
            };
            let locks = counted(&mut client)?;
            let (warned, findings) = warned(&url)?;
            let shown = measured(
                &findings,
                "locks of a statement that opens all 62 partitions: ",
            )?;
            ensure!(shown == format!("{locks} of 1000"), "{locks}: {shown}");
            ensure!(
                warned.contains(&"max_locks_per_transaction".to_owned()),
                "{findings:?}"
            );

            client.execute(
                "select tidings.ingest('sms', convert_to((select json_agg(json_build_object(
                 'MessageId', 'm' || n, 'Recipient', n::text, 'Status', 'DELIVRD',
                 'ReportDateTime', '2026-11-30T10:00:00Z'))::text
                 from generate_series(1, 2000) n), 'UTF8'))",
                &[],
            )?;
            client.batch_execute("analyze tidings.message, tidings.event")?;
            let sizes: String = client
            .query_one(
                "select pg_size_pretty(pg_relation_size('tidings.message_pkey')
                     + pg_relation_size('tidings.message_message_id_idx')
                     + pg_relation_size('tidings.message_recipient_idx')
                     + (select max(of_one) from (select sum(pg_relation_size(x.indexrelid)) as of_one
                         from pg_inherits i join pg_index x on x.indrelid = i.inhrelid
                         join pg_class c on c.oid = x.indexrelid
                         where i.inhparent = 'tidings.event'::regclass
                             and pg_get_indexdef(x.indexrelid) ~ '\\((tidings\\.)?(_lookup|recipient)'
                         group by i.inhrelid) s)::bigint)",
                &[],
            )?
            .get(0);
            let (_, findings) = self::warned(&url)?;
            let shown = measured(&findings, "indexes with random keys: ")?;
            ensure!(shown == sizes, "{sizes}: {shown}");
            Ok(())
        },
    )
}

#[test]
fn commits_that_wait_for_no_disk() -> Result<()> {
    on_cluster(|cluster| {
        let url = role(cluster)?;
        let mut client = cluster.connect(DATABASE)?;
        client.batch_execute("alter role checking set synchronous_commit = off")?;
        ensure!(warned(&url)?.0 == ["synchronous_commit"]);
        client.batch_execute("alter role checking reset synchronous_commit")?;
        ensure!(warned(&url)?.0.is_empty());
        Ok(())
    })
}
