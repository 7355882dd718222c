-- The state of each dialed stream, as the worker reports it.

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
  'What the workers last reported about each dialed stream; tidings.stream_status shows it. A dump does not contain the rows.';
comment on column stream_state.source_id is 'The source.';
comment on column stream_state.state is 'See tidings.stream_status.';
comment on column stream_state.since is 'Since when the stream has been in this state.';
comment on column stream_state.worker is 'Which worker reports the state: host and process id.';
comment on column stream_state.connected_at is 'When the stream was last connected.';
comment on column stream_state.failures is 'Number of attempts that have failed since events last arrived.';
comment on column stream_state.last_error is 'Why the last attempt failed or the last connection ended; kept when the stream is connected again.';
comment on column stream_state.last_error_at is 'When that error occurred.';
comment on column stream_state.next_try_at is 'When the worker dials again, if the stream is waiting or stopped.';
comment on column stream_state.reported_at is 'When the worker last reported the state.';

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
      hint = 'Pass the name of the worker, and how many attempts have failed since events last arrived (0 if none).';
  end if;
  -- As in hold_streams, the commit does not wait for a standby, because the report comes
  -- before the next renewal.
  perform set_config('synchronous_commit', 'local', true);
  insert into tidings.stream_state as t (
    source_id, state, since, worker, connected_at, failures, last_error, last_error_at, next_try_at, reported_at)
  select s.id, report_stream.state, at, report_stream.worker,
    case when report_stream.state = 'connected' then at end,
    report_stream.failures, left(report_stream.last_error, 2000),
    case when report_stream.last_error is not null then coalesce(report_stream.last_error_at, at) end,
    report_stream.next_try_at, at
  from tidings.source s
  where s.id = (
      select x.id from tidings.source x where x.name = report_stream.source
      union all
      select f.source_id from tidings.former_name f
      where f.name = report_stream.source and not exists (select from tidings.source x where x.name = f.name))
    and tidings._is_dialed(s.provider)
    -- A worker whose lease has passed to another one can no longer report on the stream.
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
  'For the worker: reports the state of a stream that the worker dials. Without "last_error" the previous error is kept; "last_error_at" is its time, by default now. A report on a source that no longer exists, or on a stream that another worker holds, changes nothing and raises no error. The transaction commits without waiting for a standby. SQLSTATE 22023 for an unknown state, and if "worker" or "failures" is null.';

create view stream_status as
  select
    s.name as source,
    case
      when not s.enabled then 'disabled'
      when t.source_id is null then 'never dialed'
      when t.state <> 'ended' and t.reported_at < statement_timestamp() - interval '2 minutes' then 'unknown'
      else t.state
    end as state,
    t.since, t.worker, t.connected_at, m.cursor, m.event_at as last_event_at,
    t.failures, t.last_error, t.last_error_at, t.next_try_at, t.reported_at, l.worker as lease_worker, l.expires_at as lease_expires_at,
    (select count(*) from gap g where g.source_id = s.id and g.closed_at is null) as open_gaps
  from source s
  left join stream_state t on t.source_id = s.id
  left join stream m on m.source_id = s.id
  left join stream_lease l on l.source_id = s.id
  where _is_dialed(s.provider);
comment on view stream_status is 'The state of each stream that a worker dials.';
comment on column stream_status.source is 'The source.';
comment on column stream_status.state is 'connecting; connected; waiting: until next_try_at, after a transient failure; stopped: last_error says what you have to do, and the stream is tried again as soon as the source or its secret changes, or at next_try_at; ended: its worker has stopped; disabled: see set_source_enabled; never dialed: no worker has reported the stream; unknown: no worker has reported it for two minutes.';
comment on column stream_status.since is 'Since when the worker has reported this state.';
comment on column stream_status.worker is 'Which worker has reported the state: host and process id.';
comment on column stream_status.connected_at is 'When the stream was last connected.';
comment on column stream_status.cursor is 'The stream cursor: see stream_cursor().';
comment on column stream_status.last_event_at is 'When events of the stream were last stored.';
comment on column stream_status.failures is 'Number of attempts that have failed since events last arrived.';
comment on column stream_status.last_error is 'Why the last attempt failed or the last connection ended; kept when the stream is connected again.';
comment on column stream_status.last_error_at is 'When that error occurred.';
comment on column stream_status.next_try_at is 'When the worker dials again, if the stream is waiting or stopped.';
comment on column stream_status.reported_at is 'When the worker last reported the state.';
comment on column stream_status.lease_worker is 'Which worker holds the lease of the stream: host and process id.';
comment on column stream_status.lease_expires_at is 'When another worker takes the stream if that worker does not renew its lease; earlier if a clock was ahead, see tidings.stream_lease.';
comment on column stream_status.open_gaps is 'Number of gaps of the source that are not closed: see tidings.gap.';

