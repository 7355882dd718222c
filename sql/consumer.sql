-- Named consumers: who follows the log, and how far each of them has read.
--
-- If an application calls ack in the transaction that contains its own effects, each
-- event takes effect exactly once, because both are committed or neither is. An ack that
-- could repeat or skip an effect is therefore refused:
--
--   one at a time   poll and ack lock the consumer's row until their transaction ends.
--                   Polled events belong to the session that polled them until they are
--                   acknowledged or that session ends; then the next poll gets them
--   never back      an acknowledged event is not acknowledged again, however often it
--                   was polled
--   never beyond    only events that the last poll returned can be acknowledged
--
-- A session is identified by its process id and the start of that process, because
-- process ids are reused, and a restored dump contains those of another cluster.

create table consumer (
  name text primary key check (char_length(name) between 1 and 63),
  position ulid,
  polled_to ulid,
  polled_by int,
  polled_session timestamptz,
  created_at timestamptz not null default now(),
  polled_at timestamptz,
  acked_at timestamptz,
  check ((polled_to is null) = (polled_by is null)),
  check (polled_to > position)
);
comment on table consumer is
  'The named readers of the log, and how far each of them has read. create_consumer adds a row; ack and seek move a consumer.';
comment on column consumer.name is 'The name: 1 to 63 characters.';
comment on column consumer.position is 'The events up to this position are acknowledged; null at the start of the log.';
comment on column consumer.polled_to is 'The events up to this position were returned by the last poll, and are not all acknowledged; null if none are left.';
comment on column consumer.polled_by is 'The process id of the session that polled them.';
comment on column consumer.polled_session is 'When that process started, because process ids are reused.';
comment on column consumer.created_at is 'When the consumer was created.';
comment on column consumer.polled_at is 'When a poll last returned events.';
comment on column consumer.acked_at is 'When events were last acknowledged.';

select pg_catalog.pg_extension_config_dump('tidings.consumer', '');

create function create_consumer(name text, start_at ulid default null) returns void
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  if name is null or char_length(name) not between 1 and 63 then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = format('invalid consumer name %s', coalesce('"' || name || '"', 'null')),
      hint = 'A name has 1 to 63 characters.';
  end if;
  insert into tidings.consumer (name, position)
  values (create_consumer.name, create_consumer.start_at)
  on conflict do nothing;
  if not found then
    raise exception using
      errcode = 'duplicate_object',
      message = format('consumer "%s" already exists', name),
      hint = 'tidings.seek moves it; tidings.drop_consumer removes it.';
  end if;
end
$$;
comment on function create_consumer(text, ulid) is
  'Creates a consumer that gets the events after this position, or all events from the start of the log if the position is null. Pass tidings.log_end() to get the events that are stored from now on, those in flight included. SQLSTATE 22023 if the name does not have 1 to 63 characters, 42710 if it is taken.';

create function _lock_consumer(name text) returns consumer
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
  set plan_cache_mode = auto
as $$
declare
  found_consumer tidings.consumer;
begin
  select * into found_consumer from tidings.consumer c where c.name = _lock_consumer.name for update;
  if not found then
    raise exception using
      errcode = 'undefined_object',
      message = format('consumer %s does not exist', coalesce('"' || name || '"', 'null')),
      hint = 'SELECT name FROM tidings.consumer lists the consumers; tidings.create_consumer creates one.';
  end if;
  return found_consumer;
end
$$;
comment on function _lock_consumer(text) is
  'Internal: returns the consumer of this name, locked until the transaction ends. SQLSTATE 42704 if there is no such consumer.';

create function _live_session(of_pid int, started_at timestamptz) returns text
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  if of_pid is null then
    return null;
  end if;
  perform pg_stat_clear_snapshot();  -- to see the sessions as they are now, not as at the first access
  return (
    select coalesce(a.application_name, '')
    from pg_stat_get_activity(of_pid) a
    where coalesce(a.backend_start = started_at, true)
  );
end
$$;
comment on function _live_session(int, timestamptz) is
  'Internal: returns the application name of this session, or null if the session has ended. A session whose start cannot be seen is assumed to be alive.';

create function _session_start() returns timestamptz
  language c stable strict parallel restricted as 'MODULE_PATHNAME', 'session_start_wrapper';
comment on function _session_start() is 'Internal: returns when the calling session started.';

create function _is_this_session(of_pid int, started_at timestamptz) returns boolean
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  return of_pid = pg_backend_pid() and coalesce(started_at = tidings._session_start(), true);
end
$$;
comment on function _is_this_session(int, timestamptz) is 'Internal: whether this is the calling session.';

create function _note_id(id ulid) returns boolean
  language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'note_id';
