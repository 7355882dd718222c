-- ALTER EXTENSION tidings UPDATE from 0.2.0: schemas and state of streams, events
-- without a time.

drop function _normalize(text, text, text, bytea);
create or replace function _normalize(
  provider text, source text, options text, body bytea,
  out ordinal int, out event_id ulid, out kind text, out provider_kind text, out channel text,
  out occurred_at timestamptz, out request_id text, out message_id text, out recipient text,
  out campaign text, out error_code text, out reason text, out payload jsonb, out error text,
  out item bytea
)
  returns setof record
  language c immutable strict parallel safe cost 1000 rows 100
  as 'MODULE_PATHNAME', 'normalize_for_source_wrapper';

create or replace function tidings.normalize(provider text, body bytea)
  returns setof normalized_event
  language sql immutable strict parallel safe rows 100
  set search_path = pg_catalog, tidings, pg_temp
as $$
  select ordinal, event_id, kind, provider_kind, channel, occurred_at, request_id, message_id,
         recipient, campaign, error_code, reason, payload, error
  from _normalize($1, '', '{}', $2)
  where ordinal is not null or _raise_malformed(error)
$$;
create or replace function tidings.normalize(provider text, body jsonb)
  returns setof normalized_event
  language sql immutable strict parallel safe rows 100
  set search_path = pg_catalog, tidings, pg_temp
as $$
  select * from tidings.normalize($1, convert_to($2::text, 'UTF8'))
$$;

create or replace function drop_source(name text)
  returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  of_source int := (tidings._source(name)).id;
begin
  delete from tidings.source_secret where source_id = of_source;
  delete from tidings.source_schema where source_id = of_source;
  delete from tidings.stream where source_id = of_source;
  delete from tidings.stream_state where source_id = of_source;
  delete from tidings.rejected where source_id = of_source;
  delete from tidings.source where id = of_source;
end
$$;

-- The providers, as the library knows them.

create function providers(out name text, out scheme text, out is_dialed boolean, out options text[])
  returns setof record
  language c immutable parallel safe rows 4
  as 'MODULE_PATHNAME', 'providers_wrapper';
comment on function providers() is
  'The providers that are supported. "scheme" is what a request of theirs carries: authorization (the whole Authorization value), url-token (they have no scheme: the last part of the URL), hmac-sha1 (a signature of the body), or dialed (nothing: the worker opens the connection); "options" are those that add_source takes for a source of theirs.';

create view source_policy as
  select
    s.name, s.provider, p.scheme,
    coalesce(cardinality(d.secrets), 0) as secrets,
    coalesce(cardinality(d.url_tokens), 0) as url_tokens,
    case
      when p.is_dialed then 'the connection'
      when coalesce(cardinality(d.secrets), cardinality(d.url_tokens)) > 0 then 'proof'
      when d.allow_unauthenticated then 'anything'
      else 'nothing'
    end as accepts
  from source s
  join _policy d on d.source_id = s.id
  join providers() p on p.name = s.provider;
comment on view source_policy is 'What each source demands of a request, without the secrets themselves.';
comment on column source_policy.name is 'The source.';
comment on column source_policy.provider is 'Its provider.';
comment on column source_policy.scheme is 'What its requests carry: see providers().';
comment on column source_policy.secrets is 'How many secrets of the scheme are accepted now; two while one replaces another.';
comment on column source_policy.url_tokens is 'How many tokens of option url_token are accepted now. They are demanded on top of the scheme.';
comment on column source_policy.accepts is 'proof: what carries a secret, and a URL token where there is one; the connection: what arrives over the one that the worker opens; anything: see allow_unauthenticated; nothing: it has no secret yet.';

revoke all on function providers() from public;

-- A gRPC source's own schema, where the provider's real one differs from the one that
-- the worker has: package, service, method, names and numbers.

create table source_schema (
  source_id int primary key,
  method text not null,
  descriptor_set bytea not null,
  names jsonb not null default '{}',
  updated_at timestamptz not null default now()
);
comment on table source_schema is
  'The schema of a source whose provider speaks another one than the worker has. Made by set_source_schema.';
comment on column source_schema.source_id is 'The source.';
comment on column source_schema.method is 'The gRPC method: /package.Service/Method.';
comment on column source_schema.descriptor_set is 'An encoded google.protobuf.FileDescriptorSet.';
comment on column source_schema.names is 'The provider''s names of fields and enum values, and ours.';
comment on column source_schema.updated_at is 'When it was set.';
select pg_catalog.pg_extension_config_dump('tidings.source_schema', '');

create trigger notify after insert or update or delete or truncate on source_schema
  for each statement execute function _notify_source();

create function _check_schema(provider text, method text, proto text, descriptor_set bytea, names text)
  returns bytea
  language c immutable parallel safe
  as 'MODULE_PATHNAME', 'check_schema_wrapper';
comment on function _check_schema(text, text, text, bytea, text) is
  'Internal: the descriptor set, compiled where it is given as text; SQLSTATE 22023 unless the method is in it and its messages can be read.';

create function set_source_schema(
  name text, method text, proto text default null, descriptor_set bytea default null, names jsonb default '{}'
)
  returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  s tidings.source := tidings._source(name);
begin
  if num_nonnulls(proto, descriptor_set) <> 1 then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = 'give either proto or descriptor_set',
      hint = 'proto is the text of a .proto file; descriptor_set is what protoc --include_imports --descriptor_set_out writes.';
  end if;
  insert into tidings.source_schema as c (source_id, method, descriptor_set, names)
  values (
    s.id, set_source_schema.method,
    tidings._check_schema(s.provider, set_source_schema.method, proto, set_source_schema.descriptor_set, coalesce(set_source_schema.names, '{}')::text),
    coalesce(set_source_schema.names, '{}'))
  on conflict (source_id) do update
  set method = excluded.method, descriptor_set = excluded.descriptor_set, names = excluded.names, updated_at = now();
end
$$;
comment on function set_source_schema(text, text, text, bytea, jsonb) is
  'Gives a gRPC source (Ppoppo, Pushwoosh) the schema that its provider really speaks; a running worker uses it at once. "method" is /package.Service/Method. The schema is either "proto", the text of a .proto file, or "descriptor_set", an encoded FileDescriptorSet. "names" maps names of the provider to those that the worker has, of fields ("id", or "Message.id" where several messages have one) and of enum values: {"id": "event_id", "Target.phone": "ppnum", "DELIVERED_OK": "RECIPIENT_DELIVERED"}. The event may also stand inside a message, alone or repeated. Events that were stored by another schema stay as they were; to have them as this one reads them, see set_stream_cursor. SQLSTATE 42704 where there is no such source, 22023 where the schema cannot be used, with the reason.';

