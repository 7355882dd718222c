-- The log: why no reader ever skips an event.
--
-- Ids are assigned before a transaction commits, so that a reader of "id > cursor" would
-- skip the ids of a slow transaction for ever. A writer therefore announces, before it
-- takes an id, the millisecond from which it will take ids, and a reader stops below
-- every announcement, and at the greatest id that it saw committed:
--
--   writer   1  reads the greatest committed id; takes a shared lock on the millisecond of
--               the clock, or of that id if the clock is behind it, until it commits
--            2  in a new snapshot, reads the greatest committed id again; its ids lie above
--               that id, and not before the millisecond of its lock
--            3  stores the events and a row of log_head, and commits
--               (_log_begin, _log_next)
--   reader   1  reads the greatest committed id
--            2  reads which milliseconds are locked; the log ends at that id, or with the
--               millisecond before the least of these
--            3  in a new snapshot, returns the events up to that end
--               (_log_end, events_after)
--
-- Suppose that a writer commits an id at or below this end which the reader's step 3 does not
-- see. Either the writer's second look came after the reader's greatest id was committed:
-- then its ids lie above the end. Or it came before: then the writer had its lock before
-- the reader looked at the locks, and has not committed since, so that the reader saw the
-- lock, and the end lies before the lock's millisecond. Neither is possible. No clock
-- occurs in this argument: clocks only choose numbers. If a clock was ahead, positions run
-- ahead of it and readers follow them; if it steps back, positions go on from the greatest.
--
-- The locks are advisory locks of a kind that no function of SQL can take, so that no other
-- session can hold readers back.

create function _require_log_access() returns void
  language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'require_log_access_wrapper';
comment on function _require_log_access() is 'Internal: checks that the log can be used here. SQLSTATE 25001 in REPEATABLE READ and SERIALIZABLE, 25006 on a standby, 55000 if a subscription fills the events.';

create function _log_below(newest ulid) returns ulid
  language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'below_locks_wrapper';
comment on function _log_below(ulid) is
  'Internal: returns this position, or the last one before the least millisecond that a writer has locked. The locks are read when the function is called.';
create function _log_end() returns ulid
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  -- The position comes before the locks.
  return tidings._log_below(tidings._log_newest());
end
$$;
comment on function _log_end() is
  'Internal: returns the position up to which the log is complete, for a snapshot that is taken after the function returns; null if nothing was ever stored.';

create function log_end() returns ulid
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  perform tidings._require_log_access();
  return coalesce(tidings._log_end(), '00000000000000000000000000');
end
$$;
comment on function log_end() is
  'Returns the end of the log: the position up to which the log is complete. A reader that starts there gets the events that are not complete yet, those in flight included, and no others: this is "from now on". SQLSTATE 25001 in REPEATABLE READ and SERIALIZABLE, 25006 on a standby, 55000 if a subscription fills the events.';

create function log_horizon() returns ulid
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  return tidings._log_above(tidings.log_end());
end
$$;
comment on function log_horizon() is
  'Returns the horizon: the position below which the log is complete, so that no event will be added below it. The horizon itself is the position of no event. To follow several databases as one log, read the horizon of each, then the events of each below the least horizon, and merge these by id. The horizon of an idle database stands still; tick() raises it. SQLSTATE 25001 in REPEATABLE READ and SERIALIZABLE, 25006 on a standby, 55000 if a subscription fills the events.';

create function _bound_idle() returns void
  language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'bound_idle_wrapper';
comment on function _bound_idle() is 'Internal: lets this transaction be idle for at most 10 s, because readers wait for a transaction that has taken ids.';

create function tick() returns ulid
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  at tidings.ulid;
begin
  perform tidings._require_log_access(), tidings._bound_idle();
  perform tidings._log_begin();
  at := tidings._log_next();
  insert into tidings.log_head (last_id, first_id, events) values (at, at, 0);
  return at;
end
$$;
comment on function tick() is
  'Raises the horizon of an idle log to the present: takes a position as a transaction with events would, stores no event there, and returns the position. Who merges several databases by log_horizon() calls it regularly where nothing is stored; nobody else needs it. SQLSTATE 25001 in REPEATABLE READ and SERIALIZABLE, 25006 on a standby, 55000 if a subscription fills the events.';

create function wake() returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  -- The check keeps the notification queue of the server from filling up, because nothing
  -- could be committed then.
  if tidings._notifies() and pg_notification_queue_usage() < 0.5 then
    notify tidings;
  end if;
end
$$;
comment on function wake() is
  'Notifies the channel "tidings", so that readers that listen there look for new events. Call it after the commit that stored them, in a transaction of its own: all transactions that notify commit one after another. The worker does so. A notification that is missed loses nothing. Nothing happens if the setting tidings.notify is off, or while the notification queue of the server is half full. SQLSTATE 55000 on a standby.';

create function _clock_ms() returns bigint
  language c volatile strict parallel safe as 'MODULE_PATHNAME', 'clock_wrapper';
comment on function _clock_ms() is 'Internal: returns the time of the server''s clock in milliseconds since 1970.';
create function _log_begin() returns void
  language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'begin_log_wrapper';
comment on function _log_begin() is
  'Internal: the writer''s steps 1 and 2. Announces, until the end of the transaction, that it takes ids from the millisecond of the clock on, or from that of the greatest committed position if the clock is behind it. Then starts a run of ids above the greatest position that is committed by then.';
create function _log_next() returns ulid
  language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'next_id_wrapper';
comment on function _log_next() is 'Internal: returns the next id of the run.';
create function _log_above(id ulid) returns ulid
  language c immutable strict parallel safe as 'MODULE_PATHNAME', 'above_wrapper';
comment on function _log_above(ulid) is 'Internal: returns the position right above this one.';
create function _notifies() returns boolean
  language c stable strict parallel safe as 'MODULE_PATHNAME', 'notifies_wrapper';
comment on function _notifies() is 'Internal: whether the setting tidings.notify is on.';
