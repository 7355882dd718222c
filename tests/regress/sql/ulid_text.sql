-- Clients send ulids as text: as text, varchar, or a literal without a type. Every operator and
-- function that takes a ulid takes them, and nothing else changes its meaning.

\set SHOW_CONTEXT never
\set a '01ARYZ6S41TSV4RRFFQ69G5FAV'
\set b '7ZZZZZZZZZZZZZZZZZZZZZZZZZ'

-- Each operator, with each type on either side. A value is greater in the other case, too: the
-- comparison is one of ulids, and not of their text.
create function pg_temp.compared(op text, a_type text, b_type text) returns text language plpgsql as $$
declare
  quoted constant text := format('%s %s %s',
    format(case a_type when 'unknown' then '%L' else '%L::' || a_type end, lower('01ARYZ6S41TSV4RRFFQ69G5FAV')), op,
    format(case b_type when 'unknown' then '%L' else '%L::' || b_type end, '01ARYZ6S41TSV4RRFFQ69G5FAV'));
  result text;
begin
  execute 'select ' || quoted into result;
  return result;
exception when others then
  return sqlstate;
end
$$;
select a_type, b_type, string_agg(pg_temp.compared(op, a_type, b_type), ' ' order by n) as "= <> < <= > >="
from unnest(array['tidings.ulid', 'text', 'varchar', 'varchar(26)', 'unknown']) with ordinality a (a_type, i),
  unnest(array['tidings.ulid', 'text', 'varchar', 'varchar(26)', 'unknown']) with ordinality b (b_type, j),
  unnest(array['=', '<>', '<', '<=', '>', '>=']) with ordinality o (op, n)
where 'tidings.ulid' in (a_type, b_type)
group by a_type, b_type, i, j order by i, j;

-- Each function of the interface that takes a ulid: its statement is planned for each type of
-- parameter that a client may declare, and for one that it leaves to the server.
create function pg_temp.planned(function regprocedure, type text) returns text language plpgsql as $$
declare
  types constant text[] := (
    select array_agg(case when t = 'tidings.ulid'::regtype then coalesce(type, 'unknown') when t = 'anyelement'::regtype then 'text' else t::regtype::text end order by n)
    from pg_proc p, unnest(p.proargtypes::oid[]) with ordinality a (t, n) where p.oid = function);
begin
  execute format('prepare tried (%s) as select * from %s(%s)', array_to_string(types, ', '), function::regproc,
    (select string_agg('$' || n, ', ' order by n) from generate_subscripts(types, 1) n));
  deallocate tried;
  return 'planned';
exception when others then
  return sqlstate || ' ' || sqlerrm;
end
$$;
select p.oid::regprocedure as function, type, pg_temp.planned(p.oid, type) as result
from pg_proc p, unnest(array['tidings.ulid', 'text', 'varchar', 'unknown']) with ordinality t (type, n)
where p.pronamespace = 'tidings'::regnamespace and 'tidings.ulid'::regtype::oid = any (p.proargtypes)
  and p.prokind = 'f' and p.proname !~ '^(_|ulid_)'
order by p.oid::regprocedure::text collate "C", n;

-- Lists, ranges, joins, and what a client's ORM makes of them.
create temp table other (id text, short varchar(26));
insert into other values (:'a', :'a'), (:'b', :'b');
create temp table own (id tidings.ulid primary key);
insert into own select id::tidings.ulid from other;
select count(*) from own where id = any (array[:'a', :'b']::text[]);
select count(*) from own where id = any (array[:'a', :'b']::varchar[]);
select count(*) from own where id in (:'a'::text, :'b'::varchar);
select count(*) from own where id between :'a'::text and :'b'::varchar;
select count(*) from own join other on other.id = own.id;
-- As with uuid, USING wants one type.
select count(*) from own join other using (id);
select count(*) from own join other on other.short = own.id;
select count(*) from own where id in (select id from other);
insert into own select '01ARYZ6S41TSV4RRFFQ69G5FAW'::varchar on conflict do nothing;
update own set id = '01ARYZ6S41TSV4RRFFQ69G5FAX'::text where id = '01ARYZ6S41TSV4RRFFQ69G5FAW'::varchar;
insert into other select id, id from own where id = '01ARYZ6S41TSV4RRFFQ69G5FAX';
select id, pg_typeof(id), short from other order by id collate "C";
-- The index serves them.
set enable_seqscan = off;
explain (costs off) select * from own where id = '01ARYZ6S41TSV4RRFFQ69G5FAV'::text;
prepare by_varchar (varchar) as select * from own where id > $1 order by id limit 1;
set plan_cache_mode = force_generic_plan;
explain (costs off) execute by_varchar ('01ARYZ6S41TSV4RRFFQ69G5FAV');
reset plan_cache_mode;
reset enable_seqscan;

-- What is no ulid is an error that says so.
select count(*) from own where id = 'nope'::text;
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select count(*) from own where id = (select 'nope'::varchar);

-- Text is compared as text, where no ulid is.
select 'b'::varchar > 'a'::varchar as varchar, 'b'::text > 'a'::varchar as mixed, 'b'::bpchar > 'a'::varchar as padded,
  'b'::name > 'a'::varchar as name, 'b'::varchar > 'a' as literal, 'b'::varchar = any (array['a', 'b']) as list;
select pg_typeof(min(x)) as least, pg_typeof(max(x)) as greatest, max(x) from unnest(array['a', 'b']::varchar[]) x;
select max(x), pg_typeof(max(x)) from unnest(array['a', 'b']::text[]) x;
select pg_typeof(coalesce('a'::varchar, 'b')), pg_typeof(case when true then 'a'::text else 'b'::varchar end),
  pg_typeof(greatest('a'::varchar, 'b'::text)), 'a'::varchar || 'b' as joined, length('a'::varchar), upper('a'::varchar);
select count(distinct x), array_agg(x order by x desc) from unnest(array['a', 'b', 'a']::varchar[]) x;
select x from (select 'a'::varchar union select 'b'::text) y (x) order by x;
select '1'::text::int + 1 as number, '2026-01-01'::varchar::date = '2026-01-01' as date, 'a' like 'a%' as matches, 'a'::varchar like 'A' as not_this;
select :'a'::tidings.ulid || ' as text' as joined, format('%s', :'a'::tidings.ulid), concat(:'a'::tidings.ulid, '!');
