//! At a million events no question that people ask by a key reads a whole table.

use anyhow::{Result, ensure};
use postgres::Client;
use tidings_e2e::on_cluster;
use tidings_harness::stage::DATABASE;

const SOURCES: &str = r#"
    select tidings.add_source('sms', 'arpoone', null, '{"allow_unauthenticated": true}'),
           tidings.add_source('chat', 'ppoppo')"#;

/// One of a thousand batches: a thousand states of messages, over eight weeks, and five
/// of a send request.
const BATCH: &str = "
    select tidings.ingest_batch('{sms,chat}', array[
      convert_to((
        select jsonb_agg(jsonb_build_object(
          'MessageId', 'm' || $1 * 1000 + i,
          'Msisdn', '351' || ($1 * 1000 + i) % 250000,
          'Status', case i % 10 when 0 then 'NOT_DELIVERED' else 'DELIVERED' end,
          'ReportDateTime', s.start + ($1 * 1000 + i) * interval '4.8 seconds'))
        from generate_series(1, 1000) i)::text, 'UTF8'),
      convert_to((
        select jsonb_agg(jsonb_build_object(
          'event_id', tidings.ulid_at(s.start + $1 * interval '1 hour' + i * interval '1 second'),
          'event_type', 'RECIPIENT_DELIVERED', 'send_request_id', 'r' || $1,
          'recipient', jsonb_build_object('ppnum', '7' || i)))
        from generate_series(1, 5) i)::text, 'UTF8')], '{null,null}')
    from (select date_trunc('week', now(), 'UTC') - interval '56 days' as start) s";

/// Each must be answered by indexes, in every partition.
const BY_KEY: [&str; 10] = [
    "select * from tidings.find_messages('m77777')",
    "select e.* from tidings.find_messages('m77777') m, tidings.message_events(m) e",
    "select * from tidings.recipient_events('35177777')",
    "select * from tidings.request_events('r777')",
    "select * from tidings.event where event_id = '01JQ4T23H220KM7X0B3V1109DQ'",
    "select * from tidings.event where id > '01JQ4T23H220KM7X0B3V1109DQ' and id < '7ZZZZZZZZZZZZZZZZZZZZZZZZZ' order by id limit 1000",
    "select * from tidings.message where message_key = 'm77777'",
    "select * from tidings.message where recipient = '35177777'",
    "select * from tidings.message where not is_final and first_event_at < now() - interval '1 hour'",
    "select * from tidings.request where request_id = 'r777'",
];

#[test]
fn a_million_events_are_looked_up_by_index_and_pruned_by_time() -> Result<()> {
    on_cluster(|cluster| {
        let mut client = cluster.connect(DATABASE)?;
        client.batch_execute(SOURCES)?;
        let batch = client.prepare(BATCH)?;
        for number in 0..1000 {
            client.execute(&batch, &[&number])?;
        }
        client.batch_execute("update tidings.retention set partitions_ahead = 9")?;
        client.batch_execute("select tidings.maintain()")?;
        client.batch_execute("analyze")?;
        let count: i64 = client
            .query_one("select count(*) from tidings.event", &[])?
            .try_get(0)?;
        ensure!(count == 1_005_000, "{count} events");
        for question in BY_KEY {
            let plan = plan(&mut client, question)?;
            for table in read_whole(&plan) {
                let empty = format!("select not exists (select from tidings.{table})");
                let empty: bool = client.query_one(&empty, &[])?.try_get(0)?;
                ensure!(empty, "{question}\nreads all of {table}:\n{plan}");
            }
        }
        let day = "select count(*) from tidings.event
                   where occurred_at >= now() - interval '20 days' and occurred_at < now() - interval '19 days'";
        let plan = plan(&mut client, day)?;
        let read = plan.matches(" on event_20").count();
        let pruned = plan.contains("Subplans Removed");
        ensure!(
            (1..=2).contains(&read) && pruned,
            "{read} partitions\n{plan}"
        );
        Ok(())
    })
}

/// The tables that a plan reads from one end to the other. For an empty one, such as a
/// partition of days to come, that is the right thing to do.
fn read_whole(plan: &str) -> impl Iterator<Item = &str> {
    plan.lines()
        .filter_map(|line| line.split_once("Seq Scan on "))
        .filter_map(|(_, table)| table.split_whitespace().next())
}

fn plan(client: &mut Client, question: &str) -> Result<String> {
    let rows = client.query(&format!("explain (costs off) {question}"), &[])?;
    let lines: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
    Ok(lines?.join("\n"))
}
