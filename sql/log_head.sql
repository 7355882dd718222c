-- The log in short: a row for each transaction that stored events.
--
-- The rows behind a position say how many events there are and within which bounds of time,
-- so that a reader opens no other partition, and that counting costs no look at the events.
-- The greatest row is the end of the log. Ingest adds rows and never changes one: the
-- greatest position is one step down the right edge of a small index, however many dead rows
-- a long transaction keeps further left.

create table log_head (
  last_id ulid primary key,
  first_id ulid not null,
  first_at timestamptz,
  last_at timestamptz,
  events bigint not null
);
comment on table log_head is
  'The log in short: a row for each transaction that stored events. Ingest adds a row and never changes one, so that the greatest position is one step down the right edge of a small index. maintain() merges old rows. The greatest row always stays.';
comment on column log_head.last_id is 'The greatest position of these events.';
comment on column log_head.first_id is 'The least position of these events.';
comment on column log_head.first_at is 'The least occurred_at of these events; null if there are none.';
comment on column log_head.last_at is 'The greatest occurred_at of these events; null if there are none.';
comment on column log_head.events is 'Number of the events when they were stored.';
select pg_catalog.pg_extension_config_dump('tidings.log_head', '');

create function _log_newest() returns ulid
  language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'newest_committed_wrapper';
comment on function _log_newest() is
  'Internal: returns the greatest position that is committed when the function is called, also of events that have been removed; null if there is none.';

create function _merge_log() returns bigint
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  enough constant bigint := 10000;
  newest tidings.ulid := tidings._log_newest();
  complete tidings.ulid := tidings._log_below(newest);
  merged bigint;
begin
  -- Readers see the rows of a merge or the row that replaces them, with the same sum and
  -- bounds. Only neighbours are merged, and only where the log is complete, because a
  -- transaction in flight may still add a row above that; so rows never overlap. The newest
  -- row stays as it is, because writers continue above it.
  with island as (
    select h.last_id, h.events, count(*) filter (where h.events >= enough) over (order by h.last_id) as island
    from tidings.log_head h
    where h.last_id < newest and h.last_id <= complete
  ),
  small as materialized (
    select i.last_id, i.island, div(sum(i.events) over (partition by i.island order by i.last_id), enough) as run
    from island i
    where i.events < enough
  ),
  gone as (
    delete from tidings.log_head h using small s
    where h.last_id = s.last_id
      and (s.island, s.run) in (select x.island, x.run from small x group by x.island, x.run having count(*) > 1)
    returning h.*, s.island, s.run
  ),
  row_of_run as (
    insert into tidings.log_head (last_id, first_id, first_at, last_at, events)
    select max(g.last_id), min(g.first_id), min(g.first_at), max(g.last_at), sum(g.events)
    from gone g
    group by g.island, g.run
    returning 1
  )
  select (select count(*) from gone) - (select count(*) from row_of_run) into merged;
  return merged;
end
$$;
comment on function _merge_log() is
  'Internal: merges neighbouring rows of tidings.log_head into rows of about 10000 events, and returns by how many rows there are less.';

create function rebuild_log() returns bigint
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  enough constant bigint := 10000;
  newest tidings.ulid;
  complete tidings.ulid;
  rows bigint;
begin
  perform tidings._require_log_access();
  -- Ingest waits, so that the rows of its transactions are either here or come after.
  lock table only tidings.event in share row exclusive mode;
  newest := tidings._log_newest();
  complete := tidings._log_below((select max(e.id) from tidings.event e));
  delete from tidings.log_head;
  insert into tidings.log_head (last_id, first_id, first_at, last_at, events)
  select max(r.id), min(r.id), min(r.occurred_at), max(r.occurred_at), count(*)
  from (select e.id, e.occurred_at, (row_number() over (order by e.id) - 1) / enough as run from tidings.event e) r
  -- Between events above this position there may come those of a transaction that waits.
  group by r.run, case when r.id > complete then r.id end;
  get diagnostics rows = row_count;
  -- No position is given again, even if its event is gone.
  insert into tidings.log_head (last_id, first_id, events)
  select newest, newest, 0
  where newest > coalesce((select max(h.last_id) from tidings.log_head h), '00000000000000000000000000');
  return rows;
end
$$;
comment on function rebuild_log() is
  'Rebuilds tidings.log_head from the events, and returns the number of its rows with events. This is needed only after events were added to tidings.event in another way than by ingest, for example by logical replication from a version before 0.5.0; readers would not see them otherwise. Ingest waits while it runs. SQLSTATE 25001 in REPEATABLE READ and SERIALIZABLE, 25006 on a standby, 55000 if a subscription fills the events.';

revoke all on function _log_newest(), _merge_log(), rebuild_log() from public;
