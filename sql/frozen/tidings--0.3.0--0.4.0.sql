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
create or replace function _digest_secret() returns trigger
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  new.digest := sha256(convert_to(new.value, 'UTF8'));
  return new;
end
$$;

create trigger digest before insert or update on source_secret
  for each row execute function _digest_secret();
alter table source_secret enable always trigger digest;
update source_secret set digest = null;
alter table source_secret
  drop constraint source_secret_pkey,
  alter column digest set not null,
  add primary key (source_id, kind, digest);

-- Which worker follows which stream: of several workers on one database, one each.
--
-- A lease has an epoch, another one each time that the stream goes to another worker. What
-- a worker has read of the stream it ingests with the epoch that it was given; ingest holds
-- the row (FOR KEY SHARE) until its transaction ends, so that the stream goes to nobody
-- else in between, and refuses what carries another epoch: a worker that was paused for
-- longer than its lease and wakes up writes nothing (a fencing token). No session lock, so
-- that it works through a pooler; no clock but the server's.

create table stream_lease (
  source_id int primary key,
  epoch bigint not null,
  holder uuid not null,
  worker text not null,
  taken_at timestamptz not null,
  renewed_at timestamptz not null,
  expires_at timestamptz not null,
  -- Makes another epoch another key: to give the stream away conflicts with who ingests
  -- under its lease, to renew the lease does not.
  unique (source_id, epoch)
);
comment on table stream_lease is
  'Which worker follows each dialed stream, and until when. No data: a dump leaves it out.';
comment on column stream_lease.source_id is 'The source.';
comment on column stream_lease.epoch is 'The lease''s number: greater each time that another worker takes the stream. No two are the same, also after a restore.';
comment on column stream_lease.holder is 'The process that has it: a UUID that it drew when it started.';
comment on column stream_lease.worker is 'The same for people: host and process id.';
comment on column stream_lease.taken_at is 'Since when it has had it.';
comment on column stream_lease.renewed_at is 'When it was last renewed, or taken.';
comment on column stream_lease.expires_at is 'From when on another worker may take it, unless it is renewed; at once where renewed_at lies more than a second in the future.';

create function hold_streams(holder uuid, worker text, sources text[], lease interval)
  returns table (source text, epoch bigint, wait interval)
  language plpgsql volatile security definer rows 10
  set search_path = pg_catalog, tidings, pg_temp
as $$
#variable_conflict use_column
declare
  at constant timestamptz := clock_timestamp();
  until timestamptz;
  ids constant int[] := (
    select array_agg(s.id order by s.id) from tidings.source s
    where s.name = any (sources) and s.enabled and tidings._is_dialed(s.provider));
begin
  if holder is null or worker is null or lease is null or lease not between '100 ms' and '1 day' then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = 'a lease needs its holder, its worker, and a time between 100 ms and a day',
      detail = format('The holder is %s, the worker %s, the time %s.',
        coalesce(holder::text, 'null'), coalesce('"' || worker || '"', 'null'), coalesce(lease::text, 'null')),
      hint = 'The holder is a UUID that the process drew when it started.';
  end if;
  until := at + lease;
  -- While a standby is away, leases are given all the same: what a failover undoes of them
  -- fences the one who has taken a stream, who asks again.
  perform set_config('synchronous_commit', 'local', true);
  -- Its own, also where the time is over: nobody else has taken it. Who ingests under it
  -- does not stand in the way; who removes the source, or moves its cursor, does.
  with own as (
    select l.source_id from tidings.stream_lease l
    where l.source_id = any (ids) and l.holder = hold_streams.holder
    order by l.source_id
    for no key update skip locked
  )
  update tidings.stream_lease l
  set renewed_at = at, expires_at = until, worker = hold_streams.worker
  from own
  where l.source_id = own.source_id;
  -- What has expired, unless somebody is still ingesting under it: that is over soon. And
  -- what was renewed in the future, by a clock that was ahead of this one: before it was set
  -- back, or on the server that this one took over from. A second of that is none: else a
  -- small step back would give all streams of workers that live to whoever asks first.
  with free as (
    select l.source_id from tidings.stream_lease l
    where l.source_id = any (ids) and l.holder <> hold_streams.holder
      and (l.expires_at <= at or l.renewed_at > clock_timestamp() + interval '1 s')
    order by l.source_id
    for update skip locked
  )
  update tidings.stream_lease l
  set epoch = greatest(l.epoch + 1, tidings._clock_ms()), holder = hold_streams.holder, worker = hold_streams.worker,
    taken_at = at, renewed_at = at, expires_at = until
  from free
  where l.source_id = free.source_id;
  insert into tidings.stream_lease (source_id, epoch, holder, worker, taken_at, renewed_at, expires_at)
  select x.id, tidings._clock_ms(), hold_streams.holder, hold_streams.worker, at, at, until
  from unnest(ids) x (id)
  where not exists (select from tidings.stream_lease l where l.source_id = x.id)
  order by x.id
  on conflict do nothing;

  return query
    select s.name,
      case when l.holder = hold_streams.holder then l.epoch end,
      greatest(l.expires_at - clock_timestamp(), interval '0')
    from tidings.stream_lease l join tidings.source s on s.id = l.source_id
    where l.source_id = any (ids);
