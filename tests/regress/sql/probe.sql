\set SHOW_CONTEXT never
-- probe_ingest does what ingest needs of the server, and stores nothing.
select tidings.probe_ingest();
select count(*) as stored from tidings.log_head where last_id = '00000000000000000000000000';
-- It may share a transaction.
begin;
select tidings.probe_ingest(), tidings.probe_ingest();
commit;

-- What ingest would be refused, it is refused.
begin read only;
select tidings.probe_ingest();
\echo SQLSTATE :LAST_ERROR_SQLSTATE
rollback;
begin isolation level repeatable read;
select tidings.probe_ingest();
\echo SQLSTATE :LAST_ERROR_SQLSTATE
rollback;

-- It is the worker's.
create role regress_tidings_probe;
set role regress_tidings_probe;
select tidings.probe_ingest();
\echo SQLSTATE :LAST_ERROR_SQLSTATE
reset role;
select tidings.grant_worker('regress_tidings_probe');
set role regress_tidings_probe;
select tidings.probe_ingest();
reset role;
drop owned by regress_tidings_probe;
drop role regress_tidings_probe;
