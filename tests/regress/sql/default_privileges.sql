-- Rights by default: a role that is granted rights in all new objects, as for reports, gets none
-- in those of the extension; and whoever may read all data reads no secret.

\set SHOW_CONTEXT never
create role regress_tidings_report;
create role regress_tidings_auditor in role pg_read_all_data;
\set before :DBNAME
create database regress_tidings_defaults;
\c regress_tidings_defaults
alter default privileges grant select on tables to regress_tidings_report;
alter default privileges grant all on sequences to regress_tidings_report;
alter default privileges grant execute on functions to regress_tidings_report;
-- The schema may be there before, with objects of one's own.
create schema tidings;
create function tidings.own() returns int language sql as 'select 1';
create extension tidings;
select tidings.add_source('sms', 'arpoone', 's3cret') is not null and tidings.add_source('push', 'pushpushgo', 'project', '{"url_token": "t0ken"}') is not null as added;
select verdict from tidings.ingest('sms', '[]', '{"url-token": "s3cre"}');

-- Nobody but the owner has a right, and PUBLIC has the pure functions.
select c.relname, a.grantee::regrole, a.privilege_type
from pg_class c cross join lateral aclexplode(c.relacl) a
where c.relnamespace = 'tidings'::regnamespace and a.grantee <> c.relowner;
select p.oid::regprocedure, a.grantee::regrole
from pg_proc p cross join lateral aclexplode(p.proacl) a
where p.pronamespace = 'tidings'::regnamespace and a.grantee not in (p.proowner, 0);
select has_function_privilege('regress_tidings_auditor', 'tidings.own()', 'execute') as own_is_untouched;
set role regress_tidings_report;
select count(*) from tidings.source_secret;
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select count(*) from tidings._policy;
select count(*) from tidings.rejected;
select count(*) from tidings.event;
select nextval('tidings.source_id_seq');
select tidings.rotate_secret('sms', 'x');
select '01ARYZ6S41TSV4RRFFQ69G5FAV'::tidings.ulid < tidings.gen_ulid() as pure;
reset role;
-- Nor has anybody one in a new partition.
select count(*) > 0 as made from tidings.maintain();
select c.relname, a.grantee::regrole, a.privilege_type
from pg_class c cross join lateral aclexplode(c.relacl) a
where c.relnamespace = 'tidings'::regnamespace and a.grantee <> c.relowner;

-- A member of pg_read_all_data reads events and sources, and no secret.
set role regress_tidings_auditor;
select name from tidings.source order by id;
select count(*) from tidings.source_secret;
select count(*) from tidings.rejected;
select name, secrets, url_tokens from tidings._policy order by name;
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select name, secrets, url_tokens, accepts from tidings.source_policy order by name;
select tidings.webhook_paths('sms');
reset role;

-- Everything goes on for the owner, and for the functions that run with its rights.
select count(*) from tidings.source_secret;
select tidings.webhook_paths('sms');
select count(*) from tidings.rejected;
select tidings.rotate_secret('sms', 'n3w', '0');
select verdict, rejected from tidings.replay_rejected();
select verdict from tidings.ingest('sms', '[]', '{"url-token": "n3w"}');

-- What a reader is granted, a reader has.
select tidings.grant_reader('regress_tidings_report');
set role regress_tidings_report;
select count(*) from tidings.event;
select name from tidings.source_policy order by name;
select count(*) from tidings.source_secret;
reset role;

\c :before
drop database regress_tidings_defaults;
drop role regress_tidings_report, regress_tidings_auditor;
