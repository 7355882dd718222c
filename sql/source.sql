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
  created_at timestamptz not null default now(),
  first_name text
);
alter sequence source_id_seq owned by source.id;
comment on sequence source_id_seq is 'Generates tidings.source.id.';
comment on table source is 'The accounts at providers that send events. add_source adds a row. The table contains no secret.';
comment on column source.id is 'Id of the source, as in tidings.event.source_id. A source that is dropped and added again has its former id; no other source ever has it.';
comment on column source.name is 'Name of the source, which is part of the URL of its webhooks: 1 to 63 letters, digits, ".", "_" and "-".';
comment on column source.provider is 'The provider: one of providers().';
comment on column source.options is 'The options of add_source, without the secret ones.';
comment on column source.enabled is 'Whether its events are accepted. set_source_enabled sets it.';
comment on column source.created_at is 'When the source was added.';
comment on column source.first_name is 'The name under which the source was first added. It is part of the identity of events that have no id of their own, and never changes. Null stands for the present name, as in data of an earlier version that was restored without triggers.';

create table former_name (
  name text primary key,
  source_id int not null,
  renamed_at timestamptz not null default now()
);
comment on table former_name is
  'Former names of sources. A request under a former name is ingested as one of the source, until another source has the name.';
comment on column former_name.name is 'The former name.';
comment on column former_name.source_id is 'tidings.source.id.';
comment on column former_name.renamed_at is 'When the source was given another name.';

create table dropped_source (
  id int primary key,
  name text not null,
  provider text not null,
  first_name text not null,
  dropped_at timestamptz not null default now()
);
comment on table dropped_source is
  'Sources that were dropped, and not added again. add_source under the name and with the provider of such a source goes on with its id, so that an event that is delivered again is not stored again.';
comment on column dropped_source.id is 'source.id.';
comment on column dropped_source.name is 'The name that the source had when it was dropped.';
comment on column dropped_source.provider is 'source.provider.';
comment on column dropped_source.first_name is 'source.first_name.';
comment on column dropped_source.dropped_at is 'When the source was dropped.';

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

-- There is no policy, so that only the owner of the table and superusers see its rows, whatever
-- rights a role was granted by default or is a member of.
alter table source_secret enable row level security;

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

create function _guard_source() returns trigger
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  if tg_op = 'INSERT' then
    -- The dump of an earlier version has no such column.
    new.first_name := coalesce(new.first_name, new.name);
    delete from tidings.former_name f where f.name = new.name;
    return new;
  end if;
  new.first_name := coalesce(new.first_name, old.first_name, old.name);
  -- What a subscription applies was checked where it came from, and the former names come too.
  if current_setting('session_replication_role') = 'replica' then
    return new;
  end if;
  if (new.id, new.provider, new.first_name) is distinct from (old.id, old.provider, coalesce(old.first_name, old.name)) then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = format('the id, the provider and the first name of source "%s" cannot be changed', old.name),
      detail = 'They are part of the identity of stored events: events that are delivered again would be stored again.',
      hint = 'Add another source with tidings.add_source.';
  end if;
  if new.name <> old.name then
    perform tidings._require_name(new.name);
    delete from tidings.former_name f where f.name in (new.name, old.name);
    insert into tidings.former_name (name, source_id) values (old.name, old.id);
  end if;
  if new.options is distinct from old.options then
    if new.options ? 'url_token' then
      raise exception using
        errcode = 'invalid_parameter_value',
        message = 'the option url_token is a secret, and everybody who reads tidings.source would see it',
        hint = 'Set it with tidings.set_source_options.';
    end if;
    perform tidings._check_options(new.provider, new.options::text);
  end if;
  return new;
end
$$;
comment on function _guard_source() is
  'Internal: fills in the first name of a source, checks an UPDATE of tidings.source, and keeps the former name of a source that is renamed. SQLSTATE 22023 if the source could not work, or if stored events would be stored again.';

