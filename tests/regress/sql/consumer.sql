-- Named consumers: poll, ack, seek. Races are in tests/isolation.

\set SHOW_CONTEXT never
set timezone to 'UTC';
set datestyle to 'ISO, YMD';

select tidings.add_source('sms', 'arpoone', options => '{"allow_unauthenticated": true}') is not null as added;
-- The log's beginning, for this test.
select coalesce(max(id)::text, '00000000000000000000000000') as start from tidings.event \gset

-- Stores events with these message ids, and returns when readers get them.
create procedure store(variadic message_ids text[]) language plpgsql as $$
declare
  this tidings.ulid;
begin
  perform tidings.ingest('sms', convert_to(jsonb_agg(jsonb_build_object(
    'MessageId', m, 'Status', 'DELIVERED', 'ReportDateTime', '2024-10-01T11:34:56Z') order by n)::text, 'UTF8'))
  from unnest(message_ids) with ordinality i (m, n);
  commit;
  this := tidings.ulid_at(clock_timestamp());
  while tidings.ulid_at(clock_timestamp()) <= this loop end loop;
end $$;
-- The id of an event of this test.
create function id(message_id text) returns tidings.ulid language sql as $$
  select e.id from tidings.event e join tidings.source s on s.id = e.source_id and s.name = 'sms' where e.message_id = $1
$$;
-- Another psql session begins before the one it replaces has ended.
create procedure await_end(of_pid int) language plpgsql as $$
declare
  deadline timestamptz := clock_timestamp() + interval '60 seconds';
begin
  loop
    perform pg_stat_clear_snapshot();
    exit when not exists (select from pg_stat_activity where pid = of_pid);
    assert clock_timestamp() < deadline, 'the session goes on';
  end loop;
end $$;
-- Where the consumer is, by the message ids of this test.
create view at as
  select p.message_id as position, t.message_id as polled_to, c.polled_by = a.pid and c.polled_session = a.backend_start as by_this_session
  from tidings.consumer c
  join pg_stat_activity a on a.pid = pg_backend_pid()
  left join (tidings.event p join tidings.source ps on ps.id = p.source_id and ps.name = 'sms') on p.id = c.position
  left join tidings.event t on t.id = c.polled_to
  where c.name = 'app';
-- An error, with names for this test's ids and process ids.
create function refused(command text) returns text language plpgsql as $$
declare
  said text;
  detail text;
  e record;
begin
  execute command;
  return 'not refused';
exception when others then
  get stacked diagnostics said = message_text, detail = pg_exception_detail;
  said := sqlstate || ' ' || said || '. ' || regexp_replace(detail, 'rocess \d+', 'rocess <pid>');
  for e in select v.id::text, v.message_id from tidings.event v join tidings.source s on s.id = v.source_id and s.name = 'sms' loop
    said := replace(said, e.id, e.message_id);
  end loop;
  return said;
end $$;
call store('a', 'b', 'c', 'd', 'e', 'f');

-- A name has 1 to 63 characters, and is taken once.
select tidings.create_consumer('app', :'start');
select tidings.create_consumer('app');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.create_consumer('');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.create_consumer(null);
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.create_consumer(repeat('n', 64));
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.create_consumer(repeat('ñ', 63)), tidings.drop_consumer(repeat('ñ', 63));

-- The same events until they are acknowledged, all of them or the first of them.
select message_id from tidings.poll('app', 2);
select message_id from tidings.poll('app', 3);
select * from at;
select tidings.ack('app', id('b'));
select * from at;
select message_id from tidings.poll('app');
select tidings.ack('app', id('f'));
select * from at;
select message_id from tidings.poll('app');
select * from at;
select polled_at > created_at as polled, acked_at > polled_at as acked from tidings.consumer where name = 'app';
call store('g', 'h', 'i');
select message_id from tidings.poll('app', 2);
-- Every column, as in the table.
select count(*) from (select * from tidings.poll('app') intersect select * from tidings.event) same;

-- Never backwards, and never twice.
select refused($$ select tidings.ack('app', id('e')) $$);
select refused($$ select tidings.ack('app', id('f')) $$);
-- Never beyond what the last poll returned, though another poll has returned it.
select message_id from tidings.poll('app', 2);
select refused($$ select tidings.ack('app', id('i')) $$);
select tidings.ack('app', id('h'));
-- Never what was not polled, and never nothing.
select refused($$ select tidings.ack('app', id('i')) $$);
select tidings.ack('app', null);
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select * from at;