create function reset_source_schema(name text)
  returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  delete from tidings.source_schema where source_id = (tidings._source(name)).id;
end
$$;
comment on function reset_source_schema(text) is
  'Takes a source''s own schema away: the worker''s is used again. SQLSTATE 42704 where there is no such source.';

revoke all on function
  _check_schema(text, text, text, bytea, text), set_source_schema(text, text, text, bytea, jsonb), reset_source_schema(text)
from public;

-- Events that can be told apart but carry no time.
--
-- An event meets itself in its partition because it always carries the same time. One
-- that carries none gets the time of its first receipt, which is remembered here: the
-- row that is inserted first stands, and whoever comes later reads it, also while the
-- first one's transaction is still open.

create table undated (
  event_id ulid not null,
  source_id int not null,
  occurred_at timestamptz not null,
  primary key (event_id, source_id)
);
comment on table undated is
  'When events that carry no time were received first: that is their occurred_at, however often they come. Kept as long as the event.';
comment on column undated.event_id is 'tidings.event.event_id.';
comment on column undated.source_id is 'tidings.source.id.';
comment on column undated.occurred_at is 'tidings.event.occurred_at.';
select pg_catalog.pg_extension_config_dump('tidings.undated', '');

create function _forget_undated(before timestamptz) returns bigint
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  forgotten bigint;
begin
  with gone as (
    select u.event_id, u.source_id
    from tidings.undated u
    where u.occurred_at < before
      and not exists (
        select from tidings.event e
        where e.event_id = u.event_id and e.occurred_at = u.occurred_at and e.source_id = u.source_id)
    for update of u skip locked
  )
  delete from tidings.undated u using gone g where u.event_id = g.event_id and u.source_id = g.source_id;
  get diagnostics forgotten = row_count;
  return forgotten;
end
$$;
comment on function _forget_undated(timestamptz) is
  'Internal: deletes from tidings.undated what is older than this and whose event is gone.';

revoke all on function _forget_undated(timestamptz) from public;

-- What the worker is doing with each stream that it dials, as it reports it.

create table stream_state (
  source_id int primary key,
  state text not null check (state in ('connecting', 'connected', 'waiting', 'stopped', 'ended')),
  since timestamptz not null,
  worker text not null,
  connected_at timestamptz,
  failures int not null,
  last_error text,
  last_error_at timestamptz,
  next_try_at timestamptz,
  reported_at timestamptz not null
);
comment on table stream_state is
  'What was last reported of each dialed stream. Read it by tidings.stream_status. No data: a dump leaves it out.';
comment on column stream_state.source_id is 'The source.';
comment on column stream_state.state is 'See tidings.stream_status.';
comment on column stream_state.since is 'Since when it has been in this state.';
comment on column stream_state.worker is 'Which worker reports it: host and process id.';
comment on column stream_state.connected_at is 'When it was last connected.';
comment on column stream_state.failures is 'How many attempts have failed since events last came.';
comment on column stream_state.last_error is 'Why the last attempt failed, or the last connection ended; kept when it is connected again.';
comment on column stream_state.last_error_at is 'When that was.';
comment on column stream_state.next_try_at is 'When it is dialed again, where it waits or has stopped.';
comment on column stream_state.reported_at is 'When the worker last said so.';

create function report_stream(
  source text, state text, worker text,
  failures int default 0, last_error text default null, next_try_at timestamptz default null,
  last_error_at timestamptz default null
)
  returns void
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  at constant timestamptz := clock_timestamp();
begin
  if state is null or state <> all ('{connecting,connected,waiting,stopped,ended}') then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = format('a stream has no state "%s"', coalesce(state, 'null')),
      hint = 'The states are connecting, connected, waiting, stopped and ended.';
  end if;
  insert into tidings.stream_state as t (
    source_id, state, since, worker, connected_at, failures, last_error, last_error_at, next_try_at, reported_at)
  select s.id, report_stream.state, at, report_stream.worker,
    case when report_stream.state = 'connected' then at end,
    report_stream.failures, left(report_stream.last_error, 2000),
    case when report_stream.last_error is not null then coalesce(report_stream.last_error_at, at) end,
    report_stream.next_try_at, at
  from tidings.source s
  where s.name = report_stream.source and tidings._is_dialed(s.provider)
  on conflict (source_id) do update set
    state = excluded.state, worker = excluded.worker, failures = excluded.failures,
    next_try_at = excluded.next_try_at, reported_at = excluded.reported_at,
    since = case when t.state = excluded.state then t.since else excluded.since end,
    connected_at = case when t.state = 'connected' and excluded.state = 'connected' then t.connected_at else coalesce(excluded.connected_at, t.connected_at) end,
    last_error_at = coalesce(excluded.last_error_at, t.last_error_at),
    last_error = coalesce(excluded.last_error, t.last_error);
end
$$;
comment on function report_stream(text, text, text, int, text, timestamptz, timestamptz) is
  'For the worker: what it is doing with a stream that it dials. Without "last_error" the last one stays; "last_error_at" is when it was, by default now. A source that does not exist any more is no error. SQLSTATE 22023 for an unknown state.';

create view stream_status as
  select
    s.name as source,
    case
      when not s.enabled then 'disabled'
      when t.source_id is null then 'never dialed'
      when t.state <> 'ended' and t.reported_at < statement_timestamp() - interval '2 minutes' then 'unknown'
      else t.state
    end as state,
    t.since, t.worker, t.connected_at, m.cursor, m.updated_at as last_event_at,
    t.failures, t.last_error, t.last_error_at, t.next_try_at, t.reported_at
  from source s
  left join stream_state t on t.source_id = s.id
  left join stream m on m.source_id = s.id
  where _is_dialed(s.provider);
comment on view stream_status is 'How each source that the worker dials is doing.';
comment on column stream_status.source is 'The source.';
comment on column stream_status.state is 'connecting; connected; waiting: until next_try_at, after a failure that passes by itself; stopped: last_error says what has to be done, and it is tried again as soon as the source or its secret changes, or at next_try_at; ended: its worker has stopped; disabled: see set_source_enabled; never dialed: no worker has reported it; unknown: none has for two minutes.';
comment on column stream_status.since is 'Since when the worker has reported this state.';
comment on column stream_status.worker is 'Which worker: host and process id.';
comment on column stream_status.connected_at is 'When it was last connected.';
comment on column stream_status.cursor is 'Where it goes on: see stream_cursor.';
comment on column stream_status.last_event_at is 'When events of it were last stored.';
comment on column stream_status.failures is 'How many attempts have failed since events last came.';
comment on column stream_status.last_error is 'Why the last attempt failed, or the last connection ended; kept when it is connected again.';
comment on column stream_status.last_error_at is 'When that was.';
comment on column stream_status.next_try_at is 'When it is dialed again, where it waits or has stopped.';
comment on column stream_status.reported_at is 'When the worker last said so.';