end
$$;
comment on function hold_streams(uuid, text, text[], interval) is
  'For the worker: takes the streams of these sources that no other worker holds, and renews the lease of those that it holds itself, until after this time. Returns each enabled one that is dialed: its epoch, or null where another worker holds it; and how long its lease lasts. Waits for nobody; its transaction commits without waiting for a standby. "holder" is a UUID of the process, "worker" its name for people. SQLSTATE 22023 where one is null, or the time is not between 100 ms and a day.';

create function release_streams(holder uuid)
  returns int
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  released int;
begin
  perform set_config('synchronous_commit', 'local', true);
  update tidings.stream_lease l
  set expires_at = clock_timestamp()
  where l.holder = release_streams.holder and l.expires_at > clock_timestamp();
  get diagnostics released = row_count;
  if released > 0 and pg_notification_queue_usage() < 0.5 then
    notify tidings_source;  -- the others look
  end if;
  return released;
end
$$;
comment on function release_streams(uuid) is
  'For the worker, when it ends: others may take its streams at once. Returns how many they were. Its transaction commits without waiting for a standby.';

create function _fenced(sources text[], headers jsonb[]) returns int[]
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  return (
    with request as (
      select r.ordinal::int, s.id as source_id, r.headers ->> 'lease-epoch' as epoch
      from unnest(sources, headers) with ordinality r (source, headers, ordinal)
      join tidings.source s on s.name = r.source
      where r.headers ? 'lease-epoch' and tidings._is_dialed(s.provider)
    ),
    held as materialized (
      select l.source_id, l.epoch
      from tidings.stream_lease l
      where l.source_id in (select r.source_id from request r)
      order by l.source_id
      for key share
    )
    select array_agg(r.ordinal)
    from request r
    left join held h on h.source_id = r.source_id and h.epoch::text = r.epoch
    where h.source_id is null);
end
$$;
comment on function _fenced(text[], jsonb[]) is
  'Internal: which of these requests were read under a lease that is over, by their place. The other leases stay as they are until the end of the transaction.';

revoke all on function
  hold_streams(uuid, text, text[], interval), release_streams(uuid), _fenced(text[], jsonb[])
from public;

create or replace function _notify_source() returns trigger
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

create or replace function rotate_secret(name text, new_secret text, overlap interval default '24 hours')
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

create or replace function drop_source(name text)
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