create function _raise_enabled(source text)
  returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  raise exception using
    errcode = 'object_not_in_prerequisite_state',
    message = format('source "%s" is enabled', source),
    hint = format('First run SELECT tidings.set_source_enabled(''%s'', false) in a transaction of its own; enable the source again afterwards.', source);
end
$$;
comment on function _raise_enabled(text) is 'Internal: raises SQLSTATE 55000, because the source is enabled.';

create function set_stream_cursor(source text, cursor text)
  returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
  set lock_timeout = '5s'
as $$
declare
  s tidings.source := tidings._source(source);
  before text;
begin
  perform tidings._require_log_access();
  if cursor = '' then
    raise exception using
      errcode = 'invalid_parameter_value', message = 'the cursor is empty', hint = 'Pass null to go on from the start.';
  end if;
  if not tidings._is_dialed(s.provider) then
    perform tidings._raise_no_stream(s);
  end if;
  if s.enabled then
    perform tidings._raise_enabled(source);  -- before others wait for the lock
  end if;
  -- A batch in flight would move the cursor back, and so would a worker that has not
  -- noticed yet that the source was disabled. The worker must therefore have reported the
  -- end of its stream. Each check has a snapshot of its own.
  for attempt in 1..100 loop
    exit when not exists (
      select from tidings.stream_state t
      where t.source_id = s.id and t.state <> 'ended' and t.reported_at > clock_timestamp() - interval '2 minutes'
        and not (select x.enabled from tidings.source x where x.id = s.id));
    if attempt = 100 then
      raise exception using
        errcode = 'object_not_in_prerequisite_state',
        message = format('a worker still follows source "%s"', source),
        hint = 'Try again in a few seconds. A worker that was killed counts as following for two minutes.';
    end if;
    perform pg_sleep(0.1);
  end loop;
  perform pg_current_xact_id();
  -- A worker that was paused meanwhile finds that its lease is no longer valid. An ingest
  -- under the lease is waited for, before the lock that it needs too.
  update tidings.stream_lease l
  set epoch = greatest(l.epoch + 1, tidings._clock_ms()), expires_at = clock_timestamp()
  where l.source_id = s.id;
  -- The open gap comes first, in the same order as in ingest.
  perform from tidings.gap g
  where g.source_id = s.id and g.closed_at is null and g.to_cursor is null
    and g.cause in ('cursor_expired', 'started_at_live_edge', 'moved_by_hand')
  for update;
  -- The row of this source alone is locked, so that the other sources are ingested. A source that
  -- was never read gets a row, which nobody else sees like this.
  insert into tidings.stream (source_id, cursor, updated_at) values (s.id, '', clock_timestamp())
  on conflict do nothing;
  before := (select nullif(t.cursor, '') from tidings.stream t where t.source_id = s.id for update);
  -- The check comes after the lock, and enabling the source waits until the end of this
  -- transaction. A change by this transaction itself, or by a subtransaction, has not
  -- been seen by others yet.
  select x.* into s from tidings.source x where x.id = s.id for share;
  if s.enabled or (select age(x.xmin) <= 0 from tidings.source x where x.id = s.id) then
    perform tidings._raise_enabled(source);
  end if;
  if before is distinct from cursor and (tidings._cursor_ulid(cursor) <= tidings._cursor_ulid(before)) is not true then
    perform tidings._open_gap(
      s, 'moved_by_hand', before, cursor, tidings._cursor_ulid(before)::timestamptz,
      coalesce(tidings._cursor_ulid(cursor)::timestamptz, clock_timestamp()), 'set_stream_cursor, by ' || session_user);
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
  'Sets the stream cursor of a disabled source: the stream is resumed after this event id of its provider, or from its start if the cursor is null. Events that arrive again are stored once; but an event whose time is read differently than before, by another schema, is stored a second time. Unless the cursor moves back, a row of tidings.gap says over what it has leapt. The function waits for the worker to end the stream. SQLSTATE 55000 unless the source was disabled in an earlier transaction, and while a worker still follows the stream; 55P03 if another transaction that ingests from the source lasts too long, 25001 in REPEATABLE READ and SERIALIZABLE, 22023 for an empty cursor, 42809 if the source has no stream, 42704 if there is no such source.';

revoke all on function
  report_stream(text, text, text, int, text, timestamptz, timestamptz), _raise_enabled(text), set_stream_cursor(text, text)
from public;