create function set_stream_cursor(source text, cursor text)
  returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
  set lock_timeout = '5s'  -- whoever ingests waits behind this
as $$
declare
  s tidings.source := tidings._source(source);
begin
  perform tidings._require_log_access();
  if not tidings._is_dialed(s.provider) then
    raise exception using
      errcode = 'wrong_object_type',
      message = format('source "%s" has no stream', source),
      detail = format('Its provider, %s, sends to the worker.', s.provider),
      hint = 'SELECT source FROM tidings.stream_status lists the streams.';
  end if;
  -- Batches that are on their way would move it back, and so would a worker that has not
  -- seen that the source was disabled: it must have said that its stream has ended. Each
  -- look has a snapshot of its own.
  for attempt in 1..100 loop
    exit when not exists (
      select from tidings.stream_state t
      where t.source_id = s.id and t.state <> 'ended' and t.reported_at > clock_timestamp() - interval '2 minutes'
        and not (select x.enabled from tidings.source x where x.id = s.id));
    if attempt = 100 then
      raise exception using
        errcode = 'object_not_in_prerequisite_state',
        message = format('a worker still follows source "%s"', source),
        hint = 'It ends within seconds. One that was killed counts for two minutes.';
    end if;
    perform pg_sleep(0.1);
  end loop;
  perform pg_current_xact_id();
  lock table tidings.stream in exclusive mode;
  -- After the lock, and until the end: enabling it waits. What this transaction has done
  -- itself, also in a subtransaction, nobody else has seen.
  select x.* into s from tidings.source x where x.id = s.id for share;
  if s.enabled or (select age(x.xmin) <= 0 from tidings.source x where x.id = s.id) then
    raise exception using
      errcode = 'object_not_in_prerequisite_state',
      message = format('source "%s" is enabled', source),
      hint = format('First run SELECT tidings.set_source_enabled(''%s'', false), in a transaction of its own; and with true afterwards.', source);
  end if;
  if cursor = '' then
    raise exception using
      errcode = 'invalid_parameter_value', message = 'the cursor is empty', hint = 'Pass null to go on from the start.';
  end if;
  if cursor is null then
    delete from tidings.stream where source_id = s.id;
  else
    insert into tidings.stream as t (source_id, cursor, updated_at)
    values (s.id, set_stream_cursor.cursor, clock_timestamp())
    on conflict (source_id) do update set cursor = excluded.cursor, updated_at = excluded.updated_at;
  end if;
end
$$;
comment on function set_stream_cursor(text, text) is
  'Makes a stopped source''s stream go on behind this event id of its provider, or from its start where it is null. What comes again is stored once. Waits for the worker to end the stream. Events whose time is read otherwise than before, by another schema, are stored once more. SQLSTATE 55000 unless the source was disabled before, in a transaction of its own, and while a worker still follows it; 55P03 where others hold tidings.stream for long, 25001 in REPEATABLE READ and SERIALIZABLE; 22023 for an empty cursor, 42809 where it has no stream, 42704 where there is no such source.';

revoke all on function
  report_stream(text, text, text, int, text, timestamptz, timestamptz), set_stream_cursor(text, text)
from public;

-- Bytes in, rows out: verify, normalize, store, in one statement for a whole batch.