create or replace function report_stream(
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
  if worker is null or failures is null then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = format('%s is null', case when worker is null then 'the worker' else 'the number of failures' end),
      hint = 'Pass who reports, and how many attempts have failed since events last came: 0 of none.';
  end if;
  -- While a standby is away, as in hold_streams: this comes before the next renewal.
  perform set_config('synchronous_commit', 'local', true);
  insert into tidings.stream_state as t (
    source_id, state, since, worker, connected_at, failures, last_error, last_error_at, next_try_at, reported_at)
  select s.id, report_stream.state, at, report_stream.worker,
    case when report_stream.state = 'connected' then at end,
    report_stream.failures, left(report_stream.last_error, 2000),
    case when report_stream.last_error is not null then coalesce(report_stream.last_error_at, at) end,
    report_stream.next_try_at, at
  from tidings.source s
  where s.name = report_stream.source and tidings._is_dialed(s.provider)
    -- Whose stream went to another one has nothing to say of it any more.
    and not exists (
      select from tidings.stream_lease l
      where l.source_id = s.id and l.expires_at > at and l.worker <> report_stream.worker)
  on conflict (source_id) do update set
    state = excluded.state, worker = excluded.worker, failures = excluded.failures,
    next_try_at = excluded.next_try_at, reported_at = excluded.reported_at,
    since = case when t.state = excluded.state then t.since else excluded.since end,
    connected_at = case when t.state = 'connected' and excluded.state = 'connected' then t.connected_at else coalesce(excluded.connected_at, t.connected_at) end,
    last_error_at = coalesce(excluded.last_error_at, t.last_error_at),
    last_error = coalesce(excluded.last_error, t.last_error);
end
$$;

create or replace view stream_status as
  select
    s.name as source,
    case
      when not s.enabled then 'disabled'
      when t.source_id is null then 'never dialed'
      when t.state <> 'ended' and t.reported_at < statement_timestamp() - interval '2 minutes' then 'unknown'
      else t.state
    end as state,
    t.since, t.worker, t.connected_at, m.cursor, m.updated_at as last_event_at,
    t.failures, t.last_error, t.last_error_at, t.next_try_at, t.reported_at, l.worker as lease_worker, l.expires_at as lease_expires_at
  from source s
  left join stream_state t on t.source_id = s.id
  left join stream m on m.source_id = s.id
  left join stream_lease l on l.source_id = s.id
  where _is_dialed(s.provider);

create or replace function _raise_enabled(source text)
  returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  raise exception using
    errcode = 'object_not_in_prerequisite_state',
    message = format('source "%s" is enabled', source),
    hint = format('First run SELECT tidings.set_source_enabled(''%s'', false), in a transaction of its own; and with true afterwards.', source);
end
$$;

create or replace function set_stream_cursor(source text, cursor text)
  returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
  set lock_timeout = '5s'  -- whoever ingests waits behind this
as $$
declare
  s tidings.source := tidings._source(source);
begin
  perform tidings._require_log_access();
  if cursor = '' then
    raise exception using
      errcode = 'invalid_parameter_value', message = 'the cursor is empty', hint = 'Pass null to go on from the start.';
  end if;
  if not tidings._is_dialed(s.provider) then
    raise exception using
      errcode = 'wrong_object_type',
      message = format('source "%s" has no stream', source),
      detail = format('Its provider, %s, sends to the worker.', s.provider),
      hint = 'SELECT source FROM tidings.stream_status lists the streams.';
  end if;
  if s.enabled then
    perform tidings._raise_enabled(source);  -- before anybody waits for it
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
  -- A worker that was paused meanwhile finds its lease over; who ingests under it now is
  -- waited for, before the lock that it needs too.
  update tidings.stream_lease l
  set epoch = greatest(l.epoch + 1, tidings._clock_ms()), expires_at = clock_timestamp()
  where l.source_id = s.id;
  lock table tidings.stream in exclusive mode;
  -- After the lock, and until the end: enabling it waits. What this transaction has done
  -- itself, also in a subtransaction, nobody else has seen.
  select x.* into s from tidings.source x where x.id = s.id for share;
  if s.enabled or (select age(x.xmin) <= 0 from tidings.source x where x.id = s.id) then
    perform tidings._raise_enabled(source);
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
  fenced int[];
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

  -- Before readers wait for this transaction, as this may wait for a stream that changes hands.
  if not is_replay and exists (select from unnest(headers) h where h ? 'lease-epoch') then
    fenced := tidings._fenced(sources, headers);
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
        when r.ordinal = any (fenced) then 'fenced'
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
        when 'fenced' then format('the lease under which the stream of source "%s" was read is over', r.source)
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
    -- Before the server's queue of notifications is full: then nothing could be committed.
    if tidings._notifies() and pg_notification_queue_usage() < 0.5 then
      notify tidings;
    end if;
  end if;
  -- "Duplicate" promises what "inserted" does. The events' own commit may be visible here
  -- and not yet be where this server's commits have to arrive, as on a standby; this
  -- transaction waits for that by a commit of its own, which comes after theirs. A commit
  -- is waited for where it has something in the write-ahead log: this.
  if first_id is null and exists (select from unnest(receipts) r where r.duplicate > 0) then
    perform pg_logical_emit_message(true, 'tidings', '');
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
  'Takes many requests in one statement, and tells of each what became of it, in their order. All of it is stored when the transaction commits: answer the senders after that. One bad request, or one bad item, fails no other. Headers have names in lower case; "url-token" is the token of the URL, and "receipt-id" (a UUID of version 7, or a ULID) the time and identity of the receipt, so that a batch can be repeated; "lease-epoch" is that of the lease under which a stream was read (see hold_streams). SQLSTATE 2202E where the arrays differ in length, 25001 in REPEATABLE READ and SERIALIZABLE, 25006 on a standby.';

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


create or replace function seek(name text, to_id ulid) returns void
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  if to_id is null then
    raise exception using
      errcode = 'null_value_not_allowed',
      message = 'the position is null',
      hint = 'The start of the log is ''00000000000000000000000000''.';
  end if;
  perform tidings._move_consumer(name, to_id);
end
$$;
create or replace function seek(name text, at timestamptz) returns void
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
  set standard_conforming_strings = on  -- for the bytes
as $$
begin
  if at is null then
    raise exception using
      errcode = 'null_value_not_allowed',
      message = 'the time is null',
      hint = 'The start of the log is ''1970-01-01 00:00:00+00''.';
  end if;
  -- A position is what was acknowledged: here the greatest id before that millisecond.
  perform tidings._move_consumer(name, case
    when tidings.ulid_at(at) > '00000000000000000000000000'
    then (substr(tidings.ulid_at(at - interval '1 millisecond')::bytea, 1, 6) || '\xffffffffffffffffffff')::tidings.ulid
  end);
end
$$;

create or replace function _partitions(out relation regclass, out starts_at timestamptz, out ends_at timestamptz)
  returns setof record
  language plpgsql stable
  set search_path = pg_catalog, tidings, pg_temp
  set timezone = 'UTC'
  set datestyle = 'ISO, YMD'  -- bounds are read as text
  set standard_conforming_strings = on  -- by these patterns
as $$
begin
  return query
    select
      c.oid::regclass,
      coalesce(substring(b.bound from 'FROM \(''([^'']*)''\)')::timestamptz, '-infinity'),  -- MINVALUE
      coalesce(substring(b.bound from 'TO \(''([^'']*)''\)')::timestamptz, 'infinity')
    from pg_inherits i
    join pg_class c on c.oid = i.inhrelid
    cross join lateral (select pg_get_expr(c.relpartbound, c.oid) as bound) b
    where i.inhparent = 'tidings.event'::regclass and b.bound <> 'DEFAULT';
end
$$;

create or replace function _build_partition(p _partition) returns _partition
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
  set timezone = 'UTC'
  set datestyle = 'ISO, YMD'
  set default_tablespace = ''  -- of the caller's, who may have no right to it; also for indexes
as $$
begin
  execute (
    select format('create table tidings.%I (like tidings.event_default including all excluding comments) using %I', p.name, a.amname)
      || coalesce(' tablespace ' || quote_ident(t.spcname), '')
    from pg_class c
    join pg_am a on a.oid = c.relam
    left join pg_tablespace t on t.oid = c.reltablespace
    where c.oid = 'tidings.event_default'::regclass
  );
  execute format('comment on table tidings.%I is %L', p.name, format('The events from %s to %s.', p.starts_at, p.ends_at));
  -- With this in place it is attached without being read.
  execute format('alter table tidings.%I add constraint event_range check (occurred_at >= %L and occurred_at < %L)',
    p.name, p.starts_at, p.ends_at);
  if p.rows > 0 then
    execute format('insert into tidings.%I select d.* from tidings.event_default d where d.occurred_at >= $1 and d.occurred_at < $2', p.name)
      using p.starts_at, p.ends_at;
    execute format('analyze tidings.%I', p.name);
  end if;
  execute format('select count(*), bit_xor(tidings.ulid_hash_extended(n.event_id, n.source_id)) from tidings.%I n', p.name)
    into p.rows, p.fingerprint;
  return p;
end
$$;

create or replace function _json_pattern(value text) returns text
  language plpgsql immutable
  set search_path = pg_catalog, tidings, pg_temp
  set standard_conforming_strings = on  -- it is full of backslashes
as $$
declare
  pattern text := '';
  c text;
  code int;
  unit int;
  hex text;
  digit text;
  escaped text;
  short text;
begin
  foreach c in array string_to_array(value, null) loop
    code := ascii(c);
    escaped := '';
    foreach unit in array case
      when code < 65536 then array[code]
      else array[55296 + ((code - 65536) >> 10), 56320 + ((code - 65536) & 1023)]
    end loop
      hex := lpad(to_hex(unit), 4, '0');
      foreach digit in array '{a,b,c,d,e,f}'::text[] loop
        hex := replace(hex, digit, '[' || digit || upper(digit) || ']');
      end loop;
      escaped := escaped || '\\\\u' || hex;
    end loop;
    short := case c
      when '"' then '"' when '/' then '/' when '\' then '\\\\'
      when chr(8) then 'b' when chr(9) then 't' when chr(10) then 'n' when chr(12) then 'f' when chr(13) then 'r'
    end;
    pattern := pattern || format('(?:%s|%s%s)',
      regexp_replace(encode(convert_to(c, 'UTF8'), 'escape'), '([^a-zA-Z0-9])', '\\\1', 'g'),
      escaped, '|\\\\' || short);
  end loop;
  return pattern;
end
$$;

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
  if not exists (select from pg_roles r where r.oid = role) then
    raise exception using
      errcode = 'undefined_object',
      message = format('role with OID %s does not exist', role::oid),
      hint = 'Pass the name of a role; SELECT rolname FROM pg_roles lists them.';
  end if;
end
$$;

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
    ' tidings.hold_streams(uuid, text, text[], interval), tidings.release_streams(uuid),'
    ' tidings.report_stream(text, text, text, int, text, timestamptz, timestamptz), tidings.maintain() to %s', role);
  -- A server that logs parameters would log the headers, and what they prove.
  if current_setting('server_version_num')::int >= 150000 then
    if not has_parameter_privilege(role, 'log_parameter_max_length', 'set') then
      begin
        execute format('grant set on parameter log_parameter_max_length to %s', role);
      exception when insufficient_privilege then
        raise notice using
          message = format('role %s cannot keep secrets out of the server''s log, should that log parameters', role),
          hint = format('As a superuser: GRANT SET ON PARAMETER log_parameter_max_length TO %s', role);
      end;
    end if;
  end if;
