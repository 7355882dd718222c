-- tidings.ulid in tables: indexes, joins, sorts, COPY. The planner may use all that it
-- uses for uuid.

\set SHOW_CONTEXT never

-- One id for each millisecond of five seconds, in no order.
create temp table t as
select tidings.ulid_at('2026-01-01Z'::timestamptz + n * interval '1 ms') as id, n
from generate_series(1, 5000) n
order by md5(n::text);
analyze t;

create function pg_temp.plan(query text) returns setof text language plpgsql as
$$ begin return query execute 'explain (costs off) ' || query; end $$;

set enable_seqscan to off;

-- btree: equality, ranges, order, min and max
create unique index t_btree on t (id);
select pg_temp.plan($$ select n from t where id = tidings.ulid_at('2026-01-01 00:00:00.042Z') $$);
select n from t where id = tidings.ulid_at('2026-01-01 00:00:00.042Z');
set enable_bitmapscan to off;
select pg_temp.plan($$ select n from t where id > '01KDVDNC0X0000000000000000' order by id limit 3 $$);
select id, n from t where id > '01KDVDNC0X0000000000000000' order by id limit 3;
select pg_temp.plan($$ select id from t order by id desc limit 1 $$);
select min(id), max(id) from t;
select count(*) from t where id >= tidings.ulid_at('2026-01-01 00:00:01Z') and id < tidings.ulid_at('2026-01-01 00:00:02Z');
select count(*) from t where id = any ('{01KDVDNA0A0000000000000000,01KDVDNA0B0000000000000000,00000000000000000000000000}');
insert into t select id, 0 from t where n = 7;
reset enable_bitmapscan;
drop index t_btree;

-- btree may fold equal values into one: they are equal in every byte
select proname from pg_amproc a join pg_proc p on p.oid = a.amproc
where a.amproclefttype = 'tidings.ulid'::regtype and a.amprocnum = 4
  and a.amprocfamily = (select opcfamily from pg_opclass c join pg_am m on m.oid = c.opcmethod and m.amname = 'btree'
                        where c.opcintype = 'tidings.ulid'::regtype);

-- hash: equality
create index t_hash on t using hash (id);
select pg_temp.plan($$ select n from t where id = tidings.ulid_at('2026-01-01 00:00:00.042Z') $$);
select n from t where id = tidings.ulid_at('2026-01-01 00:00:00.042Z');
drop index t_hash;

-- BRIN: ranges, where rows lie in the order of time
create temp table log as select id, n from t order by id;
analyze log;
create index log_brin on log using brin (id) with (pages_per_range = 1);
select pg_temp.plan($$ select count(*) from log where id < tidings.ulid_at('2026-01-01 00:00:00.1Z') $$);
select count(*) from log where id < tidings.ulid_at('2026-01-01 00:00:00.1Z');
reset enable_seqscan;

-- joins
set enable_nestloop to off;
set enable_mergejoin to off;
select pg_temp.plan('select count(*) from t join log using (id)');
select count(*) from t join log using (id);
reset enable_mergejoin;
set enable_hashjoin to off;
select pg_temp.plan('select count(*) from t join log using (id)');
select count(*) from t join log using (id);
reset enable_hashjoin;
reset enable_nestloop;

-- sorting and grouping
select bool_and(n > before) as sorted, count(*)
from (select n, lag(n) over (order by id) as before from t) s;
set enable_sort to off;
select pg_temp.plan('select id from t group by id');
select count(*) from (select id from t group by id) g;
reset enable_sort;

-- hash partitions
create temp table parted (id tidings.ulid primary key) partition by hash (id);
create temp table parted_0 partition of parted for values with (modulus 2, remainder 0);
create temp table parted_1 partition of parted for values with (modulus 2, remainder 1);
insert into parted select id from t;
select count(*), count(*) filter (where tableoid = 'parted_0'::regclass) between 2000 and 3000 as balanced from parted;

-- COPY, as text and as binary
\copy (select id, n from t) to 'results/ulid_index.txt'
\copy (select id, n from t) to 'results/ulid_index.bin' with (format binary)
create temp table back (like t);
\copy back from 'results/ulid_index.txt'
\copy back from 'results/ulid_index.bin' with (format binary)
select count(*), count(distinct id) from back join t using (id, n);
-- The binary form is that of uuid.
create temp table as_uuid (id uuid, n int);
\copy as_uuid from 'results/ulid_index.bin' with (format binary)
select count(*) from as_uuid u join t on t.id::uuid = u.id;
\! rm results/ulid_index.txt results/ulid_index.bin
