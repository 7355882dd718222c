-- tidings.events_after: following the log. Races are in tests/isolation.

\set SHOW_CONTEXT never

select tidings.add_source('sms', 'arpoone', options => '{"allow_unauthenticated": true}') is not null
  and tidings.add_source('push', 'pushpushgo', options => '{"allow_unauthenticated": true}') is not null as added;
-- The log's beginning, for this test.
select coalesce(max(id)::text, '00000000000000000000000000') as start from tidings.event \gset

create function pg_temp.state(message_id text, status text) returns bytea language sql as $$
  select convert_to(format('{"MessageId": "%s", "Status": "%s", "ReportDateTime": "2024-10-01T11:34:56Z"}', message_id, status), 'UTF8')
$$;
select inserted from tidings.ingest('sms', pg_temp.state('m1', 'PENDING'));
select inserted from tidings.ingest('push', '{"kind": "subscriber:update", "ppgId": "p1"}');
select inserted from tidings.ingest('sms', '[{"MessageId": "m2", "Status": "PENDING", "ReportDateTime": "2030-07-01T00:00:00Z"},
  {"MessageId": "m2", "Status": "DELIVERED", "ReportDateTime": "2020-07-01T00:00:00Z"}]');
select inserted from tidings.ingest('push', '{"kind": "transaction:message:clicked", "messageId": "m3", "ts": "2024-10-01T11:34:56Z"}');

-- In the order in which they were stored, whatever their own times; from the start where
-- no position is given.
select provider, kind, message_id, case when message_id = 'm2' then extract(year from occurred_at) end as year from tidings.events_after(:'start');
select count(*) = (select count(*) from tidings.event) as all_of_them, bool_and(id > before) as in_order
from (select id, lag(id) over () as before from tidings.events_after(null, 1000000)) e;
-- Exactly one row for each event, as it is in the table.
select count(*) from (select * from tidings.events_after(:'start') intersect select * from tidings.event) same;

-- After a position, and at most so many.
select message_id, kind from tidings.events_after(:'start', 2);
select id as position from tidings.events_after(:'start', 2) order by id desc limit 1 \gset
select message_id, kind from tidings.events_after(:'position', 2);
select id as position from tidings.events_after(:'position', 2) order by id desc limit 1 \gset
select message_id, kind from tidings.events_after(:'position', 2);
select id as position from tidings.events_after(:'position', 2) order by id desc limit 1 \gset
select message_id, kind from tidings.events_after(:'position', 2);
select count(*) from tidings.events_after(:'start', 0);
select count(*) from tidings.events_after('7ZZZZZZZZZZZZZZZZZZZZZZZZZ');

-- Of one source, of some kinds, of both.
select message_id, kind from tidings.events_after(:'start', source => 'push');
select message_id, kind from tidings.events_after(:'start', kinds => '{message.delivered,message.clicked}');
select message_id, kind from tidings.events_after(:'start', 1, 'sms', '{message.pending}');
select count(*) from tidings.events_after(:'start', kinds => '{}');
select count(*) from tidings.events_after(:'start', kinds => '{message.failed,null}');
-- A kind that no event has is a mistake, and would otherwise be waited for for ever.
select count(*) from tidings.events_after(:'start', kinds => '{message.failed,nope}');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select count(*) from tidings.read_log(:'start', kinds => '{Message.Failed}');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.events_after(source => 'nope');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.events_after(max_events => -1);
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.events_after(max_events => null);
select tidings.events_after('m1');
\echo SQLSTATE :LAST_ERROR_SQLSTATE