end
$$;

comment on type ulid is
  'A ULID (github.com/ulid/spec): 48 bits of milliseconds since 1970, 80 bits of randomness; 16 bytes. Text is 26 characters of Crockford''s base32, read in either case and strictly, written in upper case.';
comment on operator pg_catalog.= (ulid, ulid) is 'equal';
comment on operator pg_catalog.<> (ulid, ulid) is 'not equal';
comment on operator pg_catalog.< (ulid, ulid) is 'less than: earlier, or of the same millisecond and with less randomness';
comment on operator pg_catalog.<= (ulid, ulid) is 'less than or equal';
comment on operator pg_catalog.>= (ulid, ulid) is 'greater than or equal';
comment on operator pg_catalog.> (ulid, ulid) is 'greater than: later, or of the same millisecond and with more randomness';
comment on operator family ulid_ops using btree is 'The order of ULIDs, that of time.';
comment on operator class ulid_ops using btree is 'The order of ULIDs, that of time.';
comment on operator family ulid_ops using hash is 'The hashes of ULIDs.';
comment on operator class ulid_ops using hash is 'The hashes of ULIDs.';
comment on operator family ulid_minmax_ops using brin is 'The smallest and the greatest ULID of a range of blocks.';
comment on operator class ulid_minmax_ops using brin is 'The smallest and the greatest ULID of a range of blocks.';
comment on cast (ulid as uuid) is 'The same 16 bytes, at no cost.';
comment on cast (uuid as ulid) is 'The same 16 bytes, at no cost.';
comment on cast (ulid as bytea) is 'The 16 bytes, big-endian.';
comment on cast (bytea as ulid) is 'From 16 bytes, big-endian; any other length is an error (SQLSTATE 22P03).';
comment on cast (ulid as timestamptz) is 'The millisecond that the ULID was made in.';
comment on cast (timestamptz as ulid) is 'The smallest ULID of that millisecond, as ulid_at.';
comment on aggregate pg_catalog.min(ulid) is 'The smallest ULID, or null of none.';
comment on aggregate pg_catalog.max(ulid) is 'The greatest ULID, or null of none.';
comment on function gen_ulid() is
  'A new ULID of the current millisecond. Within a session each is greater than the last: in the same millisecond, or where the clock stepped back, the last plus one (github.com/ulid/spec, "Monotonicity"). SQLSTATE 54000 where the 80 random bits of a millisecond are used up.';
