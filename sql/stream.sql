-- What the worker is doing with each stream that it dials, as it reports it.

create table stream_state (
  source_id int primary key,
  state text not null check (state in ('connecting', 'connected', 'waiting', 'stopped', 'ended')),
  since timestamptz not null,
  worker text not null,
  connected_at timestamptz,
  failures int not null,
  last_error text,
  last_error_at timestamptz,
  next_try_at timestamptz,
  reported_at timestamptz not null
);
comment on table stream_state is
  'What was last reported of each dialed stream. Read it by tidings.stream_status. No data: a dump leaves it out.';
comment on column stream_state.source_id is 'The source.';
comment on column stream_state.state is 'See tidings.stream_status.';
comment on column stream_state.since is 'Since when it has been in this state.';
comment on column stream_state.worker is 'Which worker reports it: host and process id.';
comment on column stream_state.connected_at is 'When it was last connected.';
comment on column stream_state.failures is 'How many attempts have failed since events last came.';
comment on column stream_state.last_error is 'Why the last attempt failed, or the last connection ended; kept when it is connected again.';
comment on column stream_state.last_error_at is 'When that was.';
comment on column stream_state.next_try_at is 'When it is dialed again, where it waits or has stopped.';
comment on column stream_state.reported_at is 'When the worker last said so.';

create function report_stream(
  source text, state text, worker text,
  failures int default 0, last_error text default null, next_try_at timestamptz default null,
  last_error_at timestamptz default null
)
  returns void
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  at constant timestamptz := clock_timestamp();
begin
  if state is null or state <> all ('{connecting,connected,waiting,stopped,ended}') then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = format('a stream has no state "%s"', coalesce(state, 'null')),
      hint = 'The states are connecting, connected, waiting, stopped and ended.';
  end if;
  if worker is null or failures is null then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = format('%s is null', case when worker is null then 'the worker' else 'the number of failures' end),
      hint = 'Pass who reports, and how many attempts have failed since events last came: 0 of none.';
  end if;
  -- While a standby is away, as in hold_streams: this comes before the next renewal.
  perform set_config('synchronous_commit', 'local', true);
  insert into tidings.stream_state as t (
    source_id, state, since, worker, connected_at, failures, last_error, last_error_at, next_try_at, reported_at)
  select s.id, report_stream.state, at, report_stream.worker,
    case when report_stream.state = 'connected' then at end,
    report_stream.failures, left(report_stream.last_error, 2000),
    case when report_stream.last_error is not null then coalesce(report_stream.last_error_at, at) end,
    report_stream.next_try_at, at
  from tidings.source s
  where s.name = report_stream.source and tidings._is_dialed(s.provider)
    -- Whose stream went to another one has nothing to say of it any more.
    and not exists (
      select from tidings.stream_lease l
      where l.source_id = s.id and l.expires_at > at and l.worker <> report_stream.worker)
  on conflict (source_id) do update set
    state = excluded.state, worker = excluded.worker, failures = excluded.failures,
    next_try_at = excluded.next_try_at, reported_at = excluded.reported_at,
    since = case when t.state = excluded.state then t.since else excluded.since end,
    connected_at = case when t.state = 'connected' and excluded.state = 'connected' then t.connected_at else coalesce(excluded.connected_at, t.connected_at) end,
    last_error_at = coalesce(excluded.last_error_at, t.last_error_at),
    last_error = coalesce(excluded.last_error, t.last_error);
end
$$;
comment on function report_stream(text, text, text, int, text, timestamptz, timestamptz) is
  'For the worker: what it is doing with a stream that it dials. Without "last_error" the last one stays; "last_error_at" is when it was, by default now. A source that does not exist any more is no error, nor is a stream that another worker holds: neither changes anything. Its transaction commits without waiting for a standby. SQLSTATE 22023 for an unknown state, and where "worker" or "failures" is null.';

create view stream_status as
  select
    s.name as source,
    case
      when not s.enabled then 'disabled'
      when t.source_id is null then 'never dialed'
      when t.state <> 'ended' and t.reported_at < statement_timestamp() - interval '2 minutes' then 'unknown'
      else t.state
    end as state,
    t.since, t.worker, t.connected_at, m.cursor, m.updated_at as last_event_at,
    t.failures, t.last_error, t.last_error_at, t.next_try_at, t.reported_at, l.worker as lease_worker, l.expires_at as lease_expires_at
  from source s
  left join stream_state t on t.source_id = s.id
  left join stream m on m.source_id = s.id
  left join stream_lease l on l.source_id = s.id
  where _is_dialed(s.provider);
