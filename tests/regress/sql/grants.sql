-- Who may do what: least privilege.

\set SHOW_CONTEXT never
create role regress_tidings_reader;
create role regress_tidings_worker;
create role regress_tidings_nobody;
select tidings.add_source('sms', 'arpoone', 't0ken') is not null and tidings.add_source('chat', 'ppoppo', 'jwt') is not null as added;
\set state '''[{"MessageId": "m", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T11:34:56Z"}]'''

-- PUBLIC has the type and the pure functions, and nothing else.
select p.oid::regprocedure as open_to_public
from pg_proc p
where p.pronamespace = 'tidings'::regnamespace
  and exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee = 0 and a.privilege_type = 'EXECUTE')
order by p.proname, p.oid::regprocedure::text;
select c.relname
from pg_class c
where c.relnamespace = 'tidings'::regnamespace
  and exists (select from aclexplode(c.relacl) a where a.grantee = 0);
-- None of those that PUBLIC has is anything but a computation.
select p.oid::regprocedure as neither_pure_nor_new_id
from pg_proc p
where p.pronamespace = 'tidings'::regnamespace and has_function_privilege('regress_tidings_nobody', p.oid, 'execute')
  and (p.provolatile <> 'i' or p.prosecdef) and p.proname <> 'gen_ulid';

set role regress_tidings_nobody;
select '01ARYZ6S41TSV4RRFFQ69G5FAV'::tidings.ulid < tidings.gen_ulid() as pure;
select count(*) from tidings.normalize('arpoone', :state::bytea);
select count(*) from tidings.normalize('arpoone', :state::jsonb);
select tidings.verify_hmac_sha1('a', 'b', encode(tidings.hmac_sha1('a', 'b'), 'hex')) as signed;
select id, event_id from tidings.event;
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select * from tidings.event_default;
select * from tidings.source;
select * from tidings.source_secret;
select * from tidings.rejected;
select * from tidings.stream;
select * from tidings._policy;
select tidings.events_after();
select tidings.ingest('sms', :state, '{"url-token": "t0ken"}');
select tidings.ingest_batch('{}', '{}', '{}');
select tidings.verify('sms', '', '{}');
select tidings.find_source('arpoone', '{}');
select tidings.stream_secret('chat');
select tidings.stream_cursor('chat');
select tidings.add_source('x', 'arpoone');
select tidings.grant_worker('regress_tidings_nobody');
select tidings._log_begin();
create table tidings.mine ();
reset role;

-- A worker ingests and verifies. It reads the sources, and of the secrets only the tokens
-- with which it dials.
select tidings.grant_worker('regress_tidings_worker');
set role regress_tidings_worker;
select verdict, inserted from tidings.ingest('sms', :state, '{"url-token": "t0ken"}');
select verdict, duplicate from tidings.ingest_batch('{sms}', array[:state]::bytea[], array['{"url-token": "t0ken"}']::jsonb[]);
select tidings.verify('sms', '', '{"url-token": "t0ken"}'), tidings.find_source('arpoone', '{"url-token": "t0ken"}');
select name, provider from tidings.source order by id;
select tidings.stream_secret('chat') as chat, tidings.stream_secret('sms') as sms, tidings.stream_cursor('chat') as cursor;
select source, epoch is not null as held from tidings.hold_streams('aaaaaaaa-0000-4000-8000-000000000000', 'host 1', '{chat}', '10 s');
select tidings.release_streams('aaaaaaaa-0000-4000-8000-000000000000');
select tidings.report_gap('chat', 'cursor_expired') as gap \gset
select tidings.report_refusal('sms', now(), 'answered 413 (too_large)', '{}', '', 100);
select * from tidings.request_finals('chat', 'q'), tidings.requests_to_reconcile('chat');
select cause, tidings.close_gap(id) as closed from tidings.gap where id = :gap;
delete from tidings.gap;
select * from tidings.stream_lease;
update tidings.stream_lease set epoch = 1;
-- By this it keeps headers out of the server's log.
select has_parameter_privilege('log_parameter_max_length', 'set') as may_set;
listen tidings_source;
unlisten tidings_source;
select * from tidings.source_secret;
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select id, event_id from tidings.event;
select * from tidings.event_default;
select * from tidings.rejected;
select * from tidings.stream;
select * from tidings._policy;
select tidings.events_after();
insert into tidings.event_default default values;
update tidings.source set enabled = true;
delete from tidings.rejected;
select tidings.add_source('x', 'arpoone');
select tidings.rotate_secret('sms', 'x');
select tidings.set_source_enabled('sms', false);
select tidings.drop_source('sms');
select tidings.grant_reader('regress_tidings_worker');
select tidings._trim_rejected(1, 'item');
select tidings._log_next();
reset role;