-- What they say, with ids that do not change.
select tidings.create_consumer('fixed', '01ARYZ6S41TSV4RRFFQ69G5FAV');
select tidings.ack('fixed', '01ARYZ6S41TSV4RRFFQ69G5FAV');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.ack('fixed', '01ARYZ6S41TSV4RRFFQ69G5FAW');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
update tidings.consumer set polled_to = '01ARYZ6S41TSV4RRFFQ69G5FAX', polled_by = pg_backend_pid(),
  polled_session = (select backend_start from pg_stat_activity where pid = pg_backend_pid()) where name = 'fixed';
select tidings.ack('fixed', '01ARYZ6S41TSV4RRFFQ69G5FAY');
select tidings.ack('fixed', '01ARYZ6S41TSV4RRFFQ69G5FAW'), tidings.ack('fixed', '01ARYZ6S41TSV4RRFFQ69G5FAX');
\set VERBOSITY terse
-- Not even the table's owner makes a consumer that is ahead of what it polled.
update tidings.consumer set polled_to = '01ARYZ6S41TSV4RRFFQ69G5FAV', polled_by = 1 where name = 'fixed';
update tidings.consumer set polled_to = '01ARYZ6S41TSV4RRFFQ69G5FAZ' where name = 'fixed';
\set VERBOSITY default
select tidings.drop_consumer('fixed');

-- In one transaction, with the effect; where that is rolled back, so is the position, and
-- what the poll returned.
create table effect (message_id text primary key);
begin;
insert into effect select message_id from tidings.poll('app');
select tidings.ack('app', id('i'));
rollback;
select * from at;
select refused($$ select tidings.ack('app', id('i')) $$);
begin;
insert into effect select message_id from tidings.poll('app');
select tidings.ack('app', max(id(message_id))) from effect;
commit;
select message_id from effect;
select * from at;
-- In two: the second holds the effect.
call store('j', 'k');
select message_id from tidings.poll('app');
begin;
insert into effect values ('j'), ('k');
select tidings.ack('app', id('k'));
commit;
-- The application that was not told of its commit tries again: it is told.
begin;
insert into effect values ('j again'), ('k again');
select refused($$ select tidings.ack('app', id('k')) $$);
rollback;
-- The acknowledging transaction may be a strict one; a poll reads the log, and may not.
call store('l');
select message_id from tidings.poll('app');
begin isolation level serializable;
select tidings.ack('app', id('l'));
select tidings.poll('app');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
rollback;
begin isolation level repeatable read;
select tidings.ack('app', id('l'));
commit;
begin read only;
select tidings.poll('app');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
rollback;
-- A transaction's own events have no place in the log before it commits.
begin;
select inserted from tidings.ingest('sms', '{"MessageId": "m", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:34:56Z"}');
select message_id from tidings.poll('app');
commit;
call store('n');
select message_id from tidings.poll('app');
select tidings.ack('app', id('n'));

-- By position, back and forth. What was polled is to be polled again.
select tidings.seek('app', id('j'));
select message_id from tidings.poll('app', 2);
select tidings.seek('app', to_id => :'start');
select * from at;
select refused($$ select tidings.ack('app', id('k')) $$);
select message_id from tidings.poll('app', 2);
select tidings.seek('app', tidings.gen_ulid());
select message_id from tidings.poll('app', 2);
select tidings.seek('app', '00000000000000000000000000'::tidings.ulid);
select position from tidings.consumer where name = 'app';
-- By time: with the first event stored at or after it.
select tidings.seek('app', id('j')::timestamptz);
select message_id from tidings.poll('app', 2);
select tidings.seek('app', id('j')::timestamptz + interval '999 microseconds');
select message_id from tidings.poll('app', 2);
select tidings.seek('app', id('j')::timestamptz + interval '1 millisecond');
select message_id from tidings.poll('app', 2);
select tidings.seek('app', at => '2016-07-30 23:54:10.259+00');
select position, tidings.ulid_at('2016-07-30 23:54:10.259+00') as at from tidings.consumer where name = 'app';
select tidings.seek('app', '2200-01-01'::timestamptz);
select message_id from tidings.poll('app', 2);
select tidings.seek('app', at => '1970-01-01 00:00:00+00');
select position is null as at_the_start from tidings.consumer where name = 'app';
select tidings.seek('app', at => '1969-12-31 00:00:00+00');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.seek('app', at => 'infinity');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.seek('app', null::tidings.ulid);
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.seek('app', null::timestamptz);
\echo SQLSTATE :LAST_ERROR_SQLSTATE

