-- Partitions: created ahead of time, beside the table, and attached.
--
-- A new partition takes over rows of the default partition. Meanwhile no reader may see
-- an event twice or not at all, and no writer may store it a second time:
--
--   without locks   the partition is built beside the table: rows copied, indexes made
--   locked          changes since the copy are caught up, the rows are deleted from the
--                   default partition, the new one is attached; all in one transaction
--
-- The lock is ACCESS EXCLUSIVE, and is taken on the parent first. A lock on the default
-- partition alone would not suffice: a query that was being planned would wait there,
-- would not know the new partition, and would then read with a snapshot in which the rows
-- have moved. All other sessions lock the parent first, too, so that there is no
-- deadlock.

create type _partition as (
  name text,
  starts_at timestamptz,
  ends_at timestamptz,
  is_past boolean,
  rows bigint,
  fingerprint bigint
);
comment on type _partition is
  'Internal: a partition to be created, with the number of its rows and a checksum that tells whether a copy of them is exact.';

create function _partitions(out relation regclass, out starts_at timestamptz, out ends_at timestamptz)
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
comment on function _partitions() is 'Internal: the partitions of tidings.event except the default one, with their times.';

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
comment on function _object(regclass) is 'Internal: the schema-qualified name of a table.';

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
    -- If the width was changed, existing partitions may cover a part of a range.
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
  'Internal: the partitions to create: the current one and those ahead, then past ones, latest first, for which the default partition contains enough events: any number in the last "partitions_ahead" ranges, 10000 in an older range.';

create function _build_partition(p _partition) returns _partition
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
  set timezone = 'UTC'
  set datestyle = 'ISO, YMD'
  set default_tablespace = ''  -- the caller may have no privilege on its own default; also for indexes
as $$
declare
  plain constant text := p.name;
  granted record;
begin
  -- The name is taken where a partition was detached, as for an archive.
  for n in 2..10000 loop
    exit when not exists (
      select from pg_type t where t.typnamespace = 'tidings'::regnamespace and t.typname = p.name);
    p.name := format('%s_%s', plain, n);
  end loop;
  execute (
    select format('create table tidings.%I (like tidings.event_default including all excluding comments) using %I', p.name, a.amname)
      || coalesce(' tablespace ' || quote_ident(t.spcname), '')
    from pg_class c
    join pg_am a on a.oid = c.relam
    left join pg_tablespace t on t.oid = c.reltablespace
    where c.oid = 'tidings.event_default'::regclass
  );
  -- Roles may have been granted rights in all new tables (ALTER DEFAULT PRIVILEGES).
  for granted in
    select distinct a.grantee
    from pg_class c cross join lateral aclexplode(c.relacl) a
    where c.oid = format('tidings.%I', p.name)::regclass and a.grantee <> c.relowner
  loop
    execute format('revoke all on tidings.%I from %s', p.name,
      case when granted.grantee = 0 then 'public' else granted.grantee::regrole::text end);
  end loop;
  execute format('comment on table tidings.%I is %L', p.name, format('The events from %s to %s.', p.starts_at, p.ends_at));
  execute format('alter table tidings.%I replica identity full', p.name);
  -- With this constraint the partition is attached without a scan.
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
  'Internal: creates a table for a partition, like event_default and in its tablespace, with a copy of the rows that are to move into the partition.';

create function _holders(partitions regclass[], since timestamptz) returns text
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  perform pg_stat_clear_snapshot();
  return (
    select string_agg(format('%s, since %s', h.who, h.since), '; ' order by h.since)
    from (
      select format('process %s (%s)', a.pid, coalesce(nullif(a.application_name, ''), a.backend_type)) as who, a.xact_start as since
      from pg_stat_activity a
      where a.pid <> pg_backend_pid() and a.backend_type <> 'autovacuum worker'
        and exists (
          select from pg_locks l
          where l.pid = a.pid and l.granted and l.relation = any ('{tidings.event, tidings.event_default}'::regclass[] || partitions)
            and l.database = (select d.oid from pg_database d where d.datname = current_database()))
      union all
      -- It has no process. Its own lock tells which it is.
      select 'prepared transaction ' || x.gid, x.prepared
      from pg_prepared_xacts x
      where x.database = current_database()
        and exists (
          select from pg_locks l join pg_locks t on t.virtualtransaction = l.virtualtransaction
          where l.pid is null and t.transactionid = x.transaction
            and l.relation = any ('{tidings.event, tidings.event_default}'::regclass[] || partitions))
    ) h
    where h.since <= _holders.since);