-- A reader queries events and sources, and follows the log. It sees no secret, and
-- nothing of what was rejected.
select tidings.grant_reader('regress_tidings_reader');
do $$ declare this tidings.ulid := tidings.ulid_at(clock_timestamp()); begin
  while tidings.ulid_at(clock_timestamp()) <= this loop end loop; end $$;
set role regress_tidings_reader;
select e.kind, e.message_id, s.name from tidings.event e join tidings.source s on s.id = e.source_id where s.name = 'sms';
select kind, message_id from tidings.events_after(null, 10, 'sms');
select cause, closed_by from tidings.gap where source = 'chat';
select tidings.close_gap(1);
select tidings.stream_cursor('chat'), (select count(*) from tidings.stream t join tidings.source s on s.id = t.source_id where s.name = 'chat');
select * from tidings.source_secret;
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select * from tidings.rejected;
select * from tidings._policy;
select tidings.stream_secret('chat');
select tidings.verify('sms', '', '{}');
select tidings.find_source('arpoone', '{}');
select tidings.ingest('sms', :state, '{"url-token": "t0ken"}');
insert into tidings.event_default default values;
update tidings.event set kind = 'other';
delete from tidings.event;
truncate tidings.event;
select tidings.add_source('x', 'arpoone');
select tidings.drop_source('sms');
reset role;

-- A name that needs quotes is one role, and no SQL.
create role "regress_tidings; drop table tidings.event";
select tidings.grant_reader('"regress_tidings; drop table tidings.event"');
select has_table_privilege('regress_tidings; drop table tidings.event', 'tidings.event', 'select') as granted;
select tidings.grant_reader('regress_tidings_absent');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.grant_worker(null);
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.grant_worker('4294967295');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.grant_reader(0::regrole);
\echo SQLSTATE :LAST_ERROR_SQLSTATE

-- Nothing that a caller puts in front shadows what runs with the owner's rights.
grant create on database :"DBNAME" to regress_tidings_worker;
set role regress_tidings_worker;
create schema regress_tidings_trap;
create function regress_tidings_trap.clock_timestamp() returns timestamptz language plpgsql as $$ begin raise 'trapped'; end $$;
create function regress_tidings_trap.now() returns timestamptz language plpgsql as $$ begin raise 'trapped'; end $$;
create function regress_tidings_trap.count() returns bigint language plpgsql as $$ begin raise 'trapped'; end $$;
create temp table source (id int, name text, provider text, options jsonb, enabled boolean);
create temp table event (id tidings.ulid);
set search_path to regress_tidings_trap, pg_temp, tidings, pg_catalog;
select verdict, duplicate from tidings.ingest('sms', :state, '{"url-token": "t0ken"}');
select tidings.verify('sms', '', '{"url-token": "t0ken"}');
reset search_path;
drop table source, event;
set client_min_messages to warning;
drop schema regress_tidings_trap cascade;
reset client_min_messages;
reset role;

select tidings.drop_source('sms'), tidings.drop_source('chat');
drop owned by regress_tidings_reader, regress_tidings_worker, "regress_tidings; drop table tidings.event";
drop role regress_tidings_reader, regress_tidings_worker, regress_tidings_nobody, "regress_tidings; drop table tidings.event";
