-- Upkeep: partitions ahead of the events, retention, and an end for what was rejected.

create type maintained as (
  action text,
  object text,
  rows bigint,
  detail text
);
comment on type maintained is 'What tidings.maintain did.';
comment on column maintained.action is 'created, dropped: a partition; deleted, trimmed: rows; kept, left: what could have gone, or moved, and did not; busy: nothing was done.';
comment on column maintained.object is 'The table.';
comment on column maintained.rows is 'How many rows moved into it, went with it, went from it, or stay.';
comment on column maintained.detail is 'Which, and why.';

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
comment on function _unread(regclass) is 'Internal: the consumers that have not acknowledged all events of this partition, or null.';

create function _delete_expired(before timestamptz) returns bigint
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  deleted bigint;
  newest tidings.ulid;
begin
  -- Waits for nobody, so that nobody waits for this in a circle.
  with expired as (
    select d.ctid
    from tidings.event_default d
    where d.occurred_at < before
      and not exists (
        select from tidings.consumer c where d.id > coalesce(c.position, '00000000000000000000000000'))
    limit 100000
    for update of d skip locked
  ),
  gone as (
    delete from tidings.event_default d using expired x where d.ctid = x.ctid
    returning d.id
  )
  select count(*), max(g.id) into deleted, newest from gone g;
  perform tidings._log_keep(newest);
  return deleted;
end
$$;
comment on function _delete_expired(timestamptz) is
  'Internal: deletes from the default partition events that occurred before this time and that every consumer has acknowledged, at most 100000.';

create function _trim_rejected_before(before timestamptz) returns bigint
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  trimmed bigint;
begin
  with expired as (
    select r.id from tidings.rejected r where r.received_at < before for update skip locked
  )
  delete from tidings.rejected r using expired x where r.id = x.id;
  get diagnostics trimmed = row_count;
  return trimmed;
end
$$;
comment on function _trim_rejected_before(timestamptz) is 'Internal: deletes what was rejected of requests that arrived before this time.';

-- The order matters: nothing that ingest might wait for is touched before the lock is
-- taken, and while it is held nothing is done that could be done before.
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
comment on function _maintain(timestamptz) is 'Internal: tidings.maintain at this time.';

create function maintain() returns setof maintained
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  return query select m.* from tidings._maintain(now()) m;
end
$$;
comment on function maintain() is
  'Does the upkeep by the settings in tidings.retention, and says what it did, a row each: makes the partition of the current time and those ahead; moves events there that the default partition holds, and past ones to partitions of their own where there are enough of them (any in the last "partitions_ahead" ranges, 10000 in an older one; after a million rows the rest is left to the next call); drops the partitions that are wholly expired, deletes what has expired in the default one; trims tidings.rejected. Nothing that a consumer has not acknowledged is removed; see the rows "kept". All of it or, on an error, none. To be called now and then by the worker, or by any scheduler; where another call is running it returns a row "busy". Where there is something to make or to drop, ingest and readers wait for the time of the move, one to two seconds for each million rows. SQLSTATE 55P03 where others hold tidings.event too long, 25001 in REPEATABLE READ and SERIALIZABLE, 25006 on a standby, 55000 where tidings.retention has no row.';

revoke all on function
  _unread(regclass), _delete_expired(timestamptz), _trim_rejected_before(timestamptz), _maintain(timestamptz), maintain()
from public;