create or replace function _without_secrets(headers jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, tidings, pg_temp
as $$
  select case jsonb_typeof(headers) when 'object' then headers - '{authorization,url-token}'::text[] end
$$;
comment on function _without_secrets(jsonb) is
  'Internal: the headers of a request that passed its policy, without what let it pass.';

create or replace function _ingest(sources text[], bodies bytea[], headers jsonb[], verified boolean[])
  returns setof receipt
  language plpgsql volatile rows 100
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  idle interval := current_setting('idle_in_transaction_session_timeout');
  started_at timestamptz := clock_timestamp();
  newest tidings.ulid;
  first_id tidings.ulid;  -- of the events that are stored
  last_id tidings.ulid;
  receipts tidings.receipt[];
  is_replay constant boolean := verified is not null;
begin
  if cardinality(sources) is distinct from cardinality(bodies)
     or cardinality(sources) is distinct from cardinality(headers)
     or cardinality(sources) is null then
    raise exception using
      errcode = 'array_subscript_error',
      message = 'sources, bodies and headers are not of one length',
      detail = format('They have %s, %s and %s elements.',
        coalesce(cardinality(sources), 0), coalesce(cardinality(bodies), 0), coalesce(cardinality(headers), 0)),
      hint = 'Pass one source, one body and one object of headers for each request.';
  end if;
  perform tidings._require_log_access();

  -- Readers wait for a transaction that has ids: an idle one must not hold them for long.
  if idle not between '1 ms' and '10 s' then
    perform set_config('idle_in_transaction_session_timeout', '10s', true);
  end if;

  -- Each of the following is a statement of its own, in this order: see log.sql.
  perform tidings._log_enter();
  newest := tidings._log_newest();
  perform tidings._log_start(newest);

  with request as materialized (
    select
      r.ordinal::int, r.source, r.body, r.headers, s.id as source_id, s.provider,
      s.options::text as options,
      tidings._receipt(r.headers ->> 'receipt-id') as receipt,
      case
        when s.id is null then 'unknown_source'
        when not s.enabled then 'disabled'
        when r.verified then case when r.body is null then 'malformed' end
        when not tidings._verify(s.provider, p.secrets, p.url_tokens, p.allow_unauthenticated, r.body, r.headers::text)
          then 'unauthorized'
        when r.body is null then 'malformed'
      end as refused
    from unnest(sources, bodies, headers, verified) with ordinality r (source, body, headers, verified, ordinal)
    left join (tidings.source s join tidings._policy p on p.source_id = s.id) on s.name = r.source
    order by r.ordinal  -- positions are given in the order of the requests
  ),
  item as materialized (
    select
      r.ordinal as request, r.source_id, r.provider, r.source, r.receipt,
      coalesce(r.receipt::timestamptz, started_at) as received_at,
      n.*, tidings._log_id() as id
    from request r
    cross join lateral tidings._normalize(r.provider, r.source, r.options, r.body) n
    where r.refused is null
  ),
  dated as (
    insert into tidings.undated as u (event_id, source_id, occurred_at)
    select i.event_id, i.source_id, min(i.received_at)
    from item i
    where i.error is null and i.event_id is not null and i.occurred_at is null
    group by i.event_id, i.source_id
    order by i.event_id, i.source_id
    -- Not "do nothing": that would return no row where there is one already.
    on conflict (event_id, source_id) do update set occurred_at = u.occurred_at
    returning u.event_id, u.source_id, u.occurred_at
  ),
  stored as (
    insert into tidings.event (
      id, event_id, source_id, provider, kind, provider_kind, channel, occurred_at, received_at,
      request_id, message_id, recipient, campaign, error_code, reason, payload
    )
    select
      i.id,
      -- What has no identity is identified by its receipt, or else is an event each time.
      coalesce(i.event_id, tidings._receipt_event_id(i.provider, i.source, i.receipt, i.received_at, i.ordinal, i.payload::text), i.id) as event_id,
      i.source_id, i.provider, i.kind, i.provider_kind, i.channel,
      coalesce(i.occurred_at, d.occurred_at, i.received_at) as occurred_at,
      i.received_at, i.request_id, i.message_id, i.recipient, i.campaign, i.error_code, i.reason, i.payload
    from item i
    left join dated d on d.event_id = i.event_id and d.source_id = i.source_id and i.occurred_at is null
    where i.error is null
    -- By the key, so that concurrent batches with the same events never deadlock; of
    -- equal events the first is stored.
    order by 2, 8, 3, 1
    on conflict do nothing
    returning id
  ),
  refusal (source_id, received_at, verdict, reason, ordinal, headers, body) as (
    select r.source_id, coalesce(r.receipt::timestamptz, started_at), r.refused,
      case r.refused when 'unauthorized' then 'the request does not carry what the source demands' else 'the body is null' end,
      null::int, case r.refused when 'unauthorized' then r.headers else tidings._without_secrets(r.headers) end, r.body
    from request r
    where r.refused in ('unauthorized', 'malformed')
    union all
    select i.source_id, i.received_at, 'malformed', i.error, null, tidings._without_secrets(r.headers), r.body
    from item i join request r on r.ordinal = i.request
    where i.ordinal is null
    union all
    select i.source_id, i.received_at, 'item', i.error, i.ordinal, null, i.item
    from item i
    where i.error is not null and i.ordinal is not null
  ),
  kept as (
    insert into tidings.rejected (id, received_at, source_id, verdict, reason, ordinal, headers, body, body_bytes)
    select tidings._log_id(), f.received_at, f.source_id, f.verdict, f.reason, f.ordinal, f.headers,
      substr(f.body, 1, 1 << 20), coalesce(octet_length(f.body), 0)
    from refusal f
    where not is_replay
  ),
  resumed as (
    insert into tidings.stream as t (source_id, cursor, updated_at)
    select distinct on (i.source_id) i.source_id, c.cursor, started_at
    from item i
    cross join lateral (
      select coalesce(i.payload -> 'event_id', i.payload -> 'eventId') as id, coalesce(i.payload ->> 'event_id', i.payload ->> 'eventId') as cursor
    ) c
    where not is_replay and tidings._is_dialed(i.provider) and jsonb_typeof(c.id) = 'string' and c.cursor <> ''
    order by i.source_id, i.request desc, i.ordinal desc
    on conflict (source_id) do update set cursor = excluded.cursor, updated_at = excluded.updated_at
  ),
  outcome as (
    select
      i.request,
      count(s.id)::int as inserted,
      (count(*) filter (where i.error is null) - count(s.id))::int as duplicate,
      (count(*) filter (where i.error is not null and i.ordinal is not null))::int as rejected,
      bool_or(i.ordinal is null) as malformed,
      (array_agg(coalesce('item ' || i.ordinal || ': ', '') || i.error order by i.ordinal)
        filter (where i.error is not null))[1:3] as reasons
    from item i
    left join stored s on s.id = i.id
    group by i.request
  )
  select array_agg((
      coalesce(r.refused, case when o.malformed then 'malformed' else 'accepted' end),
      coalesce(o.inserted, 0), coalesce(o.duplicate, 0), coalesce(o.rejected, 0),
      case r.refused
        when 'unknown_source' then format('no source is named %s', coalesce('"' || r.source || '"', 'null'))
        when 'disabled' then format('source "%s" is disabled', r.source)
        when 'unauthorized' then 'the request does not carry what the source demands'
        when 'malformed' then 'the body is null'
        else array_to_string(o.reasons, '; ') || case when o.rejected > 3 then '; ..' else '' end
      end,
      r.ordinal
    )::tidings.receipt order by r.ordinal),
    (select min(s.id) from stored s), (select max(s.id) from stored s)
  into receipts, first_id, last_id
  from request r
  left join outcome o on o.request = r.ordinal;

  if not is_replay and exists (select from unnest(receipts) r where r.rejected > 0 or r.verdict in ('unauthorized', 'malformed')) then
    perform tidings._trim_rejected(sources);
  end if;
  if first_id is not null then
    -- No other transaction has an id between: each takes a run of its own.
    perform tidings._add_to_state(first_id, last_id);
    if tidings._notifies() then
      notify tidings;
    end if;
  end if;
  return query select r.* from unnest(receipts) r;
end
$$;
comment on function _ingest(text[], bytea[], jsonb[], boolean[]) is
  'Internal: ingest_batch. With "verified" it is a replay of what is in tidings.rejected: where that is true the request passed its policy when it arrived, and is not verified again; what is refused is not kept once more; and no stream''s cursor moves.';

create or replace function ingest_batch(sources text[], bodies bytea[], headers jsonb[])
  returns setof receipt
  language plpgsql volatile security definer rows 100
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  return query select r.* from tidings._ingest(sources, bodies, headers, null) r;
end
$$;
comment on function ingest_batch(text[], bytea[], jsonb[]) is
  'Takes many requests in one statement, and tells of each what became of it, in their order. All of it is stored when the transaction commits: answer the senders after that. One bad request, or one bad item, fails no other. Headers have names in lower case; "url-token" is the token of the URL, and "receipt-id" (a UUID of version 7, or a ULID) the time and identity of the receipt, so that a batch can be repeated. SQLSTATE 2202E where the arrays differ in length, 25001 in REPEATABLE READ and SERIALIZABLE, 25006 on a standby.';

create or replace function ingest(source text, body bytea, headers jsonb default '{}')
  returns receipt
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  answer tidings.receipt;
begin
  select r.* into answer from tidings.ingest_batch(array[source], array[body], array[headers]) r;
  return answer;
end
$$;
comment on function ingest(text, bytea, jsonb) is
  'Takes one request as a provider sent it: verifies it, normalizes it, stores each event once. See ingest_batch for many at a time, and for what the headers are.';

create or replace function _trim_rejected(sources text[]) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  -- Waits for nobody: a replay that holds a row may be waiting for an event of this transaction.
  delete from tidings.rejected r
  using (
    select l.id
    from tidings.rejected l
    join (
      select k.id, row_number() over newest_first as n, sum(octet_length(k.body) + coalesce(pg_column_size(k.headers), 0)) over newest_first as bytes
      from tidings.rejected k
      where k.source_id in (select s.id from tidings.source s where s.name = any (sources))
      window newest_first as (partition by k.source_id, k.verdict order by k.id desc rows unbounded preceding)
    ) x on x.id = l.id
    where x.n > 1000 or (x.n > 1 and x.bytes > 16 << 20)
    for update of l skip locked
  ) x
  where r.id = x.id;
end
$$;
comment on function _trim_rejected(text[]) is 'Internal: holds tidings.rejected within its bound.';


create or replace function _maintain(at timestamptz) returns setof maintained
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
  set timezone = 'UTC'
  set datestyle = 'ISO, YMD'
as $$
declare
  most_moved constant bigint := 1000000;
  settings tidings.retention;
  expires_at timestamptz;
  p tidings._partition;
  partition record;
  planned tidings._partition[] := '{}';
  expired regclass[] := '{}';
  expired_rows bigint[] := '{}';
  moved bigint := 0;
  rows_left bigint := 0;
  unread text;
  n bigint;
begin
  perform tidings._require_log_access();
  begin
    select r.* into strict settings from tidings.retention r for no key update nowait;
  exception
    when no_data_found then
      raise exception using
        errcode = 'object_not_in_prerequisite_state',
        message = 'tidings.retention has no row',
        hint = 'INSERT INTO tidings.retention DEFAULT VALUES brings it back.';
    when lock_not_available then
      return next ('busy', 'tidings.retention', null, 'another session runs tidings.maintain, or changes the settings')::tidings.maintained;
      return;
  end;
  expires_at := at - settings.keep_events;
  -- The parent first, also for reading: who locks it for himself, and with it the default
  -- partition, would otherwise wait for this, and this for him.
  lock table only tidings.event in access share mode;

  -- Without locks that others wait for.
  for p in select m.* from tidings._missing_partitions(at, settings) m loop
    if p.is_past and moved >= most_moved then
      rows_left := rows_left + p.rows;
      continue;
    end if;
    p := tidings._build_partition(p);
    moved := moved + p.rows;
    planned := planned || p;
  end loop;
  for partition in
    select x.relation, tidings._object(x.relation) as object
    from tidings._partitions() x where x.ends_at <= expires_at order by x.starts_at
  loop
    execute format('select count(*) from %s', partition.relation) into n;
    unread := tidings._unread(partition.relation);
    if unread is null then
      expired := expired || partition.relation;
      expired_rows := expired_rows || n;
    else
      return next ('kept', partition.object, n, format('not acknowledged by %s', unread))::tidings.maintained;
    end if;
  end loop;

  if cardinality(planned) + cardinality(expired) > 0 then
    perform tidings._lock_event(expired);
  end if;
  if cardinality(expired) > 0 then
    perform tidings._log_keep(tidings._log_newest());
  end if;
  if cardinality(planned) > 0 then
    planned := tidings._move_rows(planned);
    perform tidings._attach_partitions(planned);
    foreach p in array planned loop
      return next ('created', 'tidings.' || p.name, p.rows, format('from %s to %s', p.starts_at, p.ends_at))::tidings.maintained;
    end loop;
  end if;
  for i in 1..cardinality(expired) loop
    unread := tidings._unread(expired[i]);
    if unread is null then
      return next ('dropped', tidings._object(expired[i]), expired_rows[i], format('expired before %s', expires_at))::tidings.maintained;
      execute format('drop table %s', expired[i]);
    else
      return next ('kept', tidings._object(expired[i]), expired_rows[i], format('not acknowledged by %s', unread))::tidings.maintained;
    end if;
  end loop;

  n := tidings._delete_expired(expires_at);
  if n > 0 then
    return next ('deleted', 'tidings.event_default', n, format('expired before %s', expires_at))::tidings.maintained;
  end if;
  perform tidings._forget_undated(expires_at);
  n := tidings._trim_rejected_before(at - settings.keep_rejected);
  if n > 0 then
    return next ('trimmed', 'tidings.rejected', n, format('received before %s', at - settings.keep_rejected))::tidings.maintained;
  end if;
  if rows_left > 0 then
    return next ('left', 'tidings.event_default', rows_left, 'moved to partitions by the next calls')::tidings.maintained;
  end if;
end
$$;

create or replace function _replay_batch(ids ulid[], heads ulid[], first_ordinal int) returns setof receipt
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  q record;
  answer tidings.receipt;
  requests jsonb;  -- of each: head, source, provider, options, verdict
  sources text[];
  bodies bytea[];
  headers jsonb[];
  verified boolean[];
  next_ordinal int := first_ordinal;
begin
  -- A row that another transaction deletes or replays is left to it.
  with kept as materialized (
    select r.id, r.source_id, r.received_at, r.verdict, r.headers, r.body, b.head
    from unnest(ids, heads) b (id, head)
    join tidings.rejected r on r.id = b.id
    order by r.id
    for update of r skip locked
  ),
  request as (
    select k.head, min(k.verdict) as verdict, min(k.source_id) as source_id, min(k.received_at) as received_at,
      (array_agg(k.headers))[1] as headers,
      case when min(k.verdict) = 'item' then '['::bytea || string_agg(k.body, ','::bytea) || ']'::bytea
        else (array_agg(k.body))[1] end as body
    from kept k
    group by k.head
    having count(*) = (select count(*) from unnest(heads) h (head) where h.head = k.head)
  )
  select
    jsonb_agg(jsonb_build_object('head', r.head, 'source', s.name, 'provider', s.provider,
      'options', s.options::text, 'verdict', r.verdict) order by r.head),
    array_agg(s.name order by r.head), array_agg(r.body order by r.head),
    array_agg(tidings._first_receipt(r.headers, r.received_at, r.head) order by r.head),
    array_agg(r.verdict <> 'unauthorized' order by r.head)
  into requests, sources, bodies, headers, verified
  from request r
  left join tidings.source s on s.id = r.source_id;
  if requests is null then
    return;
  end if;

  for answer in select r.* from tidings._ingest(sources, bodies, headers, verified) r order by r.ordinal loop
    select x.* into q
    from jsonb_to_record(requests -> (answer.ordinal - 1)) x (head tidings.ulid, source text, provider text, options text, verdict text);
    case
      when answer.verdict = 'accepted' and answer.rejected = 0 then
        delete from tidings.rejected r where r.id in (select b.id from unnest(ids, heads) b (id, head) where b.head = q.head);
      when answer.verdict = 'accepted' and q.verdict <> 'item' then
        -- As at any request: what is left of it are the items that are no events.
        insert into tidings.rejected (id, received_at, source_id, verdict, reason, ordinal, headers, body, body_bytes)
        select tidings.gen_ulid(), r.received_at, r.source_id, 'item', n.error, n.ordinal, null,
          substr(n.item, 1, 1 << 20), octet_length(n.item)
        from tidings.rejected r
        cross join lateral tidings._normalize(q.provider, q.source, q.options, r.body) n
        where r.id = q.head and n.error is not null;
        delete from tidings.rejected r where r.id = q.head;
        perform tidings._trim_rejected(array[q.source]);
      when answer.verdict = 'accepted' then
        update tidings.rejected r
        set reason = (
          select n.error
          from tidings._normalize(q.provider, q.source, q.options, bodies[answer.ordinal]) n
          where n.error is not null order by n.ordinal limit 1)
        where r.id in (select b.id from unnest(ids, heads) b (id, head) where b.head = q.head);
      when answer.verdict = 'malformed' and q.verdict <> 'item' then
        -- It passed its policy, so its secrets are the right ones.
        update tidings.rejected r
        set verdict = 'malformed', reason = answer.detail, headers = tidings._without_secrets(r.headers)
        where r.id = q.head;
      else
        null;  -- it stays as it is
    end case;
    answer.ordinal := next_ordinal;
    next_ordinal := next_ordinal + 1;
    return next answer;
  end loop;
end
$$;

-- Who may do what. PUBLIC has the type and the pure functions; nothing else.

create or replace function _require_role(role regrole)
  returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  if role is null then
    raise exception using
      errcode = 'null_value_not_allowed', message = 'the role is null', hint = 'Pass the name of a role.';
  end if;
end
$$;
comment on function _require_role(regrole) is 'Internal: SQLSTATE 22004 where there is no role.';

create or replace function grant_reader(role regrole)
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
    ' tidings.consumer, tidings.lag, tidings.retention, tidings.source_policy, tidings.stream_status to %s', role);
  execute format(
    'grant execute on function tidings.events_after(tidings.ulid, int, text, text[]), tidings.stream_cursor(text),'
    ' tidings._source(text), tidings._require_log_access(), tidings._log_horizon(), tidings._clock_ms(),'
    ' tidings._count(text), tidings._log_holder(), tidings._log_tail(), tidings._unacknowledged(tidings.ulid),'
    ' tidings.poll(text, int), tidings.ack(text, tidings.ulid) to %s', role);