comment on function ulid_at(timestamptz) is
  'The smallest ULID of the millisecond of this time, for range scans: id >= tidings.ulid_at(''2026-01-01''). SQLSTATE 22008 before 1970 and after the year 10889.';
comment on function ulid_in(cstring) is 'Internal: reads the text form. SQLSTATE 22P02 for anything but 26 characters of Crockford''s base32 up to 7ZZZZZZZZZZZZZZZZZZZZZZZZZ.';
comment on function ulid_out(ulid) is 'Internal: writes the text form.';
comment on function ulid_recv(internal) is 'Internal: reads the binary form.';
comment on function ulid_send(ulid) is 'Internal: writes the binary form.';
comment on function ulid_eq(ulid, ulid) is 'Internal: implementation of = operator.';
comment on function ulid_ne(ulid, ulid) is 'Internal: implementation of <> operator.';
comment on function ulid_lt(ulid, ulid) is 'Internal: implementation of < operator.';
comment on function ulid_le(ulid, ulid) is 'Internal: implementation of <= operator.';
comment on function ulid_ge(ulid, ulid) is 'Internal: implementation of >= operator.';
comment on function ulid_gt(ulid, ulid) is 'Internal: implementation of > operator.';
comment on function ulid_cmp(ulid, ulid) is 'Internal: less-equal-greater, for btree.';
comment on function ulid_hash(ulid) is 'Internal: hash.';
comment on function ulid_hash_extended(ulid, bigint) is 'Internal: hash with a seed.';
comment on function ulid_sortsupport(internal) is 'Internal: sort support, for btree.';
comment on function ulid_to_bytea(ulid) is 'Internal: implementation of the cast to bytea.';
comment on function ulid_from_bytea(bytea) is 'Internal: implementation of the cast from bytea.';
comment on function ulid_to_timestamptz(ulid) is 'Internal: implementation of the cast to timestamptz.';
comment on function ulid_smaller(ulid, ulid) is 'Internal: the smaller of two, for min.';
comment on function ulid_larger(ulid, ulid) is 'Internal: the greater of two, for max.';

