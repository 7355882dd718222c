-- How far sources and consumers are behind, and which transaction holds readers back. The
-- view is cheap: it reads the newest 10,000 events, and for each consumer tidings.log_head
-- and at most 20,000 events. Its functions run with the owner's rights, so that a role
-- that can read the view needs no access to the events or to other roles' sessions.

create function _log_holder(
  out horizon timestamptz,
  out behind interval,
  out pid int,
  out application_name text,
  out age interval
)
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  clock_ms bigint;
  horizon_ms bigint;
  waits boolean;
  blocker int;
begin
  if pg_is_in_recovery() then
    return;  -- the locks are on the primary
  end if;
  perform pg_stat_clear_snapshot();
  clock_ms := floor(extract(epoch from clock_timestamp()) * 1000);
  select l.ms, l.pid, coalesce(a.application_name, 'prepared transaction ' || p.gid), clock_timestamp() - coalesce(a.xact_start, p.prepared),
    a.wait_event_type = 'Lock'
  into horizon_ms, pid, application_name, age, waits
  from (
    select (k.classid::bigint & 65535) << 32 | k.objid::bigint as ms, k.pid, k.virtualtransaction
    from pg_locks k
    where k.locktype = 'advisory' and k.granted
      and k.objsubid = 3 and k.classid::bigint >> 16 = 29801
      and k.database = (select d.oid from pg_database d where d.datname = current_database())
  ) l
  left join pg_stat_get_activity(null) a on a.pid = l.pid
  left join lateral (  -- a prepared transaction has no process; the lock on its own id tells which it is
    select x.gid, x.prepared
    from pg_prepared_xacts x join pg_locks t on t.transactionid = x.transaction
    where l.pid is null and t.pid is null and t.virtualtransaction = l.virtualtransaction
  ) p on true
  order by l.ms, a.xact_start
  limit 1;
  -- It may wait for another transaction, which is then the cause.
  for step in 1..100 loop
    exit when waits is not true;
    blocker := (select b.pid from unnest(pg_blocking_pids(_log_holder.pid)) b (pid) where b.pid <> 0 limit 1);
    exit when blocker is null;
    select b.pid, b.application_name, clock_timestamp() - b.xact_start, b.wait_event_type = 'Lock'
    into pid, application_name, age, waits
    from pg_stat_get_activity(blocker) b;
  end loop;
  horizon_ms := least(horizon_ms, clock_ms);
  horizon := to_timestamp(0) + horizon_ms * interval '1 millisecond';
  behind := (clock_ms - horizon_ms) * interval '1 millisecond';
end
$$;
comment on function _log_holder() is
  'Internal: returns the horizon of the log, how far the horizon is behind the clock, and the transaction that holds it back: the one with the lock, or the one that it waits for. Null if there is none, and on a standby.';

create function _log_tail() returns table (source_id int, received_at timestamptz)
  language plpgsql stable security definer rows 10
  set search_path = pg_catalog, tidings, pg_temp
  set timezone = 'UTC'  -- times are written as text
  set datestyle = 'ISO, YMD'
as $$
declare
  h record;
  events bigint := 0;
  first_at timestamptz;
  last_at timestamptz;
begin
  for h in select l.first_at, l.last_at, l.events from tidings.log_head l order by l.last_id desc limit 10000 loop
    first_at := least(first_at, h.first_at);
    last_at := greatest(last_at, h.last_at);
    events := events + h.events;
    exit when events >= 10000;
  end loop;
  if first_at is null then
    return;
  end if;
  for source_id, received_at in execute format($sql$
    select distinct on (t.source_id) t.source_id, t.received_at
    from (
      select e.id, e.source_id, e.received_at
      from tidings.event e
      where e.occurred_at between timestamptz %L and timestamptz %L
      order by e.id desc
      limit 10000
    ) t
    order by t.source_id, t.id desc
    $sql$, first_at, last_at)
  loop
    return next;
  end loop;
end
$$;
comment on function _log_tail() is
  'Internal: returns when the last event of each source was received, for sources with an event among the newest 10000.';

create function _unacknowledged(after ulid, out events int, out oldest_at timestamptz)
  language plpgsql stable security definer
  set search_path = pg_catalog, tidings, pg_temp
  set timezone = 'UTC'  -- times are written as text
  set datestyle = 'ISO, YMD'
as $$
declare
  position tidings.ulid := coalesce(after, '00000000000000000000000000');
  most int := 1;
  h record;
  oldest_id tidings.ulid;
  n bigint;
