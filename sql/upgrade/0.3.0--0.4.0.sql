-- ALTER EXTENSION tidings UPDATE from 0.3.0: leases of streams.

-- As at CREATE EXTENSION, where it is the schema that must be one's own.
do $$
declare
  owner constant regrole := (select e.extowner from pg_catalog.pg_extension e where e.extname = 'tidings');
begin
  if owner <> (select r.oid from pg_catalog.pg_roles r where r.rolname = current_user) then
    raise exception using
      errcode = 'insufficient_privilege',
      message = pg_catalog.format('extension tidings belongs to role %s', owner),
      detail = 'What the update makes would belong to you, and run with your rights rather than its owner''s.',
      hint = pg_catalog.format('First run SET ROLE %s.', owner);
  end if;
end
$$;

-- The key is the secret no longer, but its digest.
alter table source_secret drop constraint source_secret_pkey, add column digest bytea;
-- take _digest_secret from source.sql
create trigger digest before insert or update on source_secret
  for each row execute function _digest_secret();
update source_secret set digest = null;
alter table source_secret alter column digest set not null, add primary key (source_id, kind, digest);

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

-- The updates to 0.2.0 and 0.3.0 took the rights that roles had been granted for initial
-- ones, which a dump leaves out, and does not forget when such a role is dropped. What is
-- initial is the owner's and PUBLIC's.
with ours as (
  select d.classid, d.objid
  from pg_catalog.pg_depend d
  where d.deptype = 'e' and d.refclassid = 'pg_catalog.pg_extension'::regclass
    and d.refobjid = (select e.oid from pg_catalog.pg_extension e where e.extname = 'tidings')
  union all
  select 'pg_catalog.pg_namespace'::regclass, 'tidings'::regnamespace
),
initial as (
  update pg_catalog.pg_init_privs i
  set initprivs = array(
    select a.item
    from pg_catalog.unnest(i.initprivs) with ordinality a (item, n)
    where (select pg_catalog.bool_and(e.grantee in (0, e.grantor)) from pg_catalog.aclexplode(array[a.item]) e)
    order by a.n)
  from ours o
  where i.classoid = o.classid and i.objoid = o.objid
  returning i.*
)
-- Since Postgres 17 there is a note too that such a role must not be dropped.
delete from pg_catalog.pg_shdepend s
using initial i
where s.deptype = 'i'
  and s.dbid = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
  and s.classid = i.classoid and s.objid = i.objoid and s.objsubid = i.objsubid
  and not exists (select from pg_catalog.aclexplode(i.initprivs) e where s.refobjid in (e.grantee, e.grantor));