end
$$;
comment on function grant_reader(regrole) is
  'Lets a role query events, state, sources and lag, and follow the log, also by the consumers that there are: to make, move and drop them is administration. It sees how sources and streams are doing, but no secret, and nothing of what was rejected.';

create or replace function grant_worker(role regrole)
  returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  perform tidings._require_role(role);
  execute format('grant usage on schema tidings to %s', role);
  execute format('grant select on tidings.source, tidings.source_schema, tidings.source_policy, tidings.stream_status to %s', role);
  execute format(
    'grant execute on function tidings.ingest(text, bytea, jsonb), tidings.ingest_batch(text[], bytea[], jsonb[]),'
    ' tidings.verify(text, bytea, jsonb), tidings.find_source(text, jsonb),'
    ' tidings.stream_cursor(text), tidings.stream_secret(text),'
    ' tidings.report_stream(text, text, text, int, text, timestamptz, timestamptz), tidings.maintain() to %s', role);
end
$$;
comment on function grant_worker(regrole) is
  'Lets a role do what the worker does: read the sources and their schemas, verify, ingest, report on streams, and call maintain. It can read no event, nothing of what was rejected, and no secret but those with which it dials.';

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

comment on function hmac_sha1(bytea, bytea) is
  'HMAC-SHA1 of a body under a key: 20 bytes (RFC 2104; vectors in RFC 2202).';