comment on function _note_id(ulid) is 'Internal: notes this id, and returns true. As the condition of a query, it records the id of the last row that the query returned.';
create function _noted_id() returns ulid
  language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'noted_id_wrapper';
comment on function _noted_id() is 'Internal: returns the id that was noted last in this session.';

create function _set_polled(name text, upto ulid) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
  set plan_cache_mode = auto
as $$
begin
  update tidings.consumer u
  set polled_to = upto,
    polled_by = case when upto is not null then pg_backend_pid() end,
    polled_session = case when upto is not null then tidings._session_start() end,
    polled_at = case when upto is not null then clock_timestamp() else u.polled_at end
  where u.name = _set_polled.name;
end
$$;
comment on function _set_polled(text, ulid) is
  'Internal: records that this session polled the events up to this position; if the position is null, that no session has events to acknowledge.';

create function poll(name text, max_events int default 1000) returns setof event
  language plpgsql volatile security definer rows 1000
  set search_path = pg_catalog, tidings, pg_temp
  set plan_cache_mode = force_custom_plan  -- as in events_after
as $$
declare
  c tidings.consumer;
  application text;
  reached tidings.ulid;
  last tidings.ulid;
  last_id tidings.ulid;
  page record;
  missing int := least(max_events, 10000);
  looked_at int := missing;
  n int;
begin
  if max_events is null or max_events < 1 then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = 'max_events is less than 1 or null',
      hint = 'Pass how many events to return at most.';
  end if;
  perform tidings._require_log_access();

  c := tidings._lock_consumer(name);
  if c.polled_by is not null and not tidings._is_this_session(c.polled_by, c.polled_session) then
    application := tidings._live_session(c.polled_by, c.polled_session);
    if application is not null then
      raise exception using
        errcode = 'object_in_use',
        message = format('consumer "%s" is in use by another session', name),
        detail = format('Process %s (application "%s") polled events at %s and has not acknowledged them.',
          c.polled_by, application, c.polled_at),
        hint = format('Wait until that process acknowledges the events or ends. To take the events from it, SELECT pg_terminate_backend(%s), or move the consumer with tidings.seek.', c.polled_by);
    end if;
  end if;

  perform tidings._require_no_policies();

  -- The loop is that of events_after. A query around a call of events_after would copy each
  -- event once more, and so would a loop over its rows, so the query itself notes the last id.
  reached := coalesce(c.position, '00000000000000000000000000');
  last := tidings._log_end();
  while missing > 0 and reached < last loop
    page := tidings._log_page(reached, last, looked_at);
    if page.first_at is not null then
      return query
        select p.*
        from (
          select e.*
          from tidings.event e
          where e.id > reached and e.id <= page.upto and e.occurred_at between page.first_at and page.last_at
          order by e.id
          limit missing
        ) p
        where tidings._note_id(p.id);
      get diagnostics n = row_count;
      if n > 0 then
        last_id := tidings._noted_id();
      end if;
      missing := missing - n;
    end if;
    reached := page.upto;
    looked_at := greatest(missing, least(looked_at::bigint * 10, 1000000));
  end loop;

  if last_id is not null or c.polled_to is not null then
    perform tidings._set_polled(name, last_id);
  end if;
end
$$;
comment on function poll(text, int) is
  'Returns the events that a consumer has not acknowledged, oldest first: at most max_events of them, and never more than 10000. Each poll returns the same events until this session acknowledges them with ack. Until then, or until this session ends, a poll in another session fails with SQLSTATE 55006 and names this session. While another transaction polls or acknowledges, poll waits for that transaction (lock_timeout bounds the wait). Through a connection pool that may give each transaction another session, poll and ack in one transaction. SQLSTATE 42704 if there is no such consumer, 22023 if max_events is less than 1, 25001 in REPEATABLE READ and SERIALIZABLE, 25006 on a standby.';

