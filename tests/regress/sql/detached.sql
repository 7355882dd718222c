-- A partition that was detached, as for an archive, does not stop upkeep. In a database of its own,
-- and at fixed times only.

\set SHOW_CONTEXT never
\set database :DBNAME
create database regress_tidings_detached;
\c regress_tidings_detached
\set SHOW_CONTEXT never
set timezone to 'UTC';
set datestyle to 'ISO, YMD';
create extension tidings;
select tidings.add_source('sms', 'arpoone', options => '{"allow_unauthenticated": true}') is not null as added;
create function pg_temp.deliver(message_id text, at timestamptz) returns text language sql as $$
  select format('%s inserted, %s duplicate', r.inserted, r.duplicate)
  from tidings.ingest('sms', convert_to(jsonb_build_object('MessageId', message_id, 'Status', 'DELIVERED',
    'ReportDateTime', to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))::text, 'UTF8')) r
$$;
select pg_temp.deliver('early', '2026-11-09 12:00Z');
select action, object, rows from tidings._maintain('2026-11-18 12:00Z');

-- Archived, and then a late event of the same time comes.
alter table tidings.event detach partition tidings.event_2026w46;
select pg_temp.deliver('late', '2026-11-10 12:00Z');
select action, object, rows from tidings._maintain('2026-11-18 12:00Z');
select e.tableoid::regclass, e.message_id from tidings.event e order by 2;
select * from tidings._maintain('2026-11-18 12:00Z');
-- Again.
alter table tidings.event detach partition tidings.event_2026w46_2;
select pg_temp.deliver('later', '2026-11-11 12:00Z');
select action, object, rows from tidings._maintain('2026-11-18 12:00Z');
-- What is attached again by hand is as before.
alter table tidings.event detach partition tidings.event_2026w46_3;
alter table tidings.event attach partition tidings.event_2026w46 for values from ('2026-11-09') to ('2026-11-16');
select pg_temp.deliver('early', '2026-11-09 12:00Z');
select * from tidings._maintain('2026-11-18 12:00Z');
-- Retention drops what is attached, and leaves the archive alone.
update tidings.retention set keep_events = '1 day';
select action, object, rows from tidings._maintain('2026-11-18 12:00Z');
select relname from pg_class where relnamespace = 'tidings'::regnamespace and relname like 'event\_2026%' and relkind = 'r' order by relname;
-- A partition is published like the others.
select c.relname from pg_class c where c.relnamespace = 'tidings'::regnamespace and c.relname like 'event%' and c.relkind in ('r', 'p') and c.relreplident <> 'f';

\c :database
drop database regress_tidings_detached;