comment on view stream_status is 'How each source that the worker dials is doing.';
comment on column stream_status.source is 'The source.';
comment on column stream_status.state is 'connecting; connected; waiting: until next_try_at, after a failure that passes by itself; stopped: last_error says what has to be done, and it is tried again as soon as the source or its secret changes, or at next_try_at; ended: its worker has stopped; disabled: see set_source_enabled; never dialed: no worker has reported it; unknown: none has for two minutes.';
comment on column stream_status.since is 'Since when the worker has reported this state.';
comment on column stream_status.worker is 'Which worker has reported it: host and process id.';
comment on column stream_status.connected_at is 'When it was last connected.';
comment on column stream_status.cursor is 'Where it goes on: see stream_cursor.';
comment on column stream_status.last_event_at is 'When events of it were last stored.';
comment on column stream_status.failures is 'How many attempts have failed since events last came.';
comment on column stream_status.last_error is 'Why the last attempt failed, or the last connection ended; kept when it is connected again.';
comment on column stream_status.last_error_at is 'When that was.';
comment on column stream_status.next_try_at is 'When it is dialed again, where it waits or has stopped.';
comment on column stream_status.reported_at is 'When the worker last said so.';
comment on column stream_status.lease_worker is 'Which worker may follow it: host and process id.';
comment on column stream_status.lease_expires_at is 'From when on another worker takes it, if that one does not renew its lease; sooner where a clock was ahead: see tidings.stream_lease.';

create function _raise_enabled(source text)
  returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  raise exception using
    errcode = 'object_not_in_prerequisite_state',
    message = format('source "%s" is enabled', source),
    hint = format('First run SELECT tidings.set_source_enabled(''%s'', false), in a transaction of its own; and with true afterwards.', source);
end
$$;
comment on function _raise_enabled(text) is 'Internal: SQLSTATE 55000.';

create function set_stream_cursor(source text, cursor text)
  returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
  set lock_timeout = '5s'  -- whoever ingests waits behind this
as $$
declare
  s tidings.source := tidings._source(source);
begin
  perform tidings._require_log_access();
  if cursor = '' then
    raise exception using
      errcode = 'invalid_parameter_value', message = 'the cursor is empty', hint = 'Pass null to go on from the start.';
  end if;
  if not tidings._is_dialed(s.provider) then
    raise exception using
      errcode = 'wrong_object_type',
      message = format('source "%s" has no stream', source),
      detail = format('Its provider, %s, sends to the worker.', s.provider),
      hint = 'SELECT source FROM tidings.stream_status lists the streams.';
  end if;
  if s.enabled then
    perform tidings._raise_enabled(source);  -- before anybody waits for it
  end if;
  -- Batches that are on their way would move it back, and so would a worker that has not
  -- seen that the source was disabled: it must have said that its stream has ended. Each
  -- look has a snapshot of its own.
  for attempt in 1..100 loop
    exit when not exists (
      select from tidings.stream_state t
      where t.source_id = s.id and t.state <> 'ended' and t.reported_at > clock_timestamp() - interval '2 minutes'
        and not (select x.enabled from tidings.source x where x.id = s.id));
    if attempt = 100 then
      raise exception using
        errcode = 'object_not_in_prerequisite_state',
        message = format('a worker still follows source "%s"', source),
        hint = 'It ends within seconds. One that was killed counts for two minutes.';
    end if;
    perform pg_sleep(0.1);
  end loop;
  perform pg_current_xact_id();
  -- A worker that was paused meanwhile finds its lease over; who ingests under it now is
  -- waited for, before the lock that it needs too.
  update tidings.stream_lease l
  set epoch = greatest(l.epoch + 1, tidings._clock_ms()), expires_at = clock_timestamp()
  where l.source_id = s.id;
  lock table tidings.stream in exclusive mode;
  -- After the lock, and until the end: enabling it waits. What this transaction has done
  -- itself, also in a subtransaction, nobody else has seen.
  select x.* into s from tidings.source x where x.id = s.id for share;
  if s.enabled or (select age(x.xmin) <= 0 from tidings.source x where x.id = s.id) then
    perform tidings._raise_enabled(source);
  end if;
  if cursor is null then
    delete from tidings.stream where source_id = s.id;
  else
    insert into tidings.stream as t (source_id, cursor, updated_at)
    values (s.id, set_stream_cursor.cursor, clock_timestamp())
    on conflict (source_id) do update set cursor = excluded.cursor, updated_at = excluded.updated_at;
  end if;
end
$$;
comment on function set_stream_cursor(text, text) is
  'Makes a stopped source''s stream go on behind this event id of its provider, or from its start where it is null. What comes again is stored once. Waits for the worker to end the stream. Events whose time is read otherwise than before, by another schema, are stored once more. SQLSTATE 55000 unless the source was disabled before, in a transaction of its own, and while a worker still follows it; 55P03 where others hold tidings.stream for long, 25001 in REPEATABLE READ and SERIALIZABLE; 22023 for an empty cursor, 42809 where it has no stream, 42704 where there is no such source.';

revoke all on function
  report_stream(text, text, text, int, text, timestamptz, timestamptz), _raise_enabled(text), set_stream_cursor(text, text)
from public;
