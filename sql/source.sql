-- Where events come from. Postgres is the control plane: the worker reads its sources
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
comment on sequence source_id_seq is 'Gives tidings.source.id.';
comment on table source is 'An account at a provider that sends events. Made by add_source; shows no secret.';
comment on column source.id is 'Stands in tidings.event; never used again.';
comment on column source.name is 'Stands in the URL of its webhooks: 1 to 63 letters, digits, ".", "_" and "-".';
comment on column source.provider is 'One of providers().';
comment on column source.options is 'The options of add_source, without the secret ones.';
comment on column source.enabled is 'Whether its events are taken. Set by set_source_enabled.';
comment on column source.created_at is 'When it was added.';

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
  'The secrets of sources. In clear text, for signatures cannot be checked against a hash: readable by the owner of the extension alone.';
comment on column source_secret.source_id is 'The source.';
comment on column source_secret.kind is 'secret: of the provider''s own scheme; url_token: the last part of the webhook''s URL.';
comment on column source_secret.value is 'The secret.';
comment on column source_secret.created_at is 'When it was set.';
comment on column source_secret.expires_at is 'When it stops being accepted; null while it is the current one.';
comment on column source_secret.digest is 'SHA-256 of the secret, in UTF-8.';

create table stream (
  source_id int primary key,
  cursor text not null,
  updated_at timestamptz not null
);
comment on table stream is 'How far each resumable stream was read; kept in the transaction that stores its events.';
comment on column stream.source_id is 'The source.';
comment on column stream.cursor is 'The provider''s id of the last event that was stored, in the order of arrival.';
comment on column stream.updated_at is 'When it was stored.';

-- Not a generated column, which logical replication leaves out, and so would lack the key.
create function _digest_secret() returns trigger
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  new.digest := sha256(convert_to(new.value, 'UTF8'));
  return new;
end
$$;
comment on function _digest_secret() is 'Internal: gives a secret its digest, also one of an earlier version''s dump.';

create trigger digest before insert or update on source_secret
  for each row execute function _digest_secret();
-- Also where it comes from a version without digests by logical replication, or from a
-- dump that is restored with its triggers disabled.
alter table source_secret enable always trigger digest;

create function _notify_source() returns trigger
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  -- Where somebody who listens stays in one transaction the server's queue fills up, and
  -- when it is full nobody who notifies can commit. Workers look by themselves too.
  if pg_notification_queue_usage() < 0.5 then
    perform pg_notify('tidings_source', '');
  end if;
  return null;
end
$$;
comment on function _notify_source() is 'Internal: tells workers that their sources changed.';

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
      hint = 'SELECT name FROM tidings.source lists the sources; tidings.add_source makes one.';
  end if;
  return found_source;
end
$$;
comment on function _source(text) is 'Internal: the source of this name, or SQLSTATE 42704.';

create function _require_secret(value text, what text) returns text
  language plpgsql immutable
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  if coalesce(value, '') = '' then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = format('%s is empty', what),
      hint = 'An empty secret would protect nothing: leave it out, or give one.';
  end if;
  return value;
end
$$;
comment on function _require_secret(text, text) is 'Internal: the value, or SQLSTATE 22023 where it is null or empty.';

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
      hint = 'A name stands in a URL: 1 to 63 letters, digits, ".", "_" and "-", the first a letter or a digit.';
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
      hint = 'tidings.rotate_secret gives it another secret; tidings.drop_source removes it and keeps its events.';
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
  'Adds a source and returns its id. "secret" is what the provider''s own scheme needs: Ppoppo''s bearer token (or, with token_url, its client secret), Pushwoosh''s whole Authorization value, Arpoone''s URL token, PushPushGo''s ProjectId. Options of every source: url_token (a token demanded on top, as the last part of the URL), allow_unauthenticated (a webhook source with neither secret nor token refuses everything unless this is true). Of Ppoppo: endpoint (its path goes before the method''s), send_request_id, overlap (how many seconds of events are read again after a connection has ended), token_env, token_file (where the worker finds the token), token_url, client_id, scope (OAuth2 client credentials), ca_file, keepalive and idle_limit (seconds; 0 is never). Of Arpoone: timezone, time_format (of strptime, tried first). See providers(). SQLSTATE 22023 for an unknown provider or option, 42710 where the name is taken.';

