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
