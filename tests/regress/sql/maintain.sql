-- What upkeep makes and removes, and what it says about that. In a database of its own,
-- and at fixed times only: tidings.maintain(), which is tidings._maintain(now()), is in
-- maintain_now.

\set SHOW_CONTEXT never
\set database :DBNAME
create database regress_tidings_maintain;
\c regress_tidings_maintain
\set SHOW_CONTEXT never
set timezone to 'America/Sao_Paulo'; -- of no consequence
set datestyle to 'SQL, DMY';
create extension tidings;

-- The settings are one row.
select * from tidings.retention;
update tidings.retention set partition_width = 'day';
update tidings.retention set partitions_ahead = 0;
update tidings.retention set keep_events = '-1 day';
-- One that is inserted, as by a dump, takes its place.
insert into tidings.retention (partitions_ahead) values (2);
select partition_width, partitions_ahead from tidings.retention;

select tidings.add_source('sms', 'arpoone', options => '{"allow_unauthenticated": true}');
create function pg_temp.deliver(message_id text, at timestamptz) returns text language sql as $$
  select format('%s inserted, %s duplicate', r.inserted, r.duplicate)
  from tidings.ingest('sms', convert_to(jsonb_build_object('MessageId', message_id, 'Status', 'DELIVERED',
    'ReportDateTime', to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))::text, 'UTF8')) r
$$;
create view places as
select e.tableoid::regclass::text as place, count(*), string_agg(e.message_id, ' ' order by e.message_id) filter (where length(e.message_id) < 20) as messages
from tidings.event e group by 1 order by 1;

-- Without upkeep everything is in the default partition.
select m, pg_temp.deliver(m, at)
from (values ('now', timestamptz '2026-11-18 12:00Z'), ('first', '2026-11-16 00:00Z'), ('last', '2026-11-22 23:59:59.999999Z'),
  ('next', '2026-11-23 00:00Z'), ('recent', '2026-11-03 08:00Z'), ('old', '2025-06-03 08:00Z'), ('far', '2031-01-01 00:00Z')) e (m, at);
select * from places;
create table before as select * from tidings.event;

-- Made: this week and so many ahead; and past ones whose rows the default partition
-- holds, where they are recent. Weeks begin on Monday, in UTC.
select action, object, rows, detail from tidings._maintain('2026-11-18 12:00Z');
select * from places;
-- Again: nothing is left to do.
select * from tidings._maintain('2026-11-18 12:00Z');
-- A week later: one more.
select action, object, rows from tidings._maintain('2026-11-25 12:00Z');

-- No event is lost, doubled or changed.
select count(*) from (table before except all table tidings.event) lost;
select count(*) from tidings.event;
-- Each still meets itself, wherever it moved to; new ones go where they belong.
select m, pg_temp.deliver(m, at)
from (values ('now', timestamptz '2026-11-18 12:00Z'), ('next', '2026-11-23 00:00Z'), ('recent', '2026-11-03 08:00Z'),
  ('old', '2025-06-03 08:00Z'), ('new', '2026-11-18 12:00Z')) e (m, at);
select * from places;

-- A partition is as the default one: its indexes, no check left over, the owner.
select c.relname, c.relowner = e.extowner as same_owner,
  (select count(*) from pg_constraint k where k.conrelid = c.oid and k.contype = 'c') as checks,
  (select array_agg(replace(replace(pg_get_indexdef(x.indexrelid), c.relname, '*'), ' ON ONLY ', ' ON ') order by 1) from pg_index x where x.indrelid = c.oid)
  = (select array_agg(replace(pg_get_indexdef(x.indexrelid), 'event_default', '*') order by 1) from pg_index x where x.indrelid = 'tidings.event_default'::regclass) as same_indexes
from pg_class c join pg_inherits i on i.inhrelid = c.oid and i.inhparent = 'tidings.event'::regclass, pg_extension e
where e.extname = 'tidings' order by 1;
-- It is no part of the extension, so that a dump carries it; and the parent has no index,
-- so that the dump can be restored.
select count(*) from pg_depend d join pg_inherits i on i.inhrelid = d.objid and i.inhparent = 'tidings.event'::regclass
where d.deptype = 'e' and d.objid <> 'tidings.event_default'::regclass;
select count(*) from pg_index where indrelid = 'tidings.event'::regclass;

-- Look-ups use an index in every partition, and the log is read in its order from each. How
-- the functions of lookup.sql do so is tested in tests/e2e, over more events.
set enable_seqscan = off;
set enable_bitmapscan = off;
create function pg_temp.plan(query text) returns table (node text, times bigint) language plpgsql as $$
declare
  line text;
  nodes text[];
begin
  for line in execute 'explain (costs off) ' || query loop
    nodes := nodes || substring(line from '(Merge Append|Append|Seq Scan|Sort$|Limit|Index Scan using event_(?:\d{4}w\d\d|default)_\w+)');
  end loop;
  return query select regexp_replace(n, 'event_(\d{4}w\d\d|default)_', '*_'), count(*) from unnest(nodes) n where n is not null group by 1 order by 1;
end $$;
select count(*) as partitions from pg_inherits where inhparent = 'tidings.event'::regclass;
select * from pg_temp.plan($$select * from tidings.event where event_id = '01M80309DM99YX4725D4H998BS'$$);
select * from pg_temp.plan($$select * from tidings.event where id > '01M80309DM99YX4725D4H998BS' and id < '01M90000000000000000000000' order by id limit 1000$$);
-- Of times only their partition is read.
reset enable_seqscan;
reset enable_bitmapscan;
set timezone to 'UTC';
set datestyle to 'ISO, YMD';
explain (costs off) select from tidings.event where occurred_at >= '2026-11-18' and occurred_at < '2026-11-19';

