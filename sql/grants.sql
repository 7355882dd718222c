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
  execute format('grant select on tidings.source, tidings.source_schema, tidings.source_policy, tidings.stream_status, tidings.gap to %s', role);
  execute format(
    'grant execute on function tidings.ingest(text, bytea, jsonb), tidings.ingest_batch(text[], bytea[], jsonb[]), tidings.probe_ingest(),'
    ' tidings.verify(text, bytea, jsonb), tidings.find_source(text, jsonb),'
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

-- Roles may have been granted rights in all new objects (ALTER DEFAULT PRIVILEGES).
do $$
declare
  granted record;
begin
  for granted in
    select distinct a.grantee
    from (
      select c.relacl as acl from pg_catalog.pg_class c where c.relnamespace = 'tidings'::regnamespace
      union all
      select p.proacl from pg_catalog.pg_proc p where p.pronamespace = 'tidings'::regnamespace
    ) x
    cross join lateral pg_catalog.aclexplode(x.acl) a
    where a.grantee not in (0, (select n.nspowner from pg_catalog.pg_namespace n where n.nspname = 'tidings'))
  loop
    execute pg_catalog.format(
      'revoke all on all tables in schema tidings from %1$s;'
      ' revoke all on all sequences in schema tidings from %1$s;'
      ' revoke all on all functions in schema tidings from %1$s', granted.grantee::regrole);
  end loop;
end
$$;
revoke all on all tables in schema tidings from public;
revoke all on all functions in schema tidings from public;
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
