-- The sources of events. Postgres is the control plane: the worker reads its sources
-- here, and is notified of every change.

create sequence source_id_seq as int;

create table source (
  id int primary key default nextval('tidings.source_id_seq'),
  name text not null unique
    check (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$'),
  provider text not null,
  options jsonb not null default '{}',
  enabled boolean not null default true,
  created_at timestamptz not null default now()
);
alter sequence source_id_seq owned by source.id;
comment on sequence source_id_seq is 'Generates tidings.source.id.';
comment on table source is 'The accounts at providers that send events. add_source adds a row. The table contains no secret.';
comment on column source.id is 'Id of the source, as in tidings.event.source_id; never reused.';
comment on column source.name is 'Name of the source, which is part of the URL of its webhooks: 1 to 63 letters, digits, ".", "_" and "-".';
comment on column source.provider is 'The provider: one of providers().';
comment on column source.options is 'The options of add_source, without the secret ones.';
comment on column source.enabled is 'Whether its events are accepted. set_source_enabled sets it.';
comment on column source.created_at is 'When the source was added.';

create table source_secret (
  source_id int not null,
  kind text not null check (kind in ('secret', 'url_token')),
  value text not null check (value <> ''),
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  digest bytea not null,  -- a value may be longer than an index can hold
  primary key (source_id, kind, digest)
);
comment on table source_secret is
  'The secrets of sources. They are in clear text, because a signature cannot be checked against a hash; only the owner of the extension can read the table.';
comment on column source_secret.source_id is 'The source.';
comment on column source_secret.kind is 'secret: a secret of the provider''s own scheme; url_token: the last part of the webhook''s URL.';
comment on column source_secret.value is 'The secret.';
comment on column source_secret.created_at is 'When it was set.';
comment on column source_secret.expires_at is 'When the secret stops being accepted; null while it is the current one.';
comment on column source_secret.digest is 'SHA-256 of the secret, in UTF-8.';

create table stream (
  source_id int primary key,
  cursor text not null,
  updated_at timestamptz not null,
  event_at timestamptz
);
comment on table stream is 'The stream cursors: how far each dialed stream was read. Ingest moves a cursor in the transaction that stores the events.';
comment on column stream.source_id is 'The source.';
comment on column stream.cursor is 'The stream cursor: the provider''s id of the event that was stored last, in the order of arrival; or where the stream goes on after a gap, see tidings.gap.';
comment on column stream.updated_at is 'When the stream cursor moved.';
comment on column stream.event_at is 'When events of the stream were last stored; null if none were.';

-- This is not a generated column, because logical replication leaves generated columns
-- out, and the key would be missing.
create function _digest_secret() returns trigger
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  new.digest := sha256(convert_to(new.value, 'UTF8'));
  return new;
end
$$;
comment on function _digest_secret() is 'Internal: computes the digest of a secret, also for a secret from the dump of an earlier version.';

create trigger digest before insert or update on source_secret
  for each row execute function _digest_secret();
-- The trigger fires always, also for rows that logical replication copies from a version
-- without digests, and for a dump that is restored with triggers disabled.
alter table source_secret enable always trigger digest;

create function _notify_source() returns trigger
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  -- If a session listens and keeps a transaction open, the notification queue of the
  -- server fills up, and once it is full, no transaction that notifies can commit.
  -- Workers also poll.
  if pg_notification_queue_usage() < 0.5 then
    perform pg_notify('tidings_source', '');
  end if;
  return null;
end
$$;
comment on function _notify_source() is 'Internal: notifies the workers that their sources changed.';

create trigger notify after insert or update or delete or truncate on source
  for each statement execute function _notify_source();
create trigger notify after insert or update or delete or truncate on source_secret
  for each statement execute function _notify_source();

create function _source(name text) returns source
  language plpgsql stable parallel safe
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  found_source tidings.source;
begin
  select * into found_source from tidings.source s where s.name = _source.name;
  if not found then
    raise exception using
      errcode = 'undefined_object',
      message = format('source %s does not exist', coalesce('"' || name || '"', 'null')),
      hint = 'SELECT name FROM tidings.source lists the sources; tidings.add_source adds one.';
  end if;
  return found_source;
end
$$;
comment on function _source(text) is 'Internal: returns the source of this name. SQLSTATE 42704 if there is no such source.';

create function _require_secret(value text, what text) returns text
  language plpgsql immutable
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  if coalesce(value, '') = '' then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = format('%s is empty', what),
      hint = 'Pass a secret or leave it out, because an empty secret would protect nothing.';
  end if;
  return value;
end
$$;
comment on function _require_secret(text, text) is 'Internal: returns the value. SQLSTATE 22023 if it is null or empty.';

create function add_source(name text, provider text, secret text default null, options jsonb default '{}')
  returns int
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  new_id int;
begin
  if name is null or name !~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$' then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = format('invalid source name "%s"', coalesce(name, 'null')),
      hint = 'The name is part of a URL: use 1 to 63 letters, digits, ".", "_" and "-", beginning with a letter or a digit.';
  end if;
  perform tidings._check_options(coalesce(provider, ''), coalesce(options, '{}')::text);

  insert into tidings.source (name, provider, options)
  values (add_source.name, add_source.provider, coalesce(add_source.options, '{}') - 'url_token')
  on conflict do nothing
  returning id into new_id;
  if new_id is null then
    raise exception using
      errcode = 'duplicate_object',
      message = format('source "%s" already exists', name),
      hint = 'tidings.rotate_secret sets a new secret; tidings.drop_source removes the source and keeps its events.';
  end if;

  if secret is not null then
    insert into tidings.source_secret (source_id, kind, value)
    values (new_id, 'secret', tidings._require_secret(secret, 'the secret'));
  end if;
  if options ? 'url_token' then
    insert into tidings.source_secret (source_id, kind, value)
    values (new_id, 'url_token', tidings._require_secret(options ->> 'url_token', 'option url_token'));
  end if;
  return new_id;
end
$$;
comment on function add_source(text, text, text, jsonb) is
  'Adds a source and returns its id. "secret" is what the provider''s own scheme needs: a bearer token, a whole Authorization value, a token for the URL, or the key of a signature. Options of every source: url_token (a token that is demanded in addition, as the last part of the URL), allow_unauthenticated (a webhook source with neither a secret nor a token refuses everything unless this is true). Option of every source that is not dialed: allow_from (an array of the networks and addresses from which requests are accepted). providers() lists the options of each provider, and docs/providers.md says what each of them sets. SQLSTATE 22023 for an unknown provider or option, 42710 if the name is taken.';

create function rotate_secret(name text, new_secret text, overlap interval default '24 hours')
  returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  of_source int;
begin
  -- One rotation at a time: two concurrent ones would not see each other's secret, and
  -- both secrets would be current. A session that waited for a dropped source may find
  -- another one of the same name.
  loop
    of_source := (tidings._source(name)).id;
    perform from tidings.source s where s.id = of_source for no key update;
    exit when found;
  end loop;
  perform tidings._require_secret(new_secret, 'the secret');
  if overlap is null or overlap < interval '0' then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = 'the overlap is negative or null',
      hint = 'Pass the time for which the old secret is still accepted; with ''0'' it is refused at once.';
  end if;
  update tidings.source_secret
  set expires_at = least(expires_at, now() + overlap)
  where source_id = of_source and kind = 'secret' and value <> new_secret;
  insert into tidings.source_secret (source_id, kind, value)
  values (of_source, 'secret', new_secret)
  on conflict (source_id, kind, digest) do update set expires_at = null, created_at = now();
  delete from tidings.source_secret where source_id = of_source and expires_at <= now();
end
$$;
comment on function rotate_secret(text, text, interval) is
  'Sets a new secret of a source; the old ones are still accepted for the time "overlap". SQLSTATE 42704 if there is no such source, 22023 for an empty secret.';

create function set_source_enabled(name text, enabled boolean)
  returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  if enabled is null then
    raise exception using errcode = 'null_value_not_allowed', message = 'enabled is null', hint = 'Pass true or false.';
  end if;
  update tidings.source s set enabled = set_source_enabled.enabled
  where s.id = (tidings._source(set_source_enabled.name)).id;
end
$$;
comment on function set_source_enabled(text, boolean) is
  'Disables or enables a source. A request to a disabled source is answered so that the provider retries. SQLSTATE 42704 if there is no such source.';

create function drop_source(name text)
  returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  of_source int := (tidings._source(name)).id;
begin
  -- These locks come first, in the same order as in ingest.
  delete from tidings.stream_lease where source_id = of_source;
  update tidings.gap g set closed_at = clock_timestamp(), closed_by = 'the source was dropped'
  where g.source_id = of_source and g.closed_at is null;
  delete from tidings.stream where source_id = of_source;
  delete from tidings.stream_state where source_id = of_source;
  delete from tidings.source_schema where source_id = of_source;
  delete from tidings.rejected where source_id = of_source;
  delete from tidings.source where id = of_source;
  -- The source comes last, because rotate_secret locks the source first.
  delete from tidings.source_secret where source_id = of_source;
end
$$;
comment on function drop_source(text) is
  'Removes a source with its secrets, its schema, its stream cursor and its rows of tidings.rejected. Its events stay, and so do its gaps, which are closed. SQLSTATE 42704 if there is no such source.';

create function verify(source text, body bytea, headers jsonb)
  returns boolean
  language plpgsql stable security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  s tidings.source := tidings._source(source);
begin
  return (
    select tidings._unmet(s.provider, p.secrets, p.url_tokens, p.allow_unauthenticated, p.allow_from, body, headers::text) is null
    from tidings._policy p where p.source_id = s.id
  );
end
$$;
comment on function verify(text, bytea, jsonb) is
  'Whether a request carries what its source demands: signature, Authorization value, URL token, with any of the secrets that are accepted now, and an address that the source allows. The names of headers are in lower case; the token of the URL is "url-token", the address of the sender "peer-address". A disabled source is treated like an enabled one. SQLSTATE 42704 if there is no such source.';

create view _policy as
  select
    s.id as source_id, x.secrets, x.url_tokens,
    coalesce((s.options ->> 'allow_unauthenticated')::boolean, false) as allow_unauthenticated,
    s.name, s.provider, s.options, s.enabled,
    case when s.options ? 'allow_from' then
      array(select n.network #>> '{}' from jsonb_path_query(s.options, '$.allow_from[*]') n (network))
    end as allow_from
  from source s
  cross join lateral (
    select
      array_agg(x.value) filter (where x.kind = 'secret') as secrets,
      array_agg(x.value) filter (where x.kind = 'url_token') as url_tokens
    from source_secret x
    where x.source_id = s.id and (x.expires_at is null or x.expires_at > statement_timestamp())
  ) x;
comment on view _policy is 'Internal: what each source demands now.';
comment on column _policy.source_id is 'The source.';
comment on column _policy.secrets is 'The accepted secrets of its provider''s scheme; null if it has none.';
comment on column _policy.url_tokens is 'The accepted URL tokens, one of which is demanded in addition; null if none is demanded.';
comment on column _policy.allow_unauthenticated is 'Whether the source accepts every request if it has neither a secret nor a token.';
comment on column _policy.name is 'source.name.';
comment on column _policy.provider is 'source.provider.';
comment on column _policy.options is 'source.options.';
comment on column _policy.enabled is 'source.enabled.';
comment on column _policy.allow_from is 'Networks from which requests are accepted; null if they are accepted from all.';

create function stream_cursor(source text)
  returns text
  language sql stable security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
  select cursor from tidings.stream where source_id = (tidings._source($1)).id
$$;
comment on function stream_cursor(text) is
  'Returns the stream cursor of a source: the provider''s id of the last event that was stored from its stream, after which the stream is resumed; null at the start of the stream. SQLSTATE 42704 if there is no such source.';

create function stream_secret(source text)
  returns text
  language sql stable security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
  select x.value
  from tidings.source_secret x, tidings._source($1) s
  where x.source_id = s.id and x.kind = 'secret' and x.expires_at is null
    and tidings._is_dialed(s.provider)
$$;
comment on function stream_secret(text) is
  'Returns the bearer token with which the worker dials a source; null if the source has none. Null also for a source that is not dialed, because the worker needs no other secret. SQLSTATE 42704 if there is no such source.';

create function find_source(provider text, headers jsonb)
  returns text
  language sql stable security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
  select s.name
  from tidings.source s
  join tidings._policy p on p.source_id = s.id
  where s.provider = $1 and s.enabled
    and tidings._unmet(s.provider, p.secrets, p.url_tokens, p.allow_unauthenticated, p.allow_from, '', $2::text) is null
  order by s.id
  limit 1
$$;
comment on function find_source(text, jsonb) is
  'Returns the enabled source of this provider that accepts these headers, for requests whose URL names no source; null if there is none.';
