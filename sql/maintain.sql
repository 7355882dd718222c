-- Upkeep: partitions ahead of time, retention, and the removal of old rejected rows.

create type maintained as (
  action text,
  object text,
  rows bigint,
  detail text
);
comment on type maintained is 'An action of tidings.maintain.';
comment on column maintained.action is 'created, dropped: a partition; deleted, trimmed: rows; discarded: rows of requests that had been answered 200, see tidings.gap; kept, left: rows that could have been removed or moved and were not; busy: nothing was done.';
comment on column maintained.object is 'The table.';
comment on column maintained.rows is 'Number of rows that were moved into the table, dropped with it, deleted from it, or kept in it.';
comment on column maintained.detail is 'Which rows, and why.';

create function _unread(relation regclass) returns text
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  names text;
begin
  execute format($sql$
    select string_agg('"' || c.name || '"', ', ' order by c.name)
    from tidings.consumer c
    where exists (select from %s e where e.id > coalesce(c.position, '00000000000000000000000000'))
    $sql$, relation) into names;
  return names;
end
$$;
comment on function _unread(regclass) is 'Internal: returns the consumers that have not acknowledged all events of this partition, or null.';

create function _delete_expired(before timestamptz) returns bigint
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  deleted bigint;
begin
  -- Skips locked rows, so that there is no deadlock.
  with expired as (
    select d.ctid
    from tidings.event_default d
    where d.occurred_at < before
      and not exists (
        select from tidings.consumer c where d.id > coalesce(c.position, '00000000000000000000000000'))
    limit 100000
    for update of d skip locked
  )
  delete from tidings.event_default d using expired x where d.ctid = x.ctid;
  get diagnostics deleted = row_count;
  return deleted;
end
$$;
comment on function _delete_expired(timestamptz) is
  'Internal: deletes events from the default partition that occurred before this time and that every consumer has acknowledged, at most 100000 of them.';

create function _trim_rejected_before(before timestamptz) returns bigint
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  trimmed bigint;
begin
  with expired as (
    select r.id from tidings.rejected r where r.received_at < before and r.spool_bytes is null for update skip locked
  )
  delete from tidings.rejected r using expired x where r.id = x.id;
  get diagnostics trimmed = row_count;
  return trimmed;
end
$$;
comment on function _trim_rejected_before(timestamptz) is
  'Internal: deletes the rows of tidings.rejected whose requests arrived before this time, except those of requests that came through a spool.';

create function _expired_spooled(before timestamptz) returns ulid[]
  language sql stable
  set search_path = pg_catalog, tidings, pg_temp
as $$
  select array_agg(x.id)
  from (
    select k.id, k.received_at, max(k.spool_bytes) over (partition by k.source_id) as most_bytes,
      sum(coalesce(octet_length(k.body), 0) + coalesce(pg_column_size(k.headers), 0)) over newest_first as bytes,
      row_number() over newest_first as n
    from tidings.rejected k
    where k.spool_bytes is not null
    window newest_first as (partition by k.source_id order by k.id desc rows unbounded preceding)
  ) x
  where x.received_at < before or x.n > 1 and x.bytes > x.most_bytes
$$;
comment on function _expired_spooled(timestamptz) is
  'Internal: returns the rows of tidings.rejected whose requests came through a spool and arrived before this time, or that lie beyond the bound of their source.';

-- These requests were answered 200, so that their loss is a gap.
create function _discard_spooled(ids ulid[]) returns bigint
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  -- The gap's detail begins with these words, so that the next call extends it.
  what constant text := 'removed from tidings.rejected before they were replayed';
  lost record;
  earlier bigint;
  discarded bigint := 0;
begin
  for lost in
    with expired as (
      select r.id from tidings.rejected r where r.id = any (ids) order by r.id for update skip locked
    ),
    gone as (
      delete from tidings.rejected r using expired x where r.id = x.id
      returning r.source_id, r.received_at, r.verdict
    )
    select s.name, g.source_id, count(*) as rows, min(g.received_at) as from_at, max(g.received_at) as to_at
    from gone g
    join tidings.source s on s.id = g.source_id
    group by s.name, g.source_id
    order by s.name
  loop
    discarded := discarded + lost.rows;
    earlier := (
      select substring(g.detail from ': ([0-9]+) ')::bigint
      from tidings.gap g
      where g.source_id = lost.source_id and g.closed_at is null and g.cause = 'spool_discarded'
        and split_part(left(coalesce(g.detail, ''), 200), ':', 1) = what);
    perform tidings.report_gap(lost.name, 'spool_discarded', from_at => lost.from_at, to_at => lost.to_at,
      detail => format(
        case lost.rows + coalesce(earlier, 0)
          when 1 then '%s: %s request or item, which had been answered 200'
          else '%s: %s requests or items, which had been answered 200' end,
        what, lost.rows + coalesce(earlier, 0)));
  end loop;
  return discarded;