comment on function verify_hmac_sha1(bytea, bytea, text) is
  'Whether a signature is the whole HMAC-SHA1 tag of the body under the key, compared in constant time. Read strictly: 40 hexadecimal digits of either case, or base64 (standard or URL-safe, padded or not), with an optional "sha1=" before it. Truncated and malformed signatures, and an empty key, are false.';
comment on type normalized_event is 'One item of a provider''s request, told in the common vocabulary.';
comment on column normalized_event.ordinal is 'Its place in the request, from 1.';
comment on column normalized_event.event_id is 'The provider''s ULID, or one derived from what the event says; null where the provider gives nothing that would tell the event from another.';
comment on column normalized_event.kind is 'What it means: message.delivered, consent.granted, .. or other.';
comment on column normalized_event.provider_kind is 'What the provider calls it.';
comment on column normalized_event.channel is 'sms, push, email, chat, or the provider''s word in lower case.';
comment on column normalized_event.occurred_at is 'The provider''s clock; null where the item carries no time.';
comment on column normalized_event.request_id is 'The send request that the message belongs to.';
comment on column normalized_event.message_id is 'The provider''s id of the message.';
comment on column normalized_event.recipient is 'The person: whom it was sent to, or who wrote to us; a number, an address, a device or a subscriber.';
comment on column normalized_event.campaign is 'The provider''s campaign.';
comment on column normalized_event.error_code is 'The provider''s code of a failure.';
comment on column normalized_event.reason is 'The provider''s words about a failure or a state.';
comment on column normalized_event.payload is 'The item as sent; null where jsonb cannot hold it.';
comment on column normalized_event.error is 'Why the item is no event; null where it is one.';
comment on function _normalize is
  'Internal: the items of a body sent to a source. One row with a null ordinal says that the whole body is malformed.';
comment on function tidings.normalize(text, bytea) is
  'What a body of this provider (see providers()) says, a row for each item. An item that is no event has its reason in "error"; a body that is no JSON object or array is an error (SQLSTATE 22032), an unknown provider another (22023). Derived ids differ from those of stored events, for a source''s name is part of them. Times without an offset are read as UTC.';