create function rotate_secret(name text, new_secret text, overlap interval default '24 hours')
  returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  of_source int;
begin
  -- One at a time: two would not see each other's secret, and both secrets be current. Who
  -- waited for one that was dropped may find another of its name.
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
      hint = 'Give the time for which the old secret is still accepted; ''0'' ends it at once.';
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
  'Gives a source another secret; the old ones are accepted for "overlap" more. SQLSTATE 42704 where there is no such source, 22023 for an empty secret.';

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
  'Stops or resumes a source. Requests to a stopped one are answered so that the provider sends them again. SQLSTATE 42704 where there is no such source.';

create function drop_source(name text)
  returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  of_source int := (tidings._source(name)).id;
begin
  -- First, as ingest takes them in this order.
  delete from tidings.stream_lease where source_id = of_source;
  delete from tidings.stream where source_id = of_source;
  delete from tidings.stream_state where source_id = of_source;
  delete from tidings.source_schema where source_id = of_source;
  delete from tidings.rejected where source_id = of_source;
  delete from tidings.source where id = of_source;
  -- Last, as rotate_secret takes the source first.
  delete from tidings.source_secret where source_id = of_source;
end
$$;
comment on function drop_source(text) is
  'Removes a source with its secrets, its schema, its cursor and what was rejected of it. Its events stay. SQLSTATE 42704 where there is no such source.';

create function verify(source text, body bytea, headers jsonb)
  returns boolean
  language plpgsql stable security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  s tidings.source := tidings._source(source);
begin
  return (
    select tidings._verify(s.provider, p.secrets, p.url_tokens, p.allow_unauthenticated, body, headers::text)
    from tidings._policy p where p.source_id = s.id
  );
end
$$;
comment on function verify(text, bytea, jsonb) is
  'Whether a request carries what its source demands: signature, Authorization value, URL token, with any of the live secrets. Headers have names in lower case; the URL''s token is "url-token". Whether the source is enabled does not matter. SQLSTATE 42704 where there is no such source.';

create view _policy as
  select
    s.id as source_id,
    array_agg(x.value) filter (where x.kind = 'secret') as secrets,
    array_agg(x.value) filter (where x.kind = 'url_token') as url_tokens,
    coalesce((s.options ->> 'allow_unauthenticated')::boolean, false) as allow_unauthenticated
  from source s
  left join source_secret x
    on x.source_id = s.id and (x.expires_at is null or x.expires_at > statement_timestamp())
  group by s.id;
comment on view _policy is 'Internal: what each source demands now.';
comment on column _policy.source_id is 'The source.';
comment on column _policy.secrets is 'The secrets of its provider''s scheme that are accepted; null where it has none.';
comment on column _policy.url_tokens is 'The URL tokens that are accepted on top; null where none is demanded.';
comment on column _policy.allow_unauthenticated is 'Whether it takes everything where it has neither.';

create function stream_cursor(source text)
  returns text
  language sql stable security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
  select cursor from tidings.stream where source_id = (tidings._source($1)).id
$$;
comment on function stream_cursor(text) is
  'Where a resumable stream goes on: the provider''s id of the last event stored of it; null at its start. SQLSTATE 42704 where there is no such source.';

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
  'The bearer token with which the worker dials a source; null where it has none, and for a source that is not dialed: a worker needs no other secret. SQLSTATE 42704 where there is no such source.';

create function find_source(provider text, headers jsonb)
  returns text
  language sql stable security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
  select s.name
  from tidings.source s
  join tidings._policy p on p.source_id = s.id
  where s.provider = $1 and s.enabled
    and tidings._verify(s.provider, p.secrets, p.url_tokens, p.allow_unauthenticated, '', $2::text)
  order by s.id
  limit 1
$$;
comment on function find_source(text, jsonb) is
  'The enabled source of this provider that accepts these headers, for requests whose URL names none; null where there is none.';
