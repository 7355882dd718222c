-- Privileges. PUBLIC can use the type and the pure functions, and nothing else.
--
-- The end of this file is only for an installation. In an update it would turn all rights
-- that roles were granted into initial rights, which a dump leaves out. An update takes
-- functions from this file, and revokes new ones from PUBLIC by name.

create function _require_role(role regrole)
  returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  if role is null then
    raise exception using
      errcode = 'null_value_not_allowed', message = 'the role is null', hint = 'Pass the name of a role.';
  end if;
  if not exists (select from pg_roles r where r.oid = role) then
    raise exception using
      errcode = 'undefined_object',
      message = format('role with OID %s does not exist', role::oid),
      hint = 'Pass the name of a role; SELECT rolname FROM pg_roles lists them.';
  end if;
end
$$;
comment on function _require_role(regrole) is 'Internal: checks a role. SQLSTATE 22004 for null, 42704 if there is no such role.';

create function grant_reader(role regrole)
  returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  perform tidings._require_role(role);
  execute format('grant usage on schema tidings to %s', role);
  execute format(
    'grant select on tidings.source, tidings.event, tidings.event_default, tidings.stream,'
    ' tidings.message, tidings.consent, tidings.subscriber, tidings.request_summary, tidings.request,'
    ' tidings.consumer, tidings.lag, tidings.log_head, tidings.gap, tidings.retention, tidings.source_policy, tidings.stream_status to %s', role);
  execute format(
    'grant execute on function tidings.events_after(tidings.ulid, int, text, text[]),'
    ' tidings.read_log(tidings.ulid, int, text, text[]), tidings.log_end(), tidings.log_horizon(), tidings.wake(),'
    ' tidings.stream_cursor(text), tidings._source(text), tidings._require_log_access(),'
    ' tidings.find_messages(text), tidings.message_events(tidings.message), tidings.request_events(text), tidings.recipient_events(text), tidings._lookup(text, text),'
    ' tidings._count(text), tidings._log_holder(), tidings._log_tail(), tidings._unacknowledged(tidings.ulid),'
    ' tidings.poll(text, int), tidings.ack(text, tidings.ulid) to %s', role);
end
$$;
comment on function grant_reader(regrole) is
  'Allows a role to query events, state, sources and lag, and to follow the log, also with existing consumers; it cannot create, move or drop consumers. The role sees the state of sources and streams, but no secret and no row of tidings.rejected.';

create function grant_worker(role regrole)
  returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  perform tidings._require_role(role);
  execute format('grant usage on schema tidings to %s', role);
  execute format('grant select on tidings.source, tidings.former_name, tidings.source_schema, tidings.source_policy, tidings.stream_status, tidings.gap to %s', role);
  execute format(
    'grant execute on function tidings.ingest(text, bytea, jsonb), tidings.ingest_batch(text[], bytea[], jsonb[]), tidings.probe_ingest(),'
    ' tidings.verify(text, bytea, jsonb), tidings.find_source(text, jsonb), tidings._addressed(text),'
    ' tidings.stream_cursor(text), tidings.stream_secret(text),'
    ' tidings.hold_streams(uuid, text, text[], interval), tidings.release_streams(uuid),'
    ' tidings.report_stream(text, text, text, int, text, timestamptz, timestamptz), tidings.maintain(),'
    ' tidings.report_gap(text, text, text, timestamptz, timestamptz, text, text, bigint), tidings.close_gap(bigint, text, timestamptz),'
    ' tidings.report_refusal(text, timestamptz, text, jsonb, bytea, bigint),'
    ' tidings.requests_to_reconcile(text, timestamptz, text, int), tidings.request_finals(text, text),'
    ' tidings.wake(), tidings.tick(), tidings.log_horizon(), tidings._worker_lag() to %s', role);
  -- A server that logs parameters would log the headers and their secrets.
  if current_setting('server_version_num')::int >= 150000 then
    if not has_parameter_privilege(role, 'log_parameter_max_length', 'set') then
      begin
        execute format('grant set on parameter log_parameter_max_length to %s', role);
      exception when insufficient_privilege then
        raise notice using
          message = format('role %s cannot keep secrets out of the server''s log if the server logs parameters', role),
          hint = format('As a superuser: GRANT SET ON PARAMETER log_parameter_max_length TO %s', role);
      end;
    end if;
  end if;
end
$$;
comment on function grant_worker(regrole) is
  'Allows a role to do what the worker does: read the sources and their schemas, verify, ingest, hold streams and report on them, report and close gaps, keep the requests that it refuses, see how far consumers are behind, and call maintain. From Postgres 15 on the role can also set log_parameter_max_length, with which it keeps the headers of requests out of the server''s log. The role can read no event, no row of tidings.rejected, and no secret except those with which it dials.';

-- Nobody but the owner has a right in an object of the extension: neither PUBLIC nor a role that
-- is granted rights in all new objects (ALTER DEFAULT PRIVILEGES). Other objects in the schema,
-- where it was there before, are not touched.
do $$
declare
  held record;
begin
  for held in
    with member as (
      select d.classid, d.objid
      from pg_catalog.pg_depend d
      join pg_catalog.pg_extension e on e.oid = d.refobjid and e.extname = 'tidings'
      where d.refclassid = 'pg_catalog.pg_extension'::regclass and d.deptype = 'e'
    )
    select case c.relkind when 'S' then 'sequence' else 'table' end as kind, c.oid::regclass::text as name, a.grantee
    from member m
    join pg_catalog.pg_class c on m.classid = 'pg_catalog.pg_class'::regclass and c.oid = m.objid and c.relkind in ('r', 'p', 'v', 'S')
    cross join lateral pg_catalog.aclexplode(c.relacl) a
    where a.grantee <> c.relowner
    union
    select 'routine', p.oid::regprocedure::text, a.grantee
    from member m
    join pg_catalog.pg_proc p on m.classid = 'pg_catalog.pg_proc'::regclass and p.oid = m.objid
    cross join lateral pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) a
    where a.grantee <> p.proowner
      -- min and max
      and (p.pronamespace = 'tidings'::regnamespace or a.grantee <> 0)
  loop
    execute pg_catalog.format('revoke all on %s %s from %s', held.kind, held.name,
      case when held.grantee = 0 then 'public' else held.grantee::regrole::text end);
  end loop;
end
$$;
grant usage on schema tidings to public;

do $$
declare
  pure regprocedure;
begin
  for pure in
    select p.oid
    from pg_catalog.pg_proc p
    where p.pronamespace = 'tidings'::regnamespace
      and (p.proname ~ '^(ulid_|gen_ulid$|hmac_sha1$|verify_hmac_sha1$)'
           or p.proname in ('normalize', '_normalize', '_raise_malformed', 'providers', '_is_dialed'))
  loop
    execute pg_catalog.format('grant execute on function %s to public', pure);
  end loop;
end
$$;
