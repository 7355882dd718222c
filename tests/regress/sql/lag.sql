-- tidings.lag: who is how far behind. What holds the horizon back is in tests/isolation.

\set SHOW_CONTEXT never
set timezone to 'UTC';
set datestyle to 'ISO, YMD';

select tidings.add_source('sms', 'arpoone', options => '{"allow_unauthenticated": true}') is not null
  and tidings.add_source('chat', 'ppoppo') is not null
  and tidings.add_source('quiet', 'arpoone') is not null as added;
select coalesce(max(id)::text, '00000000000000000000000000') as start from tidings.event \gset
select tidings.create_consumer('app', :'start'), tidings.create_consumer('all of it');

-- Nothing yet. Everything is complete up to the clock.
select what, name, last_received_at, cursor, cursor_age, position, behind, oldest_age
from tidings.lag where name in ('sms', 'chat', 'quiet') order by 1, 2;
select what, name, position = :'start' as at_start, behind, oldest_age, last_received_at, cursor, cursor_age
from tidings.lag where name = 'app';
select distinct clock_timestamp() - horizon < interval '10 seconds' as recent, horizon_age, holder_pid, holder_application, holder_age
from tidings.lag;

-- Events of two sources: the time of the last, not the greatest time.
select inserted from tidings.ingest('sms', '{"MessageId": "m1", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:34:56Z"}',
  '{"receipt-id": "0192c3c5-2f00-7000-8000-000000000002"}');
select inserted from tidings.ingest('sms', '{"MessageId": "m2", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:34:56Z"}',
  '{"receipt-id": "0192c3c5-2b18-7000-8000-000000000001"}');
select inserted from tidings.ingest('chat', '[{"event_id": "01JABCDEF00000000000000001", "event_type": "CONSENT_GRANTED"}]');
select what, name, last_received_at at time zone 'UTC' as last_received_at, cursor from tidings.lag where name in ('sms', 'quiet') order by 2;
select what, name, last_received_at between now() - interval '1 minute' and now() as recent, cursor, cursor_age between '0' and '1 minute' as age
from tidings.lag where name = 'chat';
-- The oldest is the first in the log.
select what, name, behind, now() - extract(epoch from oldest_age) * interval '1 second' between '2024-10-25 13:01:12+00' and '2024-10-25 13:03:12+00' as since_its_receipt
from tidings.lag where name = 'app';
-- A poll changes nothing, an ack does.
select count(*), max(id) as last from tidings.poll('app', 2) \gset
select behind from tidings.lag where name = 'app';
select tidings.ack('app', :'last');
select behind, oldest_age < interval '1 minute' as recent, position = :'last' as moved from tidings.lag where name = 'app';
select tidings.ack('app', max(id)) from tidings.poll('app');
select behind, oldest_age from tidings.lag where name = 'app';

-- The transaction that ingests holds the horizon, and is named, to itself as well.
begin;
select inserted from tidings.ingest('sms', '{"MessageId": "m3", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:34:56Z"}');
do $$ declare this tidings.ulid := tidings.ulid_at(clock_timestamp()); begin
  while tidings.ulid_at(clock_timestamp()) <= this loop end loop; end $$;
select distinct holder_pid = pg_backend_pid() as me, holder_application,
  holder_age between '1 ms' and '1 minute' as age, horizon_age between '1 ms' and holder_age + interval '1 ms' as behind,
  horizon = tidings.log_horizon()::timestamptz as same
from tidings.lag;
rollback;
select distinct holder_pid, holder_application, holder_age from tidings.lag;
-- A stricter transaction may look too: it follows nothing.
begin isolation level serializable;
select behind from tidings.lag where name = 'app';
rollback;
-- Other advisory locks, whatever their keys, hold nothing.
begin;
select pg_advisory_xact_lock(1), pg_advisory_xact_lock(29801, 1), pg_advisory_xact_lock(29801 << 16, 1);
select distinct horizon_age, holder_pid from tidings.lag;
rollback;

