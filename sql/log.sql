-- The log: why no reader ever skips an event.
--
-- Ids are assigned before a transaction commits, so that a reader of "id > cursor" would
-- skip the ids of a slow transaction for ever. A writer therefore announces, before it
-- takes an id, the millisecond from which it will take ids, and a reader stops below
-- every announcement:
--
--   writer   reads the clock; takes a shared advisory lock on that millisecond, until it
--            commits; reads the clock again; its ids lie at or above both readings
--            (_log_enter, _log_start, _log_id)
--   reader   reads the clock; reads which milliseconds are locked; its horizon is the
--            least of all these; in a new snapshot, returns the events below the horizon
--            (_log_horizon, events_after)
--
-- A writer whose lock the reader does not see either has not locked yet, or has released
-- its lock. In the first case its second reading of the clock will be at or above the
-- reader's. In the second case its rows are visible to the new snapshot, because Postgres
-- releases the lock only after the rows became visible. If the clock steps back, ids
-- continue above the greatest committed id, and readers wait until the clock has caught
-- up. The greatest id is searched among the events; retention and erasure note it in
-- log_mark before they remove events.

create table log_mark (
  one_row boolean primary key default true check (one_row),
  newest ulid not null
);
comment on table log_mark is 'The greatest position when events were last removed: no position at or below it is given again. The table is empty until events are removed.';
comment on column log_mark.one_row is 'Ensures that there is at most one row.';
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
comment on function _log_newest() is 'Internal: returns the greatest committed position, also of events that have been removed; null if there is none.';

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
  'Internal: notes a position at or above the greatest one of the events that this transaction removes.';

create function _require_log_access() returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
    raise exception using
      errcode = 'active_sql_transaction',
      message = format('the log cannot be used in a %s transaction', upper(current_setting('transaction_isolation'))),
      detail = 'The snapshot of the transaction is older than the locks that show which events are complete.',
      hint = 'Use READ COMMITTED.';
  end if;
  if pg_is_in_recovery() then
    raise exception using
      errcode = 'read_only_sql_transaction',
      message = 'the log cannot be followed on a standby',
      detail = 'The locks that show which events are complete exist only on the primary.',
      hint = 'Connect to the primary.';
  end if;
end
$$;
comment on function _require_log_access() is 'Internal: checks that the log can be used here. SQLSTATE 25001 in REPEATABLE READ and SERIALIZABLE, 25006 on a standby.';

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
  'Internal: returns the millisecond since 1970 below which the log is complete, for a snapshot that is taken after the function returns.';

create function _clock_ms() returns bigint
  language c volatile strict parallel safe as 'MODULE_PATHNAME', 'clock_wrapper';
comment on function _clock_ms() is 'Internal: returns the time of the server''s clock in milliseconds since 1970.';
create function _log_enter() returns void
  language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'enter_wrapper';
comment on function _log_enter() is 'Internal: announces, until the end of the transaction, that it takes ids from this millisecond on.';
create function _log_start(newest ulid) returns void
  language c volatile parallel unsafe as 'MODULE_PATHNAME', 'start_wrapper';
comment on function _log_start(ulid) is 'Internal: starts a run of ids; above this id, if the clock is behind it.';
create function _log_id() returns ulid
  language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'next_id_wrapper';
comment on function _log_id() is 'Internal: returns the next id of the run.';
create function _notifies() returns boolean
  language c stable strict parallel safe as 'MODULE_PATHNAME', 'notifies_wrapper';
comment on function _notifies() is 'Internal: whether the setting tidings.notify is on.';