begin
  -- Events that were removed since are not counted where they come first. Of those there may
  -- be many, so that each look goes further than the one before.
  loop
    select max(x.last_id) as last_id, min(x.first_at) as first_at, max(x.last_at) as last_at into h
    from (
      select l.last_id, l.first_at, l.last_at from tidings.log_head l
      where l.last_id > position and l.events > 0 order by l.last_id limit most
    ) x;
    if h.last_id is null then
      events := 0;
      return;
    end if;
    execute format(
      'select e.id, e.received_at from tidings.event e'
      ' where e.id > $1 and e.id <= $2 and e.occurred_at between timestamptz %L and timestamptz %L order by e.id limit 1', h.first_at, h.last_at)
    into oldest_id, oldest_at using position, h.last_id;
    exit when oldest_id is not null;
    position := h.last_id;
    most := least(most * 10, 10000);
  end loop;
  -- The first row may be read in part, and is counted; the others say their number.
  select l.last_id, l.first_at, l.last_at into h from tidings.log_head l where l.last_id >= oldest_id order by l.last_id limit 1;
  execute format(
    'select count(*) from tidings.event e'
    ' where e.id >= $1 and e.id <= $2 and e.occurred_at between timestamptz %L and timestamptz %L', h.first_at, h.last_at)
  into n using oldest_id, h.last_id;
  events := least(2147483647, n + coalesce((select sum(l.events) from tidings.log_head l where l.last_id > h.last_id), 0));
end
$$;
comment on function _unacknowledged(ulid) is
  'Internal: counts the events after this position, and returns when the first of them was received. Events that were removed since are counted, unless they come before all that are left.';

create view lag as
  select
    f.what, f.name, f.last_received_at, f.cursor, f.cursor_age, f.position, f.behind, f.oldest_age,
    h.horizon, h.behind as horizon_age, h.pid as holder_pid, h.application_name as holder_application, h.age as holder_age,
    f.open_gaps
  from (
    select
      'source' as what, s.name, t.received_at as last_received_at, m.cursor, clock_timestamp() - m.updated_at as cursor_age,
      null::ulid as position, null::int as behind, null::interval as oldest_age,
      (select count(*) from gap g where g.source_id = s.id and g.closed_at is null) as open_gaps
    from source s
    left join stream m on m.source_id = s.id
    left join _log_tail() t on t.source_id = s.id
    union all
    select 'consumer', c.name, null, null, null, c.position, u.events, clock_timestamp() - u.oldest_at, null
    from consumer c
    cross join lateral _unacknowledged(c.position) u
  ) f
  cross join _log_holder() h;
comment on view lag is
  'How far each source and each consumer is behind, and which transaction holds readers back. The view is cheap: it reads the newest 10000 events, and for each consumer tidings.log_head and at most 20000 events.';
comment on column lag.what is 'source or consumer.';
comment on column lag.name is 'Name of the source or consumer.';
comment on column lag.last_received_at is 'For a source: when its last event was received; null if none of the newest 10000 events of the log is from this source.';
comment on column lag.cursor is 'For a source with a dialed stream: the stream cursor, see stream_cursor().';
comment on column lag.cursor_age is 'For a source with a dialed stream: how long ago the stream cursor moved.';
comment on column lag.position is 'For a consumer: the events up to this position are acknowledged; null at the start of the log.';
comment on column lag.behind is 'For a consumer: number of events that it has not acknowledged, including those above the horizon; 2147483647 means that many or more. Where tidings.erase_recipient removed some of them, they are counted until the consumer comes near.';
comment on column lag.oldest_age is 'For a consumer: how long ago the first of these events was received; null if there are none.';
comment on column lag.horizon is 'For the log: readers get the events that were stored before this time. The same in every row; null on a standby.';
comment on column lag.horizon_age is 'How far the horizon is behind the clock.';
comment on column lag.holder_pid is 'The process whose ingest transaction holds the horizon back; null if there is none, or if it is a prepared transaction.';
comment on column lag.holder_application is 'The application_name of that process, or the name of the prepared transaction.';
comment on column lag.holder_age is 'How long ago that transaction began.';
comment on column lag.open_gaps is 'For a source: number of its gaps that are not closed, see tidings.gap.';

create function _worker_lag() returns table (consumer text, events int, age interval)
  language plpgsql volatile security definer rows 10
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  deadline constant timestamptz := clock_timestamp() + interval '500 ms';
  after tidings.ulid;
begin
  select h.behind into age from tidings._log_holder() h;
  return next;
  -- In another order each time, so that many consumers have their turns.
  for consumer, after in select c.name, c.position from tidings.consumer c order by random() loop
    events := null;
    age := null;
    if clock_timestamp() < deadline then
      select u.events, clock_timestamp() - u.oldest_at into events, age from tidings._unacknowledged(after) u;
    end if;
    return next;
  end loop;
end
$$;
comment on function _worker_lag() is
  'Internal: for the worker''s metrics. Returns a row without a consumer, whose age is how far the horizon of the log is behind the clock, and a row for each consumer, with the number of events that it has not acknowledged, and how long ago the first of them was received. The number is null for consumers that were not looked at within half a second.';

revoke all on function _log_holder(), _log_tail(), _unacknowledged(ulid), _worker_lag() from public;
