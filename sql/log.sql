-- The log: why no reader ever skips an event.
--
-- Ids are given before a transaction commits, so a reader of "id > cursor" would pass
-- the ids of a slow transaction and never come back. Here a writer announces, before it
-- takes an id, the millisecond from which it will take them, and a reader stops short
-- of every announcement:
--
--   writer   reads the clock; takes a shared advisory lock on that millisecond, until it
--            commits; reads the clock again; its ids lie at or above both readings
--            (_log_enter, _log_start, _log_id)
--   reader   reads the clock; reads which milliseconds are locked; its horizon is the
--            least of them all; in a new snapshot, returns what lies below it
--            (_log_horizon, events_after)
--
-- A writer that the reader's scan does not see either has not locked yet, and its second
-- reading of the clock will be at or above the reader's, or has released its lock, which
-- Postgres does only after its rows became visible, so that the new snapshot sees them.
-- Where the clock steps back, ids go on above the greatest that was committed, and
-- readers wait until the clock has caught up. The greatest is looked for among the
-- events; whoever removes events notes it first, in log_mark.

create table log_mark (
  one_row boolean primary key default true check (one_row),
  newest ulid not null
);
comment on table log_mark is 'The greatest position when events were last removed: none is given at or below it again. No row before that.';
comment on column log_mark.one_row is 'There is one row at most.';
comment on column log_mark.newest is 'The position.';
select pg_catalog.pg_extension_config_dump('tidings.log_mark', '');

create function _log_newest() returns ulid
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  return greatest(
    (select e.id from tidings.event e order by e.id desc limit 1),
    (select m.newest from tidings.log_mark m));
end
$$;
comment on function _log_newest() is 'Internal: the greatest position that was committed, of events that are there or were; null of none.';

create function _log_keep(removed ulid) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  insert into tidings.log_mark as m (newest)
  select removed where removed is not null
  on conflict (one_row) do update set newest = greatest(m.newest, excluded.newest);
end
$$;
comment on function _log_keep(ulid) is
  'Internal: notes the greatest position, or one at or above it, of the events that this transaction removes.';

create function _require_log_access() returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
    raise exception using
      errcode = 'active_sql_transaction',
      message = format('the log cannot be used in a %s transaction', upper(current_setting('transaction_isolation'))),
      detail = 'Its snapshot is older than the locks that tell which events are complete.',
      hint = 'Use READ COMMITTED.';
  end if;
  if pg_is_in_recovery() then
    raise exception using
      errcode = 'read_only_sql_transaction',
      message = 'the log cannot be followed on a standby',
      detail = 'The locks that tell which events are complete are on the primary.',
      hint = 'Connect to the primary.';
  end if;
end
$$;
comment on function _require_log_access() is 'Internal: SQLSTATE 25001 in REPEATABLE READ and SERIALIZABLE, 25006 on a standby.';

create function _log_horizon() returns bigint
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  clock_ms bigint := tidings._clock_ms();  -- before the locks are read, never after
begin
  return least(clock_ms, (
    select min((l.classid::bigint & 65535) << 32 | l.objid::bigint)
    from pg_locks l
    where l.locktype = 'advisory' and l.granted
      and l.objsubid = 1 and l.classid::bigint >> 16 = 29801  -- the tag, x7469
      and l.database = (select d.oid from pg_database d where d.datname = current_database())
  ));
end
$$;
comment on function _log_horizon() is
  'Internal: the millisecond since 1970 below which the log is complete, for a snapshot taken after this returns.';

create function _clock_ms() returns bigint
  language c volatile strict parallel safe as 'MODULE_PATHNAME', 'clock_wrapper';
comment on function _clock_ms() is 'Internal: the clock, in milliseconds since 1970.';
create function _log_enter() returns void
  language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'enter_wrapper';
comment on function _log_enter() is 'Internal: announces, until the end of the transaction, that ids are given from now on.';
create function _log_start(newest ulid) returns void
  language c volatile parallel unsafe as 'MODULE_PATHNAME', 'start_wrapper';
comment on function _log_start(ulid) is 'Internal: starts a run of ids, above this one where the clock is behind it.';
create function _log_id() returns ulid
  language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'next_id_wrapper';
comment on function _log_id() is 'Internal: the next id of the run.';
create function _notifies() returns boolean
  language c stable strict parallel safe as 'MODULE_PATHNAME', 'notifies_wrapper';
comment on function _notifies() is 'Internal: whether tidings.notify is on.';
