-- What CREATE EXTENSION makes. Every other test needs this one, and no other.

\set SHOW_CONTEXT never

create extension tidings;

-- It lives in its own schema, and cannot be moved out of it.
select extname, nspname, extrelocatable
from pg_extension join pg_namespace n on n.oid = extnamespace
where extname = 'tidings';
alter extension tidings set schema public;

-- Every object has a comment.
with owned as (
  select d.classid, d.objid, a.*
  from pg_depend d
  join pg_extension e on e.oid = d.refobjid and e.extname = 'tidings'
  cross join lateral pg_identify_object(d.classid, d.objid, 0) a
  where d.refclassid = 'pg_extension'::regclass and d.deptype = 'e'
)
select type, identity
from owned
where type <> 'composite type array'
  and not (type = 'type' and exists ( -- arrays, and the row types of tables and views
    select from pg_type t left join pg_class c on c.oid = t.typrelid
    where t.oid = owned.objid and (t.typcategory = 'A' or c.relkind <> 'c')))
  and coalesce(obj_description(objid, (classid::regclass)::name), '') = ''
order by type, identity collate "C";

-- So has every column.
select c.relname, a.attname
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
where c.relnamespace = 'tidings'::regnamespace and c.relkind in ('r', 'p', 'c', 'v')
  and not c.relispartition and not (c.relkind = 'c' and c.relname like '\_%')
  and col_description(c.oid, a.attnum) is null
order by c.relname collate "C", a.attnum;

-- Names that begin with an underscore are the extension's own, and are called internal.
-- The rest is the interface; ulid_* functions stand behind its operators and casts.
select p.oid::regprocedure as interface
from pg_proc p
where p.pronamespace = 'tidings'::regnamespace and obj_description(p.oid, 'pg_proc') !~ '^Internal: '
order by p.proname collate "C", p.oid::regprocedure::text collate "C";
select p.oid::regprocedure
from pg_proc p
where p.pronamespace = 'tidings'::regnamespace
  and (p.proname like '\_%') and obj_description(p.oid, 'pg_proc') !~ '^Internal: ';

select c.relkind, c.relname
from pg_class c
where c.relnamespace = 'tidings'::regnamespace and c.relkind in ('r', 'p', 'v', 'S')
order by c.relkind, c.relname collate "C";

-- Functions that act with the owner's rights, and those that may be shadowed by a
-- caller's search_path: none of the first without a fixed search_path, and of the second
-- only what is inlined where the path is fixed.
select p.oid::regprocedure as security_definer,
  coalesce(p.proconfig::text ~ 'search_path=pg_catalog, tidings, pg_temp', false) as fixed_search_path
from pg_proc p
where p.pronamespace = 'tidings'::regnamespace and p.prosecdef
order by p.oid::regprocedure::text collate "C";
select p.oid::regprocedure as open_to_search_path
from pg_proc p join pg_language l on l.oid = p.prolang
where p.pronamespace = 'tidings'::regnamespace and l.lanname in ('sql', 'plpgsql')
  and coalesce(p.proconfig::text !~ 'search_path', true);

-- What is written with backslashes says how they are read: a caller may have it otherwise.
select p.oid::regprocedure as reads_backslashes, coalesce(p.proconfig::text ~ 'standard_conforming_strings=on', false) as as_written
from pg_proc p join pg_language l on l.oid = p.prolang
where p.pronamespace = 'tidings'::regnamespace and l.lanname in ('sql', 'plpgsql') and p.prosrc ~ '\\'
order by p.oid::regprocedure::text collate "C";

-- What reads the log is volatile: only then each of its statements has a snapshot of its
-- own, the second one newer than the locks that the first one saw.
select p.oid::regprocedure as reads_the_log, p.provolatile
from pg_proc p
where p.pronamespace = 'tidings'::regnamespace and p.proname in ('events_after', '_log_end', 'log_end', 'log_horizon', 'tick', 'read_log', '_require_log_access', 'ingest', 'ingest_batch')
order by p.oid::regprocedure::text collate "C";

-- What a dump carries: all that is data.
select c.oid::regclass as dumped
from pg_extension e cross join unnest(e.extconfig) c (oid)
where e.extname = 'tidings'
order by c.oid::regclass::text collate "C";

-- The parent of the events carries no index, or a dump could not be restored.
select count(*) from pg_index where indrelid = 'tidings.event'::regclass;

-- The type is laid out as uuid.
select typlen, typbyval, typalign, typstorage, typcategory, typispreferred
from pg_type where oid = 'tidings.ulid'::regtype;

-- Its operator classes are complete.
select amname, opcname, opcdefault, amvalidate(c.oid)
from pg_opclass c join pg_am m on m.oid = c.opcmethod
where c.opcintype = 'tidings.ulid'::regtype
order by amname;

-- Its operators know each other.
select oprname, oprcom = 0 as lacks_commutator, oprnegate = 0 as lacks_negator, oprcanmerge, oprcanhash
from pg_operator where oprleft = 'tidings.ulid'::regtype
order by oprname collate "C";

-- No cast is implicit, so that no comparison picks one by itself.
select castsource::regtype, casttarget::regtype, castcontext
from pg_cast
where 'tidings.ulid'::regtype in (castsource, casttarget)
order by castsource::regtype::text collate "C", casttarget::regtype::text collate "C";

-- Another database encoding than UTF8 is refused.
\set database :DBNAME
create database regress_tidings_latin1 template template0 encoding 'LATIN1' lc_collate 'C' lc_ctype 'C';
\c regress_tidings_latin1
\set SHOW_CONTEXT never
create extension tidings;
\echo SQLSTATE :LAST_ERROR_SQLSTATE
\c :database
drop database regress_tidings_latin1;