comment on function tidings.normalize(text, jsonb) is
  'The same, of a body that is jsonb. Where an id is derived from the bytes of an item (Pushwoosh by HTTP), it is derived from its jsonb form.';
comment on function _verify(text, text[], text[], boolean, bytea, text) is 'Internal: whether a request meets these demands.';
comment on function _check_options(text, text) is 'Internal: raises SQLSTATE 22023 unless the provider exists and its sources take these options.';
comment on function _is_dialed(text) is 'Internal: whether the worker dials this provider, and resumes from a cursor.';
comment on function _raise_malformed(text) is 'Internal: raises SQLSTATE 22032 with this message.';
comment on function _receipt(text) is 'Internal: the receipt id of a header, a ULID or a UUID; null of anything else.';
comment on function _receipt_event_id(text, text, ulid, timestamptz, int, text) is 'Internal: the identity of an event that has none but its receipt.';

comment on table source is 'An account at a provider that sends events. Made by add_source; shows no secret.';
comment on column source.id is 'Stands in tidings.event; never used again.';
comment on column source.name is 'Stands in the URL of its webhooks: 1 to 63 letters, digits, ".", "_" and "-".';
comment on column source.provider is 'One of providers().';
comment on column source.options is 'The options of add_source, without the secret ones.';
comment on column source.enabled is 'Whether its events are taken. Set by set_source_enabled.';
comment on column source.created_at is 'When it was added.';
comment on table source_secret is
  'The secrets of sources. In clear text, for signatures cannot be checked against a hash: readable by the owner of the extension alone.';
comment on column source_secret.source_id is 'The source.';
comment on column source_secret.kind is 'secret: of the provider''s own scheme; url_token: the last part of the webhook''s URL.';
comment on column source_secret.value is 'The secret.';
comment on column source_secret.created_at is 'When it was set.';
comment on column source_secret.expires_at is 'When it stops being accepted; null while it is the current one.';
comment on table stream is 'How far each resumable stream was read; kept in the transaction that stores its events.';
comment on column stream.source_id is 'The source.';
comment on column stream.cursor is 'The provider''s id of the last event that was stored, in the order of arrival.';
comment on column stream.updated_at is 'When it was stored.';
comment on function _notify_source() is 'Internal: tells workers that their sources changed.';
comment on function _source(text) is 'Internal: the source of this name, or SQLSTATE 42704.';
comment on function _require_secret(text, text) is 'Internal: the value, or SQLSTATE 22023 where it is null or empty.';
comment on function add_source(text, text, text, jsonb) is
  'Adds a source and returns its id. "secret" is what the provider''s own scheme needs: Ppoppo''s bearer token (or, with token_url, its client secret), Pushwoosh''s whole Authorization value, Arpoone''s URL token, PushPushGo''s ProjectId. Options of every source: url_token (a token demanded on top, as the last part of the URL), allow_unauthenticated (a webhook source with neither secret nor token refuses everything unless this is true). Of Ppoppo: endpoint (its path goes before the method''s), send_request_id, overlap (how many seconds of events are read again after a connection has ended), token_env, token_file (where the worker finds the token), token_url, client_id, scope (OAuth2 client credentials), ca_file, keepalive and idle_limit (seconds; 0 is never). Of Arpoone: timezone, time_format (of strptime, tried first). See providers(). SQLSTATE 22023 for an unknown provider or option, 42710 where the name is taken.';
comment on function rotate_secret(text, text, interval) is
  'Gives a source another secret; the old ones are accepted for "overlap" more. SQLSTATE 42704 where there is no such source, 22023 for an empty secret.';
comment on function set_source_enabled(text, boolean) is
  'Stops or resumes a source. Requests to a stopped one are answered so that the provider sends them again. SQLSTATE 42704 where there is no such source.';
comment on function drop_source(text) is
  'Removes a source with its secrets, its schema, its cursor and what was rejected of it. Its events stay. SQLSTATE 42704 where there is no such source.';
comment on function verify(text, bytea, jsonb) is
  'Whether a request carries what its source demands: signature, Authorization value, URL token, with any of the live secrets. Headers have names in lower case; the URL''s token is "url-token". Whether the source is enabled does not matter. SQLSTATE 42704 where there is no such source.';
comment on view _policy is 'Internal: what each source demands now.';
comment on function stream_cursor(text) is
  'Where a resumable stream goes on: the provider''s id of the last event stored of it; null at its start. SQLSTATE 42704 where there is no such source.';
comment on function stream_secret(text) is
  'The bearer token with which the worker dials a source; null where it has none, and for a source that is not dialed: a worker needs no other secret. SQLSTATE 42704 where there is no such source.';
comment on function find_source(text, jsonb) is
  'The enabled source of this provider that accepts these headers, for requests whose URL names none; null where there is none.';

comment on table event is
  'Every event, once. Written by ingest alone; followed with events_after. The parent carries no index, because a dump of one could not be restored: each partition has its own.';
comment on column event.id is 'Its position in the log, given at ingestion: the cursor.';
comment on column event.event_id is 'Its identity: the provider''s ULID, or one derived from what the event says.';
comment on column event.source_id is 'tidings.source.id.';
comment on column event.provider is 'One of providers().';
comment on column event.kind is 'What it means: message.delivered, consent.granted, .. or other.';
comment on column event.provider_kind is 'What the provider calls it.';
comment on column event.channel is 'sms, push, email, chat, or the provider''s word in lower case.';
comment on column event.occurred_at is 'The provider''s clock; where it sends no time, when the event was first received.';
comment on column event.received_at is 'Our clock, when the request arrived.';
comment on column event.request_id is 'The send request that the message belongs to.';
comment on column event.message_id is 'The provider''s id of the message.';
comment on column event.recipient is 'The person: whom it was sent to, or who wrote to us; a number, an address, a device or a subscriber.';
comment on column event.campaign is 'The provider''s campaign.';
comment on column event.error_code is 'The provider''s code of a failure.';
comment on column event.reason is 'The provider''s words about a failure or a state.';
comment on column event.payload is 'The item as sent.';
comment on table event_default is 'The events of times that no other partition holds.';
comment on table rejected is
  'What could not be taken as an event, with the reason; kept within a bound for each source and verdict: the newest 1000, and of those the newest 16 MB.';
comment on column rejected.id is 'In the order of rejection.';
comment on column rejected.received_at is 'When the request arrived.';
comment on column rejected.source_id is 'tidings.source.id.';
comment on column rejected.verdict is 'unauthorized: the request failed its source''s policy; malformed: its body could not be cut into items; item: one item was no event.';
comment on column rejected.reason is 'What was wrong.';
comment on column rejected.ordinal is 'The item''s place in its request, from 1; null of a whole request.';
comment on column rejected.headers is 'Of a whole request: its headers; without its secrets where they were the right ones.';
comment on column rejected.body is 'The body, or the item, as it arrived; of more than 1 MB only the beginning.';
comment on column rejected.body_bytes is 'How many bytes it had.';