comment on sequence source_id_seq is 'Gives tidings.source.id.';
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
comment on column source_secret.digest is 'SHA-256 of the secret, in UTF-8.';
comment on table stream is 'How far each resumable stream was read; kept in the transaction that stores its events.';
comment on column stream.source_id is 'The source.';
comment on column stream.cursor is 'The provider''s id of the last event that was stored, in the order of arrival.';
comment on column stream.updated_at is 'When it was stored.';
comment on function _digest_secret() is 'Internal: gives a secret its digest, also one of an earlier version''s dump.';
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
comment on column _policy.source_id is 'The source.';
comment on column _policy.secrets is 'The secrets of its provider''s scheme that are accepted; null where it has none.';
comment on column _policy.url_tokens is 'The URL tokens that are accepted on top; null where none is demanded.';
comment on column _policy.allow_unauthenticated is 'Whether it takes everything where it has neither.';
comment on function stream_cursor(text) is
  'Where a resumable stream goes on: the provider''s id of the last event stored of it; null at its start. SQLSTATE 42704 where there is no such source.';
comment on function stream_secret(text) is
  'The bearer token with which the worker dials a source; null where it has none, and for a source that is not dialed: a worker needs no other secret. SQLSTATE 42704 where there is no such source.';
comment on function find_source(text, jsonb) is
  'The enabled source of this provider that accepts these headers, for requests whose URL names none; null where there is none.';

comment on type receipt is 'What became of a request.';
comment on column receipt.verdict is 'accepted: every item has its outcome in the counts; unauthorized, malformed: kept in tidings.rejected; unknown_source, disabled, fenced: not kept. Fenced is what a worker read of a stream under a lease that is over: see tidings.stream_lease.';
comment on column receipt.inserted is 'How many items became events.';
comment on column receipt.duplicate is 'How many items were events that had been stored before.';
comment on column receipt.rejected is 'How many items were no events, and are kept in tidings.rejected.';
comment on column receipt.detail is 'What was wrong, of the first items that were; null where nothing was.';
comment on column receipt.ordinal is 'The request''s place in the batch, from 1.';

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
comment on function report_stream(text, text, text, int, text, timestamptz, timestamptz) is
  'For the worker: what it is doing with a stream that it dials. Without "last_error" the last one stays; "last_error_at" is when it was, by default now. A source that does not exist any more is no error, nor is a stream that another worker holds: neither changes anything. Its transaction commits without waiting for a standby. SQLSTATE 22023 for an unknown state, and where "worker" or "failures" is null.';