-- Bounded.
select tidings.poll('app', 0);
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.poll('app', null);
\echo SQLSTATE :LAST_ERROR_SQLSTATE
call store('y', 'z');
select tidings.seek('app', id('y'));
begin;
insert into tidings.event (id, event_id, source_id, provider, kind, provider_kind, message_id, occurred_at, received_at, payload)
select i.id, i.id, 0, 'test', 'other', 'many', 'x' || n, now(), now(), '{}'
from generate_series(1, 10004) n, lateral (select tidings.gen_ulid() as id where n > 0) i;
insert into tidings.log_head
select max(id), min(id), min(occurred_at), max(occurred_at), count(*) from tidings.event where provider_kind = 'many';
select count(*) from tidings.poll('app');
select count(*), tidings.ack('app', max(id)) from tidings.poll('app', 1000000);
select count(*) from tidings.poll('app', 1000000);
rollback;

-- While the session that polled lives, another gets nothing. This one is the server's own.
select message_id from tidings.poll('app');
update tidings.consumer c set polled_at = '2026-01-01', polled_by = a.pid, polled_session = a.backend_start
from pg_stat_activity a where a.backend_type = 'checkpointer' and c.name = 'app';
select refused($$ select tidings.poll('app') $$);
select refused($$ select tidings.ack('app', id('z')) $$);
\set VERBOSITY terse
select tidings.poll('app');
select tidings.ack('app', id('z'));
\set VERBOSITY default
-- A process with the same id, of an earlier session or of another cluster, is not that
-- session, be it another's or this one's.
update tidings.consumer set polled_session = '2026-01-01' where name = 'app';
select refused($$ select tidings.ack('app', id('z')) $$);
update tidings.consumer set polled_by = pg_backend_pid() where name = 'app';
select refused($$ select tidings.ack('app', id('z')) $$);
select message_id from tidings.poll('app');
select * from at;
-- When the session has ended, the next to poll gets what it left, and not before that
-- acknowledges it.
select pg_backend_pid() as before \gset
\c
\set SHOW_CONTEXT never
call await_end(:before);
select refused($$ select tidings.ack('app', id('z')) $$);
select message_id from tidings.poll('app');
select * from at;
select tidings.ack('app', id('z'));

-- A consumer that does not exist.
select tidings.poll('nope');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.poll(null);
select tidings.ack('nope', '01ARYZ6S41TSV4RRFFQ69G5FAV');
select tidings.seek('nope', to_id => '01ARYZ6S41TSV4RRFFQ69G5FAV');
select tidings.seek('nope', at => '2026-01-01');
select tidings.drop_consumer('nope');
\echo SQLSTATE :LAST_ERROR_SQLSTATE

-- However a caller's session reads backslashes. (A function is read once in a session.)
\c -
\set SHOW_CONTEXT never
set standard_conforming_strings = off;
set escape_string_warning = off;
select tidings.seek('app', at => '2026-01-01');
reset standard_conforming_strings;
reset escape_string_warning;
select position::timestamptz < '2026-01-01' as before from tidings.consumer where name = 'app';
select tidings.seek('app', tidings.gen_ulid());

-- With the right to poll and ack alone, a role follows the log: it reads no table.
create role regress_tidings_follower;
grant execute on function tidings.poll(text, int), tidings.ack(text, tidings.ulid) to regress_tidings_follower;
call store('last');
select id('last') as last \gset
set role regress_tidings_follower;
select message_id from tidings.poll('app');
select tidings.ack('app', :'last');
select * from tidings.consumer;
select tidings.seek('app', :'last'::tidings.ulid);
select tidings.create_consumer('mine');
select tidings.drop_consumer('app');
reset role;

select tidings.drop_consumer('app');
select tidings.poll('app');
drop owned by regress_tidings_follower;
drop role regress_tidings_follower;
drop view at;
drop table effect;
drop procedure store, await_end;
drop function id, refused;
select tidings.drop_source('sms');