create function ack(name text, upto ulid) returns void
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  c tidings.consumer;
begin
  if upto is null then
    raise exception using
      errcode = 'null_value_not_allowed',
      message = 'the position to acknowledge is null',
      hint = 'Pass the id of the last event that you processed; if poll returned no event, there is nothing to acknowledge.';
  end if;

  for attempt in 1..2 loop
    update tidings.consumer u
    set position = upto,
      acked_at = clock_timestamp(),
      polled_to = nullif(u.polled_to, upto),
      polled_by = case when upto < u.polled_to then u.polled_by end,
      polled_session = case when upto < u.polled_to then u.polled_session end
    where u.name = ack.name
      and coalesce(upto > u.position, true) and upto <= u.polled_to
      and u.polled_by = pg_backend_pid() and coalesce(u.polled_session = tidings._session_start(), true);
    if found then
      return;
    end if;

    -- One of the following is why no row matched, unless another transaction has changed the
    -- consumer since. In that case the second attempt succeeds, because the row is locked now.
    c := tidings._lock_consumer(name);
    if upto <= c.position then
      raise exception using
        errcode = 'object_not_in_prerequisite_state',
        message = format('consumer "%s" has acknowledged these events already', name),
        detail = format('The consumer is at %s; %s is not after that position.', c.position, upto),
        hint = 'Roll back what this transaction did for these events, because it was done before. tidings.seek moves a consumer back.';
    end if;
    if c.polled_by is not null and not tidings._is_this_session(c.polled_by, c.polled_session) then
      raise exception using
        errcode = 'object_in_use',
        message = format('another session polled consumer "%s" last', name),
        detail = format('That session is process %s (%s).', c.polled_by,
          coalesce('application "' || tidings._live_session(c.polled_by, c.polled_session) || '"', 'which has ended')),
        hint = 'Roll back what this transaction did for these events, and poll again. Poll and ack in one session; through a connection pool, in one transaction.';
    end if;
    if c.polled_to is null or upto > c.polled_to then
      raise exception using
        errcode = 'invalid_parameter_value',
        message = format('consumer "%s" has not polled these events', name),
        detail = case
          when c.polled_to is null then format('The consumer has no polled events left to acknowledge, up to %s.', upto)
          else format('The last poll went up to %s; %s is after that position.', c.polled_to, upto)
        end,
        hint = 'Pass the id of an event that the last poll returned. A poll whose transaction was rolled back, or that came before a seek, does not count: poll again.';
    end if;
  end loop;
end
$$;
comment on function ack(text, ulid) is
  'Acknowledges the events that a consumer polled, up to and including the event of this id: they are not returned again. If ack is called in the transaction that contains the effects of these events, each event takes effect exactly once. SQLSTATE 42704 if there is no such consumer, 55000 if the event is already acknowledged, 55006 if another session polled last, 22023 if the last poll did not return the event, 22004 for null. On each of these errors, roll back the effects too.';

create function _move_consumer(name text, new_position ulid) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  perform tidings._lock_consumer(name);
  update tidings.consumer u
  set position = new_position, polled_to = null, polled_by = null, polled_session = null
  where u.name = _move_consumer.name;
end
$$;
comment on function _move_consumer(text, ulid) is
  'Internal: moves a consumer to this position, and withdraws the polled events from their session.';

create function seek(name text, to_id ulid) returns void
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  if to_id is null then
    raise exception using
      errcode = 'null_value_not_allowed',
      message = 'the position is null',
      hint = 'The start of the log is ''00000000000000000000000000''.';
  end if;
  perform tidings._move_consumer(name, to_id);
end
$$;
comment on function seek(text, ulid) is
  'Moves a consumer, backwards or forwards: its next poll returns the events after this position. If a session has polled events and not acknowledged them, its ack will be refused. A literal needs its parameter name or a type: seek(''app'', to_id => ''01..''). SQLSTATE 42704 if there is no such consumer, 22004 for null.';

create function seek(name text, at timestamptz) returns void
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
  set standard_conforming_strings = on  -- for the bytes
as $$
begin
  if at is null then
    raise exception using
      errcode = 'null_value_not_allowed',
      message = 'the time is null',
      hint = 'The start of the log is ''1970-01-01 00:00:00+00''.';
  end if;
  -- A position is the last acknowledged id: here the greatest id before that millisecond.
  perform tidings._move_consumer(name, case
    when tidings.ulid_at(at) > '00000000000000000000000000'
    then (substr(tidings.ulid_at(at - interval '1 millisecond')::bytea, 1, 6) || '\xffffffffffffffffffff')::tidings.ulid
  end);
end
$$;
comment on function seek(text, timestamptz) is
  'Moves a consumer, backwards or forwards: its next poll begins with the first event that was stored at or after the millisecond of this time. If a session has polled events and not acknowledged them, its ack will be refused. A literal needs its parameter name or a type: seek(''app'', at => ''2026-01-01''). SQLSTATE 42704 if there is no such consumer, 22004 for null, 22008 before 1970.';

create function drop_consumer(name text) returns void
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  perform tidings._lock_consumer(name);
  delete from tidings.consumer c where c.name = drop_consumer.name;
end
$$;
comment on function drop_consumer(text) is
  'Removes a consumer. SQLSTATE 42704 if there is no such consumer.';

revoke all on function
  create_consumer(text, ulid), poll(text, int), ack(text, ulid), seek(text, ulid), seek(text, timestamptz), drop_consumer(text),
  _lock_consumer(text), _live_session(int, timestamptz), _session_start(), _is_this_session(int, timestamptz), _note_id(ulid), _noted_id(),
  _set_polled(text, ulid), _move_consumer(text, ulid)
from public;