comment on view stream_status is 'How each source that the worker dials is doing.';
comment on column stream_status.source is 'The source.';
comment on column stream_status.state is 'connecting; connected; waiting: until next_try_at, after a failure that passes by itself; stopped: last_error says what has to be done, and it is tried again as soon as the source or its secret changes, or at next_try_at; ended: its worker has stopped; disabled: see set_source_enabled; never dialed: no worker has reported it; unknown: none has for two minutes.';
comment on column stream_status.since is 'Since when the worker has reported this state.';
comment on column stream_status.worker is 'Which worker has reported it: host and process id.';
comment on column stream_status.connected_at is 'When it was last connected.';
comment on column stream_status.cursor is 'Where it goes on: see stream_cursor.';
comment on column stream_status.last_event_at is 'When events of it were last stored.';
comment on column stream_status.failures is 'How many attempts have failed since events last came.';
comment on column stream_status.last_error is 'Why the last attempt failed, or the last connection ended; kept when it is connected again.';
comment on column stream_status.last_error_at is 'When that was.';
comment on column stream_status.next_try_at is 'When it is dialed again, where it waits or has stopped.';
comment on column stream_status.reported_at is 'When the worker last said so.';
comment on column stream_status.lease_worker is 'Which worker may follow it: host and process id.';
comment on column stream_status.lease_expires_at is 'From when on another worker takes it, if that one does not renew its lease; sooner where a clock was ahead: see tidings.stream_lease.';
comment on function _raise_enabled(text) is 'Internal: SQLSTATE 55000.';
comment on function set_stream_cursor(text, text) is
  'Makes a stopped source''s stream go on behind this event id of its provider, or from its start where it is null. What comes again is stored once. Waits for the worker to end the stream. Events whose time is read otherwise than before, by another schema, are stored once more. SQLSTATE 55000 unless the source was disabled before, in a transaction of its own, and while a worker still follows it; 55P03 where others hold tidings.stream for long, 25001 in REPEATABLE READ and SERIALIZABLE; 22023 for an empty cursor, 42809 where it has no stream, 42704 where there is no such source.';

comment on type _partition is
  'Internal: a partition to be made, with the number of its rows, and a sum by which a copy of them is known to be exact.';
comment on function _partitions() is 'Internal: the partitions of tidings.event but for the default one, with their times.';
comment on function _object(regclass) is 'Internal: the name of a table with its schema.';
comment on function _missing_partitions(timestamptz, retention) is
  'Internal: the partitions to make: the current one and those ahead, then those of times past, the latest first, that the default partition holds enough events of: any in the last "partitions_ahead" ranges, 10000 in one before them.';
comment on function _build_partition(_partition) is
  'Internal: makes a partition beside the table, as event_default is made and where it is, with a copy of the rows that are to move into it.';
comment on function _lock_event(regclass[]) is
  'Internal: keeps everybody out of tidings.event, its default partition and these until the transaction ends, or SQLSTATE 55P03.';
comment on function _move_rows(_partition[]) is
  'Internal: makes the copies in these partitions exact, takes the rows from the default partition, and tells how many there were.';
comment on function _attach_partitions(_partition[]) is 'Internal: attaches partitions whose rows are in them.';

comment on function _require_role(regrole) is 'Internal: SQLSTATE 22004 for null, 42704 where there is no such role.';
comment on function grant_reader(regrole) is
  'Lets a role query events, state, sources and lag, and follow the log, also by the consumers that there are: to make, move and drop them is administration. It sees how sources and streams are doing, but no secret, and nothing of what was rejected.';
comment on function grant_worker(regrole) is
  'Lets a role do what the worker does: read the sources and their schemas, verify, ingest, hold streams and report on them, and call maintain; and, from Postgres 15 on, set log_parameter_max_length, by which it keeps the headers of requests out of the server''s log. It can read no event, nothing of what was rejected, and no secret but those with which it dials.';

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
