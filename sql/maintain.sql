-- Upkeep: partitions ahead of the events, retention, and an end for what was rejected.
--
-- A new partition takes over rows that the default partition holds. While that happens,
-- nobody may see an event twice, or not at all, or store it a second time:
--
--   without locks   the partition is built beside the table: rows copied, indexes made
--   locked          what came or went since is caught up, the rows leave the default
--                   partition, the new one is attached; all in one transaction
--
-- The lock is the strongest, and on the parent first. On the default partition alone it
-- would not do: a query that was being planned would wait there, know nothing of the new
-- partition, and then read with a snapshot in which the rows have moved. Everybody else
-- comes through the parent too, so that nobody holds what this waits for while waiting
-- for what this holds.

create table retention (
  one_row boolean primary key default true check (one_row),
  partition_width text not null default 'week' check (partition_width in ('week', 'month')),
  partitions_ahead int not null default 4 check (partitions_ahead between 1 and 100),
  keep_events interval check (keep_events > '0'),
  keep_rejected interval default '30 days' check (keep_rejected > '0')
);
comment on table retention is
  'How tidings.maintain cuts tidings.event, and how long it keeps what. One row: change it by UPDATE.';
comment on column retention.one_row is 'There is one row.';
comment on column retention.partition_width is 'week (from Monday) or month, in UTC. Partitions that exist keep theirs.';
comment on column retention.partitions_ahead is 'How many partitions there are after the current one; and for as many before it one is made as soon as the default partition holds an event of theirs.';
comment on column retention.keep_events is 'Events that occurred longer ago are removed, a partition at a time; null keeps them for ever.';
comment on column retention.keep_rejected is 'What was rejected longer ago is removed; null leaves it to the bound of tidings.rejected.';

-- A dump brings a row, and the script of its restoration has made one already.
create function _replace_retention() returns trigger
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  delete from tidings.retention;
  return new;
end
$$;
comment on function _replace_retention() is 'Internal: the row that is inserted takes the place of the one that is there.';
create trigger replace before insert on retention
  for each row execute function _replace_retention();

insert into retention default values;
select pg_catalog.pg_extension_config_dump('tidings.retention', '');

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

create type _partition as (
  name text,
  starts_at timestamptz,
  ends_at timestamptz,
  is_past boolean,
  rows bigint,
  fingerprint bigint
);
comment on type _partition is
  'Internal: a partition to be made, with the number of its rows, and a sum by which a copy of them is known to be exact.';

create function _partitions(out relation regclass, out starts_at timestamptz, out ends_at timestamptz)
  returns setof record
  language plpgsql stable
  set search_path = pg_catalog, tidings, pg_temp
  set timezone = 'UTC'
  set datestyle = 'ISO, YMD'  -- bounds are read as text
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
comment on function _partitions() is 'Internal: the partitions of tidings.event but for the default one, with their times.';

create function _object(relation regclass) returns text
  language plpgsql stable
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  return (
    select format('%I.%I', n.nspname, c.relname)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.oid = relation
  );
end
$$;
comment on function _object(regclass) is 'Internal: the name of a table with its schema.';

create function _missing_partitions(at timestamptz, settings retention) returns setof _partition
  language plpgsql stable
  set search_path = pg_catalog, tidings, pg_temp
  set timezone = 'UTC'
as $$
declare
  enough constant int := 10000;
  width constant interval := ('1 ' || settings.partition_width)::interval;
  this timestamptz := date_trunc(settings.partition_width, at, 'UTC');
begin
  return query
    with held as materialized (
      select date_trunc(settings.partition_width, e.occurred_at, 'UTC') as starts_at, count(*) as n
      from tidings.event_default e
      where isfinite(e.occurred_at)
      group by 1
    ),
    wanted as (
      select a.starts_at, coalesce(h.n, 0) as n
      from generate_series(this, this + settings.partitions_ahead * width, width) a (starts_at)
      left join held h using (starts_at)
      union all
      select h.starts_at, h.n
      from held h
      where h.starts_at < this
        and (h.n >= enough or h.starts_at >= this - settings.partitions_ahead * width)
        and (settings.keep_events is null or h.starts_at + width > at - settings.keep_events)
    ),
    -- Where the width was changed, partitions that exist cover a part of a range.
    gap as (
      select lower(g.range) as starts_at, upper(g.range) as ends_at, w.n,
        w.starts_at < this as is_past,
        g.range = tstzrange(w.starts_at, w.starts_at + width) as is_whole
      from wanted w
      cross join lateral unnest(
        tstzmultirange(tstzrange(w.starts_at, w.starts_at + width)) - coalesce(
          (select range_agg(tstzrange(p.starts_at, p.ends_at)) from tidings._partitions() p), '{}')
      ) g (range)
    )
    select
      to_char(g.starts_at, case
        when not g.is_whole then case when g.starts_at = date_trunc('day', g.starts_at) then '"event_from_"YYYYMMDD' else '"event_from_"YYYYMMDD"t"HH24MISS' end
        when settings.partition_width = 'week' then '"event_"IYYY"w"IW'
        else '"event_"YYYY"_"MM'
      end),
      g.starts_at, g.ends_at, g.is_past, g.n, null::bigint
    from gap g
    order by g.is_past, case when not g.is_past then g.starts_at end, g.starts_at desc;
end
$$;
comment on function _missing_partitions(timestamptz, retention) is
  'Internal: the partitions to make: the current one and those ahead, then those of times past, the latest first, that the default partition holds enough events of: any in the last "partitions_ahead" ranges, 10000 in one before them.';

create function _build_partition(p _partition) returns _partition
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
  set timezone = 'UTC'
  set datestyle = 'ISO, YMD'
