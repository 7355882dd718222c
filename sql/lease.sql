-- Leases: of several workers on one database, one follows each stream.
--
-- A lease has an epoch, which changes each time that another worker takes the stream. A
-- worker ingests the events of a stream with the epoch of its lease. Ingest locks the
-- lease's row (FOR KEY SHARE) until its transaction ends, so that no other worker can
-- take the stream in between, and refuses events with another epoch (a fencing token). A
-- worker that was paused for longer than its lease therefore writes nothing when it wakes
-- up. There is no session lock, so that leases work through a pooler, and only the
-- server's clock counts.

create table stream_lease (
  source_id int primary key,
  epoch bigint not null,
  holder uuid not null,
  worker text not null,
  taken_at timestamptz not null,
  renewed_at timestamptz not null,
  expires_at timestamptz not null,
  -- With the epoch in a key, giving the lease to another worker conflicts with an ingest
  -- under the lease, and renewing the lease does not.
  unique (source_id, epoch)
);
comment on table stream_lease is
  'Which worker follows each dialed stream, and until when. A dump does not contain the rows.';
comment on column stream_lease.source_id is 'The source.';
comment on column stream_lease.epoch is 'Number of the lease. It increases each time that another worker takes the stream, and no number is used twice, even after a restore.';
comment on column stream_lease.holder is 'The process that holds the lease: a UUID that it drew when it started.';
comment on column stream_lease.worker is 'The same process for people: host and process id.';
comment on column stream_lease.taken_at is 'When this process took the lease.';
comment on column stream_lease.renewed_at is 'When the lease was last renewed or taken.';
comment on column stream_lease.expires_at is 'When another worker may take the lease unless it is renewed; at once if renewed_at is more than a second in the future.';

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
      message = 'a lease needs a holder, a worker, and a time between 100 ms and a day',
      detail = format('The holder is %s, the worker %s, the time %s.',
        coalesce(holder::text, 'null'), coalesce('"' || worker || '"', 'null'), coalesce(lease::text, 'null')),
      hint = 'The holder is a UUID that the process drew when it started.';
  end if;
  until := at + lease;
  -- Leases are given even while a standby is down. If a failover undoes one, the worker
  -- that took it is fenced, and asks again.
  perform set_config('synchronous_commit', 'local', true);
  -- The worker's own leases are renewed even after their time, because no other worker
  -- has taken them. An ingest under a lease does not block this; removing the source or
  -- moving its cursor does.
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
  -- Expired leases are taken, unless an ingest under them is still running, which ends
  -- soon. So are leases that were renewed in the future, by a clock that was ahead of
  -- this one: before it was set back, or on the server from which this one took over. Up
  -- to a second is tolerated, because otherwise a small step back would give all streams
  -- of live workers to the first worker that asks.
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
  'For the worker: takes the leases of these sources'' streams that no other worker holds, and renews those that this worker holds, for this time. Returns a row for each enabled source that is dialed: the epoch of the lease, or null if another worker holds it, and how long the lease lasts. The function waits for no lock, and its transaction commits without waiting for a standby. "holder" is a UUID of the process, "worker" its name for people. SQLSTATE 22023 if one of them is null, or if the time is not between 100 ms and a day.';

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
    notify tidings_source;  -- so that the other workers ask for it
  end if;
  return released;
end
$$;
comment on function release_streams(uuid) is
  'For a worker that stops: releases its leases, so that other workers can take its streams at once. Returns the number of leases. Its transaction commits without waiting for a standby.';

create function _fenced(sources text[], headers jsonb[]) returns int[]
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  return (
    with request as (
      select r.ordinal::int, s.id as source_id, r.headers ->> 'lease-epoch' as epoch
      from unnest(sources, headers) with ordinality r (source, headers, ordinal)
      cross join lateral (
        select x.id, x.provider from tidings.source x where x.name = r.source
        union all
        select x.id, x.provider
        from tidings.former_name f
        join tidings.source x on x.id = f.source_id
        where f.name = r.source and not exists (select from tidings.source n where n.name = r.source)
      ) s
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
  'Internal: returns the ordinals of those requests that were read under a lease that is no longer valid. The other leases cannot pass to another worker until the end of the transaction.';

revoke all on function
  hold_streams(uuid, text, text[], interval), release_streams(uuid), _fenced(text[], jsonb[])
from public;
