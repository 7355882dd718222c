-- tidings.maintain(): upkeep at the time of the clock, whatever that is. In a database of
-- its own. Calls whose answers depend on each other share a transaction, and so a time: a
-- week may end between two transactions.

\set SHOW_CONTEXT never
\set database :DBNAME
create database regress_tidings_maintain_now;
\c regress_tidings_maintain_now
\set SHOW_CONTEXT never
create extension tidings;

-- The partition of this week and those ahead, without a gap; then nothing is left to do.
begin;
select action, count(*) from tidings.maintain() group by 1;
select count(*), min(starts_at) = date_trunc('week', now(), 'UTC') as from_this_week,
  max(ends_at) = date_trunc('week', now(), 'UTC') + 5 * interval '168 hours' as for_five_weeks,
  range_agg(tstzrange(starts_at, ends_at)) = tstzmultirange(tstzrange(min(starts_at), max(ends_at))) as without_a_gap
from tidings._partitions();
select * from tidings.maintain();
-- Next year there is more to do, and what is older than is to be kept goes.
update tidings.retention set keep_events = '30 days';
select action, count(*) from tidings._maintain(now() + interval '365 days') group by 1 order by 1;
rollback;

-- It fails loudly.
begin isolation level repeatable read;
select * from tidings.maintain();
\echo SQLSTATE :LAST_ERROR_SQLSTATE
rollback;
delete from tidings.retention;
select * from tidings.maintain();
\echo SQLSTATE :LAST_ERROR_SQLSTATE
insert into tidings.retention default values;
-- Its own settings do not outlive it.
set timezone to 'America/Sao_Paulo';
set lock_timeout = '7s';
begin;
select count(*) > 0 as done from tidings.maintain();
show lock_timeout;
show timezone;
rollback;
reset lock_timeout;

-- Whoever may call it needs no other right; the partitions are the owner's.
create role regress_tidings_upkeep;
grant usage on schema tidings to regress_tidings_upkeep;
set role regress_tidings_upkeep;
select * from tidings.maintain();
reset role;
grant execute on function tidings.maintain() to regress_tidings_upkeep;
set role regress_tidings_upkeep;
select action, count(*) from tidings.maintain() group by 1;
select * from tidings._maintain('2100-01-01');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
reset role;
select count(*) from pg_class c join pg_inherits i on i.inhrelid = c.oid where c.relowner = 'regress_tidings_upkeep'::regrole;

-- They lie where the default partition does, and not where the caller likes, who may have no
-- right to it.
set allow_in_place_tablespaces = on;
create tablespace regress_tidings_here location '';
create tablespace regress_tidings_there location '';
create access method regress_tidings_heap type table handler heap_tableam_handler;
begin;
do $$ begin perform tidings.maintain(); end $$;
update tidings.retention set partitions_ahead = 5;
set local role regress_tidings_upkeep;
set local default_tablespace = regress_tidings_there;
set local default_table_access_method = regress_tidings_heap;
select action, count(*) from tidings.maintain() group by 1;
reset role;
alter table tidings.event_default set tablespace regress_tidings_here;
update tidings.retention set partitions_ahead = 6;
select action, count(*) from tidings.maintain() group by 1;
commit;
select coalesce(t.spcname, 'the default') as tablespace, a.amname, coalesce(x.spcname, 'the default') as of_indexes, count(distinct c.oid) > 1 as partitions
from pg_class c join pg_inherits p on p.inhrelid = c.oid
join pg_am a on a.oid = c.relam
join pg_index k on k.indrelid = c.oid join pg_class i on i.oid = k.indexrelid
left join pg_tablespace t on t.oid = c.reltablespace
left join pg_tablespace x on x.oid = i.reltablespace
group by 1, 2, 3 order by 1;
-- However a caller's session reads backslashes. (A function is read once in a session.)
\c -
\set SHOW_CONTEXT never
set standard_conforming_strings = off;
set escape_string_warning = off;
select count(*) filter (where action <> 'created') from tidings.maintain();
select count(*) from tidings._partitions() where not isfinite(starts_at);
reset standard_conforming_strings;
reset escape_string_warning;

\c :database
drop database regress_tidings_maintain_now;
drop tablespace regress_tidings_here;
drop tablespace regress_tidings_there;
drop role regress_tidings_upkeep;