end
$$;
comment on function _discard_spooled(ulid[]) is
  'Internal: deletes these rows of tidings.rejected, and writes or extends a gap for each of their sources.';

-- The order matters: before the lock is taken, nothing that ingest might wait for is
-- locked, and while the lock is held, nothing is done that could be done before.
create function _maintain(at timestamptz) returns setof maintained
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
  expired_spooled ulid[];
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
        hint = 'INSERT INTO tidings.retention DEFAULT VALUES restores it.';
    when lock_not_available then
      return next ('busy', 'tidings.retention', null, 'another session runs tidings.maintain, or changes the settings')::tidings.maintained;
      return;
  end;
  expires_at := at - settings.keep_events;
  -- The parent is locked first, even for reading. Otherwise a session that locks the
  -- parent, and with it the default partition, would deadlock with this one.
  lock table only tidings.event in access share mode;

  -- This part takes no locks that others wait for.
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

  expired_spooled := tidings._expired_spooled(at - settings.keep_rejected);

  if cardinality(planned) + cardinality(expired) > 0 then
    perform tidings._lock_event(expired);
  end if;
  if cardinality(planned) > 0 then
    planned := tidings._move_rows(planned);
    perform tidings._attach_partitions(planned);
    perform tidings._publish_rows(planned);
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
  perform tidings._merge_log();
  n := tidings._trim_rejected_before(at - settings.keep_rejected);
  if n > 0 then
    return next ('trimmed', 'tidings.rejected', n, format('received before %s', at - settings.keep_rejected))::tidings.maintained;
  end if;
  if cardinality(expired_spooled) > 0 then
    n := tidings._discard_spooled(expired_spooled);
    if n > 0 then
      return next ('discarded', 'tidings.rejected', n, 'requests that had been answered 200 and were not replayed; see tidings.gap')::tidings.maintained;
    end if;
  end if;
  if rows_left > 0 then
    return next ('left', 'tidings.event_default', rows_left, 'moved to partitions by the next calls')::tidings.maintained;
  end if;
end
$$;
comment on function _maintain(timestamptz) is 'Internal: does the work of tidings.maintain as of this time.';

create function maintain() returns setof maintained
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  return query select m.* from tidings._maintain(now()) m;
end
$$;
comment on function maintain() is
  'Maintains the tables by the settings in tidings.retention, and returns a row for each action. It creates the partition of the current time and those ahead, and moves their events there from the default partition. It moves past events from the default partition into partitions of their own if there are enough of them: any number in the last "partitions_ahead" ranges, 10000 in an older range; after a million rows it leaves the rest to the next call. It drops partitions that have wholly expired, deletes expired events from the default partition, and trims tidings.rejected. If it removes rows of requests that came through a worker''s spool, and therefore had been answered 200, it returns a row "discarded" and writes a gap (spool_discarded) for each source. It removes no event that a consumer has not acknowledged; see the rows "kept". On an error nothing is changed. The worker calls it regularly, and any scheduler can. If another call is running, it returns a row "busy". While partitions are created or dropped, ingest and readers wait, one to two seconds for each million rows that are moved. For the lock it makes nobody wait longer than lock_timeout (1.5 s if that is not set), and nobody at all behind a transaction that has been open for more than 5 s. SQLSTATE 55P03 if other transactions lock tidings.event too long, 25001 in REPEATABLE READ and SERIALIZABLE, 25006 on a standby, 55000 if tidings.retention has no row.';

revoke all on function
  _unread(regclass), _delete_expired(timestamptz), _trim_rejected_before(timestamptz), _expired_spooled(timestamptz), _discard_spooled(ulid[]),
  _maintain(timestamptz), maintain()
from public;