-- Exact and bounded, with many more events than it looks at: it knows of the sources in the
-- newest 10000.
begin;
insert into tidings.event (id, event_id, source_id, provider, kind, provider_kind, occurred_at, received_at, payload)
select i.id, i.id, 0, 'test', 'other', 'many', now(), now(), '{}'
from generate_series(1, 9998) n, lateral (select tidings.gen_ulid() as id where n > 0) i;
insert into tidings.log_head select max(id), min(id), now(), now(), count(*) from tidings.event where provider_kind = 'many';
select behind from tidings.lag where name = 'app';
select name, last_received_at is not null as known from tidings.lag where name in ('chat', 'sms', 'quiet') order by 1;
insert into tidings.event (id, event_id, source_id, provider, kind, provider_kind, occurred_at, received_at, payload)
select i.id, i.id, 0, 'test', 'other', 'many', now(), now(), '{}'
from generate_series(1, 40000) n, lateral (select tidings.gen_ulid() as id where n > 0) i;
insert into tidings.log_head
select max(x.id), min(x.id), now(), now(), count(*)
from (select id, row_number() over (order by id) / 9000 as run from tidings.event where id > (select max(last_id) from tidings.log_head)) x
group by x.run;
analyze tidings.event;
create view pg_temp.read as
  select sum(pg_stat_get_xact_numscans(p.inhrelid)) as sequential_scans,
    (select sum(pg_stat_get_xact_tuples_returned(i.indexrelid)) from pg_inherits q join pg_index i on i.indrelid = q.inhrelid
      where q.inhparent = p.inhparent) as index_entries
  from pg_inherits p where p.inhparent = 'tidings.event'::regclass group by p.inhparent;
create temp table before as select * from read;
select what, name, last_received_at, behind from tidings.lag where name in ('chat', 'sms', 'quiet', 'app', 'all of it') order by 1, 2;
select r.sequential_scans - b.sequential_scans as sequential_scans,
  r.index_entries - b.index_entries < 20010 * (1 + (select count(*) from tidings.consumer)) as bounded
from read r, before b;
rollback;

-- With the right to see lag a role sees whose transaction it is, and no event.
create role regress_tidings_monitor;
grant select on tidings.lag to regress_tidings_monitor;
grant execute on function tidings._log_holder(), tidings._log_tail(), tidings._unacknowledged(tidings.ulid) to regress_tidings_monitor;
begin;
select inserted from tidings.ingest('sms', '{"MessageId": "m4", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:34:56Z"}');
set local role regress_tidings_monitor;
select name, behind, holder_pid = pg_backend_pid() as holder, holder_application, holder_age > '0' as age from tidings.lag where name in ('app', 'sms') order by 1;
rollback;
set role regress_tidings_monitor;
select id, event_id from tidings.event;
select * from tidings.consumer;
reset role;

-- The worker's role is told how far consumers are behind, and may read neither events nor
-- consumers.
create role regress_tidings_lag;
select tidings.grant_worker('regress_tidings_lag');
begin;
select inserted from tidings.ingest('sms', '{"MessageId": "m5", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:34:56Z"}');
set local role regress_tidings_lag;
select consumer, events > 0 as behind, age >= '0' as age from tidings._worker_lag() order by consumer nulls first;
rollback;
set role regress_tidings_lag;
select position from tidings.consumer;
select * from tidings._unacknowledged(null);
reset role;
drop owned by regress_tidings_lag;
drop role regress_tidings_lag;
select bool_and(w.events = l.behind) as as_lag_has_it, count(*) as consumers
from tidings._worker_lag() w join tidings.lag l on l.what = 'consumer' and l.name = w.consumer;

drop owned by regress_tidings_monitor;
drop role regress_tidings_monitor;
select tidings.drop_source('sms'), tidings.drop_source('chat'), tidings.drop_source('quiet');
select tidings.drop_consumer('app'), tidings.drop_consumer('all of it');
select what from tidings.lag where name in ('sms', 'chat', 'quiet', 'app', 'all of it');