create trigger guard before insert or update on source
  for each row execute function _guard_source();
-- The first name is filled in also for a subscription.
alter table source enable always trigger guard;

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

create function _addressed(name text) returns source
  language plpgsql stable parallel safe
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  addressed tidings.source;
begin
  select s.* into addressed
  from tidings.former_name f
  join tidings.source s on s.id = f.source_id
  where f.name = _addressed.name and not exists (select from tidings.source x where x.name = f.name);
  return case when found then addressed else tidings._source(name) end;
end
$$;
comment on function _addressed(text) is
  'Internal: returns the source to which requests under this name belong: the source of the name, or the one that had it last. SQLSTATE 42704 if there is none.';

create function _require_name(name text) returns void
  language plpgsql immutable
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  if name is null or name !~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$' then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = format('invalid source name "%s"', coalesce(name, 'null')),
      hint = 'The name is part of a URL: use 1 to 63 letters, digits, ".", "_" and "-", beginning with a letter or a digit.';
  end if;
end
$$;
comment on function _require_name(text) is 'Internal: checks the name of a source. SQLSTATE 22023 if no source can have it.';

create function _require_secret(value text, what text) returns text
  language plpgsql immutable
  set search_path = pg_catalog, tidings, pg_temp
  set standard_conforming_strings = on
as $$
begin
  if coalesce(value, '') = '' then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = format('%s is empty', what),
      hint = 'Pass a secret or leave it out, because an empty secret would protect nothing.';
  end if;
  if value ~ '^\s|\s$|[\x01-\x1f\x7f]' then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = format(case when value ~ '^\s|\s$' then '%s begins or ends with white space' else '%s contains a control character' end, what),
      detail = 'No request can carry it, because a header does not keep white space at an end, and contains no line break.',
      hint = 'Pass the secret as the provider shows it. One that was read from a file often has the line break at its end.';
  end if;
  return value;
end
$$;
comment on function _require_secret(text, text) is
  'Internal: returns the value. SQLSTATE 22023 if it is null or empty, or if no request could carry it.';