-- Ingest opens the partition that it writes to, and no other: the first time, when its plans
-- are kept, for a duplicate, and for an event without a time.
begin;
select pg_temp.deliver('lock', '2026-11-25 12:00Z') from generate_series(1, 7);
select count(*) as partitions from pg_locks l join pg_inherits i on i.inhrelid = l.relation and i.inhparent = 'tidings.event'::regclass where l.pid = pg_backend_pid();
select inserted, duplicate from tidings.ingest('sms', '[{"MessageId": "lock", "Status": "DELIVERED"}]');
select count(*) <= 2 as few from pg_locks l join pg_inherits i on i.inhrelid = l.relation and i.inhparent = 'tidings.event'::regclass where l.pid = pg_backend_pid();
rollback;

-- An older range gets its partition from 10000 events on.
insert into tidings.event (id, event_id, source_id, provider, kind, provider_kind, message_id, occurred_at, received_at, payload)
select tidings.gen_ulid(), tidings.gen_ulid(), 0, 'arpoone', 'other', 'x', repeat('bulk', 5), '2025-06-02 00:00Z'::timestamptz + n * interval '1 second', now(), '{}'
from generate_series(1, 9998) n;
select * from tidings._maintain('2026-11-25 12:00Z');
select pg_temp.deliver('old too', '2025-06-03 08:00Z');
select action, object, rows from tidings._maintain('2026-11-25 12:00Z');
select * from places;

-- The turn of a year: the weeks of ISO 8601. Where the width changes, partitions keep
-- theirs, and what lies between them is filled.
select action, object, rows, detail from tidings._maintain('2026-12-30 12:00Z') where action = 'created';
update tidings.retention set partition_width = 'month', partitions_ahead = 1;
select action, object, rows, detail from tidings._maintain('2027-01-06 12:00Z');
update tidings.retention set partition_width = 'week', partitions_ahead = 1;
select action, object, rows, detail from tidings._maintain('2027-02-24 12:00Z');
select pg_temp.deliver('february', '2027-02-24 12:00Z'), pg_temp.deliver('gap', '2027-01-18 00:00Z');
-- Nothing is missing between them.
select count(*), range_agg(tstzrange(starts_at, ends_at)) as covered from tidings._partitions() where starts_at >= '2026-12-28';

-- What expired is removed, a partition at a time, but not before every consumer has
-- acknowledged it.
create table cursor as select max(id) as last from tidings.event;
update tidings.retention set keep_events = '90 days', partitions_ahead = 1;
select tidings.create_consumer('slow'), tidings.create_consumer('fast', (select last from cursor));
select action, object, rows, detail from tidings._maintain('2027-02-24 12:00Z');
select tidings.seek('slow', to_id => (select last from cursor));
select action, object, rows, detail from tidings._maintain('2027-02-24 12:00Z');
select * from places;
-- Late ones are stored, and expire next time.
select pg_temp.deliver('late', '2026-01-01 00:00Z');
select action, rows from tidings._maintain('2027-02-24 12:00Z');
select tidings.seek(name, to_id => tidings.gen_ulid()) from tidings.consumer;
select action, object, rows from tidings._maintain('2027-02-24 12:00Z');
select tidings.drop_consumer(name) from tidings.consumer;
-- None is made for them, however many.
insert into tidings.event (id, event_id, source_id, provider, kind, provider_kind, occurred_at, received_at, payload)
select tidings.gen_ulid(), tidings.gen_ulid(), 0, 'arpoone', 'other', 'x', '2025-06-02 00:00Z', now(), '{}' from generate_series(1, 10001);
select action, object, rows from tidings._maintain('2027-02-24 12:00Z');

-- What was rejected has its own time, here one that the server's clock has not reached.
select r.verdict from generate_series(1, 2) n, tidings.ingest('sms', convert_to(n::text || 'x', 'UTF8')) r;
update tidings.rejected
set received_at = case when body = '1x' then timestamptz '2027-01-10Z' else '2027-02-10Z' end;
select action, object, rows, detail from tidings._maintain('2027-02-24 12:00Z');
select received_at from tidings.rejected;
update tidings.retention set keep_rejected = null;
select * from tidings._maintain('2027-02-24 12:00Z');
update tidings.retention set keep_rejected = '1 day';
select action, rows from tidings._maintain('2027-02-24 12:00Z');

-- It fails loudly, and then has changed nothing.
select count(*) as partitions from tidings._partitions() \gset
create function refuse() returns event_trigger language plpgsql as $$
begin
  if exists (select from pg_event_trigger_ddl_commands() d where d.object_identity = 'tidings.event_2027w20') then
    raise 'refused' using errcode = 'insufficient_privilege';
  end if;
end
$$;
create event trigger refuse on ddl_command_end execute function refuse();
select * from tidings._maintain('2027-05-13 12:00Z');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select count(*) - :partitions as more from tidings._partitions();
drop event trigger refuse;
drop function refuse();

-- The partitions go with the extension.
drop view places;
drop table before, cursor;
drop extension tidings;
select count(*) from pg_class where relname ~ '^event_';
\c :database
drop database regress_tidings_maintain;