as $$
begin
  execute format('create table tidings.%I (like tidings.event_default including all excluding comments)', p.name);
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
comment on function _build_partition(_partition) is
  'Internal: makes a partition beside the table, as event_default is made, with a copy of the rows that are to move into it.';

create function _lock_event(partitions regclass[]) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  own_timeout constant text := current_setting('lock_timeout');
  partition regclass;
  holders text;
begin
  -- Whoever comes after this waits behind it: each attempt is short, and lets them pass.
  -- It outlasts deadlock_timeout, after which an autovacuum gives way.
  for attempt in 1..5 loop
    begin
      perform set_config('lock_timeout', case when own_timeout::interval > '0' then own_timeout else '2s' end, true);
      lock table only tidings.event in access exclusive mode;
      lock table only tidings.event_default in access exclusive mode;
      foreach partition in array partitions loop
        execute format('lock table only %s in access exclusive mode', partition);
      end loop;
      perform set_config('lock_timeout', own_timeout, true);
      return;
    exception when lock_not_available or deadlock_detected then
      perform pg_stat_clear_snapshot();
      holders := (
        select string_agg(format('process %s (%s), since %s', a.pid, coalesce(nullif(a.application_name, ''), a.backend_type), a.xact_start), '; ' order by a.xact_start)
        from pg_stat_activity a
        where a.pid <> pg_backend_pid() and exists (
          select from pg_locks l
          where l.pid = a.pid and l.granted and l.relation = any ('{tidings.event, tidings.event_default}'::regclass[] || partitions)
            and l.database = (select d.oid from pg_database d where d.datname = current_database()))
      );
      perform pg_sleep(0.1 + random() * 0.2);
    end;
  end loop;
  raise exception using
    errcode = 'lock_not_available',
    message = 'the partitions of tidings.event are in use',
    detail = format('They were used last by: %s. Nothing was changed.', coalesce(holders, 'sessions that have ended since')),
    hint = 'Call tidings.maintain() again when these transactions have ended. lock_timeout, where it is set, is the time of each of its 5 attempts; else that is 2 s.';
end
$$;
comment on function _lock_event(regclass[]) is
  'Internal: keeps everybody out of tidings.event, its default partition and these until the transaction ends, or SQLSTATE 55P03.';

create function _move_rows(partitions _partition[]) returns _partition[]
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  held tidings._partition[];
begin
  held := (
    select array_agg((p.name, p.starts_at, p.ends_at, p.is_past, coalesce(h.n, 0), h.fingerprint)::tidings._partition order by p.ordinal)
    from unnest(partitions) with ordinality p (name, starts_at, ends_at, is_past, rows, fingerprint, ordinal)
    left join (
      select x.name, count(*) as n, bit_xor(tidings.ulid_hash_extended(d.event_id, d.source_id)) as fingerprint
      from tidings.event_default d
      join unnest(partitions) x on d.occurred_at >= x.starts_at and d.occurred_at < x.ends_at
      group by x.name
    ) h using (name)
  );
  for i in 1..cardinality(partitions) loop
    if held[i] is distinct from partitions[i] then
      -- What came since it was copied, and what was erased.
      execute format($sql$
        insert into tidings.%1$I
        select d.* from tidings.event_default d
        where d.occurred_at >= $1 and d.occurred_at < $2
          and not exists (
            select from tidings.%1$I n
            where n.event_id = d.event_id and n.occurred_at = d.occurred_at and n.source_id = d.source_id)
        $sql$, held[i].name) using held[i].starts_at, held[i].ends_at;
      execute format($sql$
        delete from tidings.%1$I n
        where not exists (
          select from tidings.event_default d
          where d.event_id = n.event_id and d.occurred_at = n.occurred_at and d.source_id = n.source_id)
        $sql$, held[i].name);
    end if;
  end loop;
  if exists (select from unnest(held) h where h.rows > 0) then
    delete from tidings.event_default d
    where d.occurred_at <@ (select range_agg(tstzrange(h.starts_at, h.ends_at)) from unnest(held) h where h.rows > 0);
  end if;
  return held;
end
$$;
comment on function _move_rows(_partition[]) is
  'Internal: makes the copies in these partitions exact, takes the rows from the default partition, and tells how many there were.';

create function _attach_partitions(partitions _partition[]) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
  set timezone = 'UTC'
  set datestyle = 'ISO, YMD'
as $$
declare
  p tidings._partition;
begin
  -- The default partition is read once, for all of them, rather than by each ATTACH.
  execute (
    select 'alter table tidings.event_default ' || string_agg(
      format('add constraint %I check (occurred_at < %L or occurred_at >= %L)', 'not_' || n.name, n.starts_at, n.ends_at), ', ')
    from unnest(partitions) n
  );
  foreach p in array partitions loop
    execute format('alter table tidings.event attach partition tidings.%I for values from (%L) to (%L)', p.name, p.starts_at, p.ends_at);
    execute format('alter table tidings.%I drop constraint event_range', p.name);
  end loop;
  execute (
    select 'alter table tidings.event_default ' || string_agg(format('drop constraint %I', 'not_' || n.name), ', ')
    from unnest(partitions) n
  );
end
$$;
comment on function _attach_partitions(_partition[]) is 'Internal: attaches partitions whose rows are in them.';

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

  -- Without locks.
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
  _replace_retention(), _partitions(), _object(regclass), _missing_partitions(timestamptz, retention), _build_partition(_partition),
  _lock_event(regclass[]), _move_rows(_partition[]), _attach_partitions(_partition[]), _unread(regclass),
  _delete_expired(timestamptz), _trim_rejected_before(timestamptz), _maintain(timestamptz), maintain()
from public;
