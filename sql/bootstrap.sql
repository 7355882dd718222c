-- Checks before anything is created.

do $$
begin
  if current_setting('server_encoding') <> 'UTF8' then
    raise exception using
      errcode = 'feature_not_supported',
      message = format('tidings needs a database with encoding UTF8, not %s', current_setting('server_encoding')),
      hint = 'Create the database with ENCODING ''UTF8''.';
  end if;
  if (select nspowner from pg_catalog.pg_namespace where nspname = 'tidings')
     <> (select oid from pg_catalog.pg_roles where rolname = current_user) then
    raise exception using
      errcode = 'insufficient_privilege',
      message = 'schema tidings exists and belongs to another role',
      hint = 'Drop the schema, or create the extension as the owner of the schema, because functions of the extension run with your rights and trust the objects in it.';
  end if;
end
$$;