-- A page at a time gives every event once: 300 requests, 7 events a page.
do $$
begin
  for n in 1..300 loop
    perform tidings.ingest('sms', convert_to(format(
      '[{"MessageId": "a%s", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:34:56Z"},
        {"MessageId": "b%s", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:34:56Z"}]', n, n), 'UTF8'));
    if n % 10 = 0 then
      commit;
    end if;
  end loop;
end $$;
create temp table followed (page int, message_id text);
do $$
declare
  cursor_ tidings.ulid;
  next_ tidings.ulid;
begin
  for page in 1..1000 loop
    with read as (select * from tidings.events_after(cursor_, 7, 'sms')),
    kept as (insert into followed select page, message_id from read)
    select max(id) into next_ from read;
    exit when next_ is null;
    cursor_ := next_;
  end loop;
end $$;
select count(*), count(distinct message_id), max(page) as pages from followed where message_id ~ '^[ab]';

-- A transaction does not get its own events: they have no place in the log before it
-- commits.
select max(id) as position from tidings.event \gset
begin;
select inserted from tidings.ingest('sms', pg_temp.state('m4', 'PENDING'));
select count(*) from tidings.event where id > :'position';
select count(*) from tidings.events_after(:'position');
commit;
select message_id from tidings.events_after(:'position');

-- Not even where a savepoint was rolled back, and the lock that announced them with it.
select max(id) as position from tidings.event \gset
begin;
savepoint s;
select inserted from tidings.ingest('sms', pg_temp.state('m5', 'PENDING'));
rollback to savepoint s;
select inserted from tidings.ingest('sms', pg_temp.state('m5', 'DELIVERED'));
select count(*) from tidings.event where id > :'position';
select count(*) from tidings.events_after(:'position');
commit;
select message_id, kind from tidings.events_after(:'position');

-- Several requests of one transaction hold readers back at the first of them.
select max(id) as position from tidings.event \gset
begin;
select inserted from tidings.ingest('sms', pg_temp.state('m6', 'PENDING'));
select inserted from tidings.ingest('sms', pg_temp.state('m7', 'PENDING'));
select count(*) from tidings.events_after(:'position');
select count(*) from pg_locks where locktype = 'advisory' and objsubid = 3 and pid = pg_backend_pid() and granted;
commit;
select message_id from tidings.events_after(:'position');

-- Where the greatest position lies ahead of the clock, positions go on above it, and readers
-- follow them at once. An event that was removed counts as well.
begin;
insert into tidings.log_head (last_id, first_id, events)
select at, at, 0 from (select tidings.ulid_at(now() + interval '1 day') as at) x;
select inserted from tidings.ingest('sms', pg_temp.state('m8', 'PENDING'));
select e.id > tidings.ulid_at(now() + interval '1 day') as above
from tidings.event e join tidings.source s on s.id = e.source_id and s.name = 'sms' where message_id = 'm8';
rollback;

-- The end of the log is where "from now on" begins, and the horizon lies right above it.
select tidings.log_end() = max(id) as is_last, tidings.log_horizon() > max(id) as is_above from tidings.event;
select tidings.log_end() as log_end, tidings.log_horizon() as horizon \gset
select count(*) from tidings.events_after(:'log_end');
select inserted from tidings.ingest('sms', pg_temp.state('m9', 'PENDING'));
select message_id, id > :'horizon' as above from tidings.events_after(:'log_end');
-- What is in flight comes after the end.
begin;
select inserted from tidings.ingest('sms', pg_temp.state('m10', 'PENDING'));
select tidings.log_end() < id as is_before, tidings.log_horizon() <= id as is_not_above from tidings.event where message_id = 'm10';
rollback;

-- A tick raises the horizon, and stores no event.
select tidings.log_end() as log_end \gset
select tidings.tick() as tick \gset
select :'tick' > :'log_end' as later, tidings.log_end() = :'tick' as is_end, events, first_at, last_at
from tidings.log_head where last_id = :'tick';
select count(*) from tidings.events_after(:'log_end');
begin;
select tidings.tick() as own \gset
-- Nobody passes a tick that is not committed.
select tidings.log_end() < :'own' as is_before;
rollback;

-- A cursor that moves on past what does not match.
select id as m7 from tidings.event where message_id = 'm7' \gset
select (event).message_id, reached = (event).id as by_event, reached = :'tick' as at_end from tidings.read_log(:'m7', kinds => '{message.pending}');
select reached = :'tick' as at_end, event is null as no_event from tidings.read_log(:'m7', source => 'push');
select count(*), bool_and(reached = (event).id) as by_event from tidings.read_log(:'start', 2, 'sms');
select count(*) from tidings.read_log(:'tick');
select count(*) from tidings.read_log(:'start', 0);
select tidings.read_log(max_events => -1);
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.read_log(source => 'nope');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
-- In steps of whatever size it gives what events_after gives.
create temp table steps (message_id text);
do $$
declare
  at tidings.ulid;
  r record;
  seen bigint;
begin
  for step in 1..1000 loop
    seen := 0;
    for r in select * from tidings.read_log(at, 7, 'sms', '{message.pending}') loop
      at := r.reached;
      seen := seen + 1;
      insert into steps select (r.event).message_id where (r.event).id is not null;
    end loop;
    exit when seen = 0;
  end loop;
end $$;
select count(*) = (select count(*) from tidings.events_after(null, 1000000, 'sms', '{message.pending}')) as all_of_them,
  count(*) > 600 as many, count(distinct message_id) = count(*) as each_once
from steps where message_id is not null;

-- Where a subscription fills the events, there are no locks to read.
begin;
set local allow_system_table_mods to on;
insert into pg_subscription_rel (srsubid, srrelid, srsubstate) values (0, 'tidings.event'::regclass, 'r');
select tidings.events_after();
\echo SQLSTATE :LAST_ERROR_SQLSTATE
rollback;
begin;
set local allow_system_table_mods to on;
insert into pg_subscription_rel (srsubid, srrelid, srsubstate) values (0, 'tidings.event_default'::regclass, 'r');
select tidings.ingest('sms', pg_temp.state('m9', 'PENDING'));
\echo SQLSTATE :LAST_ERROR_SQLSTATE
rollback;

-- The snapshot of a stricter transaction is older than the locks: it is refused.
begin isolation level repeatable read;
select tidings.events_after();
\echo SQLSTATE :LAST_ERROR_SQLSTATE
rollback;
begin isolation level serializable;
select tidings.events_after();
\echo SQLSTATE :LAST_ERROR_SQLSTATE
rollback;
begin isolation level repeatable read;
select tidings.ingest('sms', pg_temp.state('m9', 'PENDING'));
\echo SQLSTATE :LAST_ERROR_SQLSTATE
rollback;
begin isolation level serializable;
select tidings.ingest_batch('{}', '{}', '{}');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
rollback;
-- One that only reads may follow.
begin read only;
select count(*) from tidings.events_after(:'position');
commit;

select tidings.drop_source('sms'), tidings.drop_source('push');