comment on table message is
  'The current status of each message to each recipient. The status is the event greatest by (is final, occurred_at, rank, event_id); opens and clicks are counted beside it.';
comment on column message.message_key is 'What the provider tells messages apart by: the send request where it names one, else the message.';
comment on column message.recipient is 'Whom it was sent to; empty where the provider does not say.';
comment on column message.source_id is 'tidings.source.id.';
comment on column message.provider is 'One of providers().';
comment on column message.message_id is 'The provider''s id of the message.';
comment on column message.request_id is 'The send request that it belongs to.';
comment on column message.channel is 'sms, push, email, chat, or the provider''s word in lower case.';
comment on column message.campaign is 'The provider''s campaign.';
comment on column message.status is 'message.accepted < message.sent < message.pending < final: message.delivered, message.failed, message.rejected, message.expired, message.bounced. Null where only opens, clicks and the like are known.';
comment on column message.is_final is 'Whether the status is a final one.';
comment on column message.status_at is 'When the status was reached, by the provider''s clock.';
comment on column message.status_rank is 'The rank of the status; final from 4 on.';
comment on column message.status_event_id is 'tidings.event.event_id of the event that gave the status.';
comment on column message.error_code is 'Of that event.';
comment on column message.reason is 'Of that event.';
comment on column message.least_final is 'The first of the final statuses seen, in the order of their names.';
comment on column message.greatest_final is 'The last of them.';
comment on column message.final_conflict is 'Whether two different final statuses were seen, such as failed after delivered.';
comment on column message.first_event_at is 'The time of its first event.';
comment on column message.last_event_at is 'The time of its last event.';
comment on column message.opens is 'How often it was opened.';
comment on column message.first_opened_at is 'When first.';
comment on column message.clicks is 'How often it was clicked.';
comment on column message.first_clicked_at is 'When first.';
comment on table consent is 'Whether a recipient allows messages of an app: the last word by (occurred_at, event_id).';
comment on column consent.recipient is 'The recipient.';
comment on column consent.source_id is 'tidings.source.id: the app.';
comment on column consent.provider is 'The provider.';
comment on column consent.status is 'consent.requested, consent.granted or consent.denied.';
comment on column consent.status_at is 'When, by the provider''s clock.';
comment on column consent.status_event_id is 'tidings.event.event_id of the event that said so.';
comment on column consent.requested_at is 'When it was last requested.';
comment on column consent.granted_at is 'When it was last granted.';
comment on column consent.denied_at is 'When it was last denied.';
comment on table subscriber is 'Each subscriber as its subscriber events left it.';
comment on column subscriber.recipient is 'The subscriber''s id.';
comment on column subscriber.source_id is 'tidings.source.id.';
comment on column subscriber.provider is 'The provider.';
comment on column subscriber.status is 'subscriber.subscribed or subscriber.unsubscribed, whichever came last; null where only updates came.';
comment on column subscriber.status_at is 'When.';
comment on column subscriber.status_event_id is 'tidings.event.event_id of the event that said so.';
comment on column subscriber.custom_id is 'Your own id of it, as the last event that carries one says.';
comment on column subscriber.custom_id_at is 'When that event came.';
comment on column subscriber.custom_id_event_id is 'tidings.event.event_id of that event.';
comment on column subscriber.first_event_at is 'The time of its first event.';
comment on column subscriber.last_event_at is 'The time of its last event.';
comment on table request_summary is 'Each send request, with what the provider says that it came to. tidings.request sets what was seen beside it.';
comment on column request_summary.request_id is 'The send request.';
comment on column request_summary.source_id is 'tidings.source.id.';
comment on column request_summary.provider is 'The provider.';
comment on column request_summary.first_event_at is 'The time of its first event.';
comment on column request_summary.last_event_at is 'The time of its last event.';
comment on column request_summary.completed_at is 'When the provider said that it is complete; null before.';
comment on column request_summary.completed_event_id is 'tidings.event.event_id of the event that said so.';
comment on column request_summary.summary is 'What the provider said then.';
comment on function _count(text) is 'Internal: a count as a provider wrote it; null of anything else.';
comment on view request is 'Each send request: the provider''s summary, and what was seen of its messages. A difference other than 0 means that events are missing, or still on their way.';
comment on column request.request_id is 'The send request.';
comment on column request.source_id is 'tidings.source.id.';
comment on column request.provider is 'The provider.';
comment on column request.first_event_at is 'The time of its first event.';
comment on column request.last_event_at is 'The time of its last event.';
comment on column request.completed_at is 'When the provider said that it is complete; null before.';
comment on column request.delivered is 'To how many recipients it was delivered, as the provider says.';
comment on column request.failed is 'To how many it was not, as the provider says.';
comment on column request.seen_delivered is 'How many of its messages were seen delivered.';
comment on column request.seen_failed is 'How many were seen to end otherwise.';
comment on column request.seen_unfinished is 'How many were seen, and have no final status.';
comment on column request.delivered_difference is 'delivered - seen_delivered; null before it is complete.';
comment on column request.failed_difference is 'failed - seen_failed; null before it is complete.';
comment on type _status is 'Internal: a delivery status, in the order in which one outdoes another.';
comment on column _status.is_final is 'message.is_final.';
comment on column _status.at is 'message.status_at.';
comment on column _status.rank is 'message.status_rank.';
comment on column _status.event_id is 'message.status_event_id.';
comment on column _status.status is 'message.status.';
comment on column _status.error_code is 'message.error_code.';
comment on column _status.reason is 'message.reason.';
comment on type _latest is 'Internal: what an event said, in the order in which a later one outdoes it.';
comment on column _latest.at is 'The event''s time.';
comment on column _latest.event_id is 'The event.';
comment on column _latest.value is 'What it said.';
comment on function _rank(text) is
  'Internal: the rank of a delivery status, final from 4 on; null of a kind that is none.';
comment on function _add_to_state(ulid, ulid) is 'Internal: adds the events of these positions to the state tables.';
comment on function rebuild_state() is
  'Makes the state tables anew from the events, and says how many rows each has. They come out as they were, but for what came from events that retention has removed since: it is needed only where events were changed by hand. Ingest and readers of the state wait for it. SQLSTATE 25001 in REPEATABLE READ and SERIALIZABLE, whose snapshot would be too old.';

