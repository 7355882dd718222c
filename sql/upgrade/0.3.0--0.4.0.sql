-- ALTER EXTENSION tidings UPDATE from 0.3.0: leases of streams.

-- As at CREATE EXTENSION, where it is the schema that must be one's own.
do $$
declare
  owner constant regrole := (select e.extowner from pg_catalog.pg_extension e where e.extname = 'tidings');
  is_superuser constant boolean := (select r.rolsuper from pg_catalog.pg_roles r where r.oid = owner);
begin
  if owner <> (select r.oid from pg_catalog.pg_roles r where r.rolname = current_user) then
    raise exception using
      errcode = 'insufficient_privilege',
      message = pg_catalog.format('extension tidings belongs to role %s', owner),
      detail = 'What the update makes would belong to you, and run with your rights rather than its owner''s.',
      hint = pg_catalog.format(
        case when is_superuser then 'First run SET ROLE %1$s.'
          else 'First run ALTER ROLE %1$s SUPERUSER and SET ROLE %1$s; afterwards ALTER ROLE %1$s NOSUPERUSER.' end,
        owner);
  end if;
end
$$;

-- The key is the secret no longer, but its digest. The old key stays until then: without
-- one, no row of a table that somebody publishes can be updated.
alter table source_secret add column digest bytea;
-- take _digest_secret from source.sql
create trigger digest before insert or update on source_secret
  for each row execute function _digest_secret();
alter table source_secret enable always trigger digest;
update source_secret set digest = null;
alter table source_secret
  drop constraint source_secret_pkey,
  alter column digest set not null,
  add primary key (source_id, kind, digest);

-- include lease.sql
-- take _notify_source from source.sql
-- take rotate_secret from source.sql
-- take drop_source from source.sql
-- take report_stream from stream.sql
-- take stream_status from stream.sql
-- take _raise_enabled from stream.sql
-- take set_stream_cursor from stream.sql
-- replace ingest.sql
-- take seek from consumer.sql
-- take _partitions from partition.sql
-- take _build_partition from partition.sql
-- take _json_pattern from rejected.sql
-- take _require_role from grants.sql
-- take grant_reader from grants.sql
-- take grant_worker from grants.sql
-- comments ulid.sql
-- comments source.sql
-- comments receipt.sql
-- comments stream.sql
-- comments partition.sql
-- comments grants.sql
revoke all on function _digest_secret(), _raise_enabled(text) from public;

-- The updates to 0.2.0 and 0.3.0 took the rights on all functions in the schema, and on
-- itself, as they were then for initial ones, which a dump leaves out, and does not forget
-- when a role is dropped. What is initial is what a new installation gives; a function that
-- no extension owns has nothing of the kind.
with touched as (
  select 'pg_catalog.pg_proc'::regclass as classid, p.oid as objid, p.proowner as owner, d.refobjid as extension,
    case
      when p.proname ~ '^(ulid_|gen_ulid$|hmac_sha1$|verify_hmac_sha1$)'
        or p.proname in ('normalize', '_normalize', '_raise_malformed', 'providers', '_is_dialed')
      then pg_catalog.acldefault('f', p.proowner)  -- also PUBLIC's
      else array[pg_catalog.makeaclitem(p.proowner, p.proowner, 'EXECUTE', false)]
    end as initial
  from pg_catalog.pg_proc p
  left join pg_catalog.pg_depend d on d.deptype = 'e' and d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid
  where p.pronamespace = 'tidings'::regnamespace
  union all
  select 'pg_catalog.pg_namespace'::regclass, n.oid, n.nspowner, e.oid,
    pg_catalog.acldefault('n', n.nspowner) || pg_catalog.makeaclitem(0, n.nspowner, 'USAGE', false)
  from pg_catalog.pg_namespace n, pg_catalog.pg_extension e
  where n.oid = 'tidings'::regnamespace and e.extname = 'tidings'
),
mended as (
  update pg_catalog.pg_init_privs i
  set initprivs = t.initial
  from touched t
  where i.classoid = t.classid and i.objoid = t.objid
    and t.extension = (select e.oid from pg_catalog.pg_extension e where e.extname = 'tidings')
  returning i.classoid, i.objoid, t.owner
),
removed as (
  delete from pg_catalog.pg_init_privs i
  using touched t
  where i.classoid = t.classid and i.objoid = t.objid and t.extension is null
  returning i.classoid, i.objoid, null::oid
)
-- Since Postgres 17 there is a note too of each role that has an initial right, and so must
-- not be dropped: now the owner's alone.
delete from pg_catalog.pg_shdepend s
using (select * from mended union all select * from removed) i
where s.deptype = 'i'
  and s.dbid = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
  and s.classid = i.classoid and s.objid = i.objoid and s.refobjid is distinct from i.owner;
