-- ALTER EXTENSION tidings UPDATE from 0.4.0.

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