end
$$;
comment on function _holders(regclass[], timestamptz) is
  'Internal: returns the transactions that were begun before this time and use tidings.event, its default partition or one of these tables, in words; null if there are none. An autovacuum does not count, because it yields to a lock request, unless it prevents a wraparound.';

create function _lock_event(partitions regclass[]) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  own_timeout constant text := current_setting('lock_timeout');
  long constant interval := '5 s';
  -- Longer than deadlock_timeout, after which an autovacuum is cancelled.
  patience constant interval := case when own_timeout::interval > '0' then own_timeout::interval else '1.5 s' end;
  target regclass;
  holders text;
  gives_up_at timestamptz;
begin
  -- Later sessions queue behind this lock request, ingest too. Therefore nothing is requested
  -- while a long transaction uses the tables, because it will not end soon; and after an attempt
  -- others pass.
  for attempt in 1..10 loop
    holders := tidings._holders(partitions, clock_timestamp() - long);
    if holders is null then
      begin
        gives_up_at := clock_timestamp() + patience;
        foreach target in array '{tidings.event, tidings.event_default}'::regclass[] || partitions loop
          perform set_config('lock_timeout',
            greatest(1, ceil(extract(epoch from gives_up_at - clock_timestamp()) * 1000)::int)::text, true);
          execute format('lock table only %s in access exclusive mode', target);
        end loop;
        perform set_config('lock_timeout', own_timeout, true);
        return;
      exception when lock_not_available or deadlock_detected then
        holders := coalesce(tidings._holders(partitions, clock_timestamp()), holders);
      end;
    end if;
    perform pg_sleep(0.5 + random() * 0.2);
  end loop;
  raise exception using
    errcode = 'lock_not_available',
    message = 'the partitions of tidings.event are in use',
    detail = format('They were last used by %s. Nothing was changed.', coalesce(holders, 'sessions that have ended since')),
    hint = 'Call tidings.maintain() again when these transactions have ended. Each of its 10 attempts waits for lock_timeout if that is set, otherwise for 1.5 s, and none waits for a transaction that has been open for more than 5 s.';
end
$$;
comment on function _lock_event(regclass[]) is
  'Internal: locks tidings.event, its default partition and these tables exclusively until the transaction ends. SQLSTATE 55P03 if the locks cannot be had in time.';

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
      -- Catches up with rows that were added or erased since the copy.
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
  'Internal: completes the copies in these partitions, deletes the rows from the default partition, and returns their number.';

create function _attach_partitions(partitions _partition[]) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
  set timezone = 'UTC'
  set datestyle = 'ISO, YMD'
as $$
declare
  p tidings._partition;
begin
  -- The default partition is scanned once for all new partitions rather than by each
  -- ATTACH.
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
comment on function _attach_partitions(_partition[]) is 'Internal: attaches partitions that contain their rows.';

-- Rows are copied before the partition is one of tidings.event, and so they are not published; that
-- they leave the default partition is. A subscriber would lose them.
create function _publish_rows(partitions _partition[]) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  p tidings._partition;
begin
  if not exists (select from pg_publication_tables t where t.schemaname = 'tidings' and t.tablename in ('event', 'event_default')) then
    return;
  end if;
  foreach p in array partitions loop
    if p.rows > 0 then
      execute format('with gone as (delete from tidings.%1$I returning *) insert into tidings.%1$I select * from gone', p.name);
    end if;
  end loop;
end
$$;
comment on function _publish_rows(_partition[]) is
  'Internal: writes the rows of partitions that were attached once more, if tidings.event is published.';

revoke all on function
  _publish_rows(_partition[]), _partitions(), _object(regclass), _missing_partitions(timestamptz, retention), _build_partition(_partition),
  _holders(regclass[], timestamptz), _lock_event(regclass[]), _move_rows(_partition[]), _attach_partitions(_partition[])
from public;