create function _check_secret(provider text, kind text, value text) returns text
  language plpgsql stable
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  what constant text := case kind when 'secret' then 'the secret' else 'option url_token' end;
begin
  perform tidings._require_secret(value, what);
  if (kind = 'url_token' or (select p.scheme = 'url-token' from tidings.providers() p where p.name = provider))
    and (value ~ '/' or value in ('.', '..')) then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = format(case when value ~ '/' then '%s contains a slash' else '%s is one or two dots' end, what),
      detail = 'It is the last part of a path, and no request can carry it there.',
      hint = 'Choose one of letters and digits, such as replace(gen_random_uuid()::text, ''-'', '''').';
  end if;
  return value;
end
$$;
comment on function _check_secret(text, text, text) is
  'Internal: returns the value. SQLSTATE 22023 if it is null or empty, or if no request to a source of this provider could carry it.';

create function _set_secret(of_source int, of_kind text, new_value text, overlap interval) returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  update tidings.source_secret
  set expires_at = least(expires_at, now() + overlap)
  where source_id = of_source and kind = of_kind and value is distinct from new_value;
  if new_value is not null then
    insert into tidings.source_secret (source_id, kind, value)
    values (of_source, of_kind, new_value)
    on conflict (source_id, kind, digest) do update set expires_at = null, created_at = now();
  end if;
  delete from tidings.source_secret where source_id = of_source and expires_at <= now();
end
$$;
comment on function _set_secret(int, text, text, interval) is
  'Internal: sets the secret of this kind of a source; others are still accepted for the time "overlap". Null sets none.';

create function add_source(name text, provider text, secret text default null, options jsonb default '{}')
  returns int
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  former tidings.dropped_source;
  new_id int;
begin
  perform tidings._require_name(name);
  perform tidings._check_options(coalesce(provider, ''), coalesce(options, '{}')::text);

  delete from tidings.dropped_source d
  where d.id = (
    select x.id from tidings.dropped_source x
    where x.name = add_source.name and x.provider = add_source.provider
    order by x.dropped_at desc, x.id desc limit 1)
  returning * into former;
  insert into tidings.source (id, name, provider, options, first_name)
  values (coalesce(former.id, nextval('tidings.source_id_seq')), add_source.name, add_source.provider,
    coalesce(add_source.options, '{}') - 'url_token', coalesce(former.first_name, add_source.name))
  on conflict do nothing
  returning id into new_id;
  if new_id is null then
    raise exception using
      errcode = 'duplicate_object',
      message = format('source "%s" already exists', name),
      hint = 'tidings.set_source_options changes its options, and tidings.rotate_secret its secrets; tidings.rename_source gives it another name.';
  end if;

  if secret is not null then
    perform tidings._set_secret(new_id, 'secret', tidings._check_secret(provider, 'secret', secret), '0');
  end if;
  if options ? 'url_token' then
    perform tidings._set_secret(new_id, 'url_token', tidings._check_secret(provider, 'url_token', options ->> 'url_token'), '0');
  end if;
  return new_id;
end
$$;
comment on function add_source(text, text, text, jsonb) is
  'Adds a source and returns its id. "secret" is what the provider''s own scheme needs: a bearer token, a whole Authorization value, a token for the URL, or the key of a signature. Options of every source: url_token (a token that is demanded in addition, as the last part of the URL), allow_unauthenticated (a webhook source with neither a secret nor a token refuses everything unless this is true). Option of every source that is not dialed: allow_from (an array of the networks and addresses from which requests are accepted). providers() lists the options of each provider, and docs/providers.md says what each of them sets. A source of this name and provider that was dropped goes on with its former id, so that events that are delivered again are not stored again. SQLSTATE 22023 for an unknown provider or option, and for a secret that no request could carry; 42710 if the name is taken.';

-- One change of a source at a time: two concurrent ones would not see each other's secrets or
-- options. A session that waited for a source that was dropped may find another one of the name.
create function _lock_source(name text) returns source
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  locked tidings.source;
begin
  loop
    select * into locked from tidings.source s where s.id = (tidings._source(_lock_source.name)).id for no key update;
    exit when found and locked.name = _lock_source.name;
  end loop;
  return locked;
end
$$;
comment on function _lock_source(text) is
  'Internal: returns the source of this name, which no other session changes until the transaction ends. SQLSTATE 42704 if there is no such source.';

create function set_source_options(name text, options jsonb) returns jsonb
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  s tidings.source := tidings._lock_source(name);
  merged jsonb;
begin
  if options is null or jsonb_typeof(options) <> 'object' then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = 'the options are not an object',
      hint = 'Pass those that are to change, as in ''{"timezone": "Europe/Lisbon"}''; null removes an option.';
  end if;
  merged := jsonb_strip_nulls(s.options || options);
  perform tidings._check_options(s.provider, merged::text);
  if options ? 'url_token' then
    perform tidings._set_secret(s.id, 'url_token',
      case when jsonb_typeof(options -> 'url_token') <> 'null' then tidings._check_secret(s.provider, 'url_token', options ->> 'url_token') end, '0');
  end if;
  update tidings.source x set options = merged - 'url_token' where x.id = s.id and x.options <> merged - 'url_token';
  return merged - 'url_token';
end
$$;
comment on function set_source_options(text, jsonb) is
  'Changes the options of a source that are named, and returns all that it has then, without the secret ones. Null removes an option. A url_token replaces the former one at once; rotate_secret with the kind url_token lets both be valid for a time. SQLSTATE 42704 if there is no such source, 22023 for an option that its provider does not take or a value that cannot work.';

create function rename_source(name text, new_name text) returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  s tidings.source := tidings._lock_source(name);
begin
  perform tidings._require_name(new_name);
  update tidings.source x set name = new_name where x.id = s.id and x.name <> new_name;
exception when unique_violation then
  raise exception using
    errcode = 'duplicate_object',
    message = format('source "%s" already exists', new_name),
    hint = 'Choose another name, or rename or drop that source first.';
end
$$;
comment on function rename_source(text, text) is
  'Gives a source another name. Its id and its events stay, and the identity of events does not change. Requests under the former name are still ingested as those of the source, until another source has that name. SQLSTATE 42704 if there is no such source, 42710 if the new name is taken, 22023 if it is no name.';

create function rotate_secret(name text, new_secret text, overlap interval default '24 hours', kind text default 'secret')
  returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  s tidings.source := tidings._lock_source(name);
begin
  if kind is null or kind not in ('secret', 'url_token') then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = format('no secret is of kind %s', coalesce('"' || kind || '"', 'null')),
      hint = 'The kinds are "secret", that of the provider''s own scheme, and "url_token".';
  end if;
  perform tidings._check_secret(s.provider, kind, new_secret);
  if overlap is null or overlap < interval '0' then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = 'the overlap is negative or null',
      hint = 'Pass the time for which the old secret is still accepted; with ''0'' it is refused at once.';
  end if;
  perform tidings._set_secret(s.id, kind, new_secret, overlap);
end
$$;
comment on function rotate_secret(text, text, interval, text) is
  'Sets a new secret of a source; the old ones of its kind are still accepted for the time "overlap". The kind "secret" is that of the provider''s own scheme, "url_token" the last part of the URL. SQLSTATE 42704 if there is no such source, 22023 for an unknown kind and for a secret that no request could carry.';

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
  -- These locks come first, in the same order as in ingest, and that of the source after them, as
  -- in set_stream_cursor.
  delete from tidings.stream_lease where source_id = of_source;
  update tidings.gap g set closed_at = clock_timestamp(), closed_by = 'the source was dropped'
  where g.source_id = of_source and g.closed_at is null;
  delete from tidings.stream where source_id = of_source;
  -- Another session may have renamed it meanwhile, or dropped it and added another.
  if (tidings._lock_source(name)).id <> of_source then
    perform tidings.drop_source(name);
    return;
  end if;
  delete from tidings.stream_state where source_id = of_source;
  delete from tidings.source_schema where source_id = of_source;
  delete from tidings.source_secret where source_id = of_source;
  delete from tidings.rejected where source_id = of_source;
  delete from tidings.former_name f where f.source_id = of_source or f.name = drop_source.name;
  with gone as (
    delete from tidings.source s where s.id = of_source returning s.id, s.name, s.provider, s.first_name
  )
  insert into tidings.dropped_source (id, name, provider, first_name)
  select g.id, g.name, g.provider, coalesce(g.first_name, g.name) from gone g
  on conflict (id) do update set name = excluded.name, dropped_at = now();
end
$$;
comment on function drop_source(text) is
  'Removes a source with its secrets, its schema, its stream cursor and its rows of tidings.rejected. Its events stay, and so do its gaps, which are closed. Added again under its name, it goes on with its id. SQLSTATE 42704 if there is no such source.';

create function verify(source text, body bytea, headers jsonb)
  returns boolean
  language plpgsql stable security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  s tidings.source := tidings._addressed(source);
begin
  return (
    select tidings._unmet(s.provider, p.secrets, p.url_tokens, p.allow_unauthenticated, p.allow_from, body, headers::text) is null
    from tidings._policy p where p.source_id = s.id
  );
end
$$;
comment on function verify(text, bytea, jsonb) is
  'Whether a request carries what its source demands: signature, Authorization value, URL token, with any of the secrets that are accepted now, and an address that the source allows. The names of headers are in lower case; the token of the URL is "url-token", the address of the sender "peer-address". A disabled source is treated like an enabled one. SQLSTATE 42704 if there is no such source.';

-- This is a function in order that the secrets are read with the rights of whoever selects
-- from the view, and not with those of the view's owner.
create function _accepted(of_source int, out secrets text[], out url_tokens text[]) returns record
  language plpgsql stable parallel safe
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  select
    array_agg(x.value) filter (where x.kind = 'secret'),
    array_agg(x.value) filter (where x.kind = 'url_token')
  into secrets, url_tokens
  from tidings.source_secret x
  where x.source_id = of_source and (x.expires_at is null or x.expires_at > statement_timestamp());
end
$$;
comment on function _accepted(int) is 'Internal: the secrets and the URL tokens of a source that are accepted now.';

create view _policy as
  select
    s.id as source_id, x.secrets, x.url_tokens,
    coalesce((s.options ->> 'allow_unauthenticated')::boolean, false) as allow_unauthenticated,
    s.name, s.provider, s.options, s.enabled,
    case when s.options ? 'allow_from' then
      array(select n.network #>> '{}' from jsonb_path_query(s.options, '$.allow_from[*]') n (network))
    end as allow_from,
    coalesce(s.first_name, s.name) as first_name
  from source s
  cross join lateral tidings._accepted(s.id) x;
comment on view _policy is 'Internal: what each source demands now, for those who may read its secrets.';
comment on column _policy.source_id is 'The source.';
comment on column _policy.secrets is 'The accepted secrets of its provider''s scheme; null if it has none.';
comment on column _policy.url_tokens is 'The accepted URL tokens, one of which is demanded in addition; null if none is demanded.';
comment on column _policy.allow_unauthenticated is 'Whether the source accepts every request if it has neither a secret nor a token.';
comment on column _policy.name is 'source.name.';
comment on column _policy.provider is 'source.provider.';
comment on column _policy.options is 'source.options.';
comment on column _policy.enabled is 'source.enabled.';
comment on column _policy.first_name is 'source.first_name.';
comment on column _policy.allow_from is 'Networks from which requests are accepted; null if they are accepted from all.';

create function webhook_paths(source text) returns setof text
  language sql stable
  set search_path = pg_catalog, tidings, pg_temp
  set standard_conforming_strings = on
as $$
  select '/hooks/' || s.name || coalesce('/' || (
      select string_agg(
        case when c.value ~ '^[A-Za-z0-9._~-]$' then c.value
          else regexp_replace(upper(encode(convert_to(c.value, 'UTF8'), 'hex')), '..', '%\&', 'g') end, '' order by c.ordinal)
      from regexp_split_to_table(x.value, '') with ordinality c (value, ordinal)
    ), '')
  from tidings._source($1) s
  join tidings.providers() p on p.name = s.provider and not p.is_dialed
  left join tidings.source_secret x on x.source_id = s.id
    and (x.kind = 'url_token' or p.scheme = 'url-token')
    and (x.expires_at is null or x.expires_at > statement_timestamp())
  order by x.expires_at desc nulls first, x.created_at desc, x.value
$$;
comment on function webhook_paths(text) is
  'Returns the paths of a source''s webhook, percent-encoded, as they are entered at the provider behind the address of the worker: one for each URL token that is accepted now, the current one first, or the one path of a source without a token. None for a source that is dialed. Only the owner of the extension sees the tokens. SQLSTATE 42704 if there is no such source.';

create function stream_cursor(source text)
  returns text
  language sql stable security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
  select cursor from tidings.stream where source_id = (tidings._addressed($1)).id
$$;
comment on function stream_cursor(text) is
  'Returns the stream cursor of a source: the provider''s id of the last event that was stored from its stream, after which the stream is resumed; null at the start of the stream. SQLSTATE 42704 if there is no such source.';

create function stream_secret(source text)
  returns text
  language sql stable security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
  select x.value
  from tidings.source_secret x, tidings._addressed($1) s
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
