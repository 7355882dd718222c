-- Gaps: where events may be missing.
--
-- Whoever knows of a loss reports it here: the worker when a provider no longer replays what
-- came while the worker was away, when a request was given up, or when a spool was discarded;
-- set_stream_cursor when it leaps over events. A row stays open until somebody has looked
-- after it: the worker by asking the provider (tidings-worker reconcile), or you.

create sequence gap_id_seq;

create table gap (
  id bigint primary key default nextval('tidings.gap_id_seq'),
  source text not null,
  source_id int not null,
  found_at timestamptz not null,
  cause text not null
    check (cause in ('cursor_expired', 'started_at_live_edge', 'spool_discarded', 'provider_gave_up', 'moved_by_hand')),
  from_cursor text,
  to_cursor text,
  from_at timestamptz,
  to_at timestamptz,
  detail text,
  closed_at timestamptz,
  closed_by text,
  reported_at timestamptz not null
);
alter sequence gap_id_seq owned by gap.id;
create index gap_open_idx on gap (source_id) where closed_at is null;
-- One outage is one gap: as long as no event has arrived since, a stream has one open gap.
create unique index gap_of_stream_key on gap (source_id)
  where closed_at is null and to_cursor is null and cause in ('cursor_expired', 'started_at_live_edge', 'moved_by_hand');
-- So are requests that were lost in the same way.
create unique index gap_of_requests_key on gap (source_id, cause, split_part(left(coalesce(detail, ''), 200), ':', 1))
  where closed_at is null and cause in ('spool_discarded', 'provider_gave_up');
comment on sequence gap_id_seq is 'Generates tidings.gap.id.';
comment on table gap is
  'Where events may be missing, and what was done about it. A gap is open until closed_at: close it by `tidings-worker reconcile`, or by close_gap if nothing can be recovered.';
comment on column gap.id is 'Id of the gap.';
comment on column gap.source is 'Name of the source at that time.';
comment on column gap.source_id is 'tidings.source.id.';
comment on column gap.found_at is 'When the gap was found.';
comment on column gap.cause is 'cursor_expired: the provider no longer replays what came after the stream cursor; started_at_live_edge: the stream was dialed without a cursor, and the provider sends nothing from before; spool_discarded: requests that were answered 200 were moved away with the worker''s spool, or were refused later and removed from tidings.rejected; provider_gave_up: a request was refused, and the provider does not send it again; moved_by_hand: set_stream_cursor.';
comment on column gap.from_cursor is 'For a stream: the stream cursor after which events may be missing; null if there was none.';
comment on column gap.to_cursor is 'For a stream: the first event that arrived afterwards, or the cursor that was set by hand; null before that.';
comment on column gap.from_at is 'From when events may be missing: the time of from_cursor, or when the first of the lost requests arrived; null if unknown.';
comment on column gap.to_at is 'Until when events may be missing: the time of to_cursor, or when the gap was last reported, or when the last of the lost requests arrived.';
comment on column gap.detail is 'What happened, in words.';
comment on column gap.closed_at is 'When the gap was closed; null while it is open.';
comment on column gap.closed_by is 'By whom the gap was closed, or what was found.';
comment on column gap.reported_at is 'When the gap was last reported: later than found_at if it was extended.';
select pg_catalog.pg_extension_config_dump('tidings.gap', '');
select pg_catalog.pg_extension_config_dump('tidings.gap_id_seq', '');

create function _cursor_ulid(cursor text) returns ulid
  language sql immutable strict parallel safe
  set search_path = pg_catalog, tidings, pg_temp
as $$
  select case when length(cursor) = 26 then tidings._receipt(cursor) end
$$;
comment on function _cursor_ulid(text) is 'Internal: a stream cursor that is a ULID; null for any other.';

create function _raise_no_stream(s source) returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  raise exception using
    errcode = 'wrong_object_type',
    message = format('source "%s" has no stream', s.name),
    detail = format('Its provider, %s, sends events to the worker rather than being dialed.', s.provider),
    hint = 'SELECT source FROM tidings.stream_status lists the streams.';
end
$$;
comment on function _raise_no_stream(source) is 'Internal: raises SQLSTATE 42809, because nobody dials the source.';

create function _open_gap(
  source source, cause text, from_cursor text, to_cursor text, from_at timestamptz, to_at timestamptz, detail text
)
  returns bigint
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
#variable_conflict use_column
declare
  at constant timestamptz := clock_timestamp();
  found_gap bigint;
begin
  insert into tidings.gap as g (source, source_id, found_at, cause, from_cursor, to_cursor, from_at, to_at, detail, reported_at)
  values (
    _open_gap.source.name, _open_gap.source.id, at, _open_gap.cause, _open_gap.from_cursor, _open_gap.to_cursor,
    _open_gap.from_at, _open_gap.to_at, left(_open_gap.detail, 2000), at)
  on conflict (source_id)
    where closed_at is null and to_cursor is null and cause in ('cursor_expired', 'started_at_live_edge', 'moved_by_hand')
  do update set
    to_at = greatest(g.to_at, excluded.to_at), detail = coalesce(excluded.detail, g.detail), reported_at = excluded.reported_at,
    -- The worker asks the provider by itself for what an expired cursor has cost, also after
    -- a restart.
    cause = case when excluded.cause = 'cursor_expired' then excluded.cause else g.cause end
  returning g.id into found_gap;
  return found_gap;
end
$$;
comment on function _open_gap(source, text, text, text, timestamptz, timestamptz, text) is
  'Internal: writes a gap of a stream, or extends the open one since which no event has arrived. Returns its id.';

create function report_gap(
  source text, cause text,
  from_cursor text default null, from_at timestamptz default null, to_at timestamptz default null,
  detail text default null, resume_after text default null, lease_epoch bigint default null
)
  returns bigint
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
#variable_conflict use_column
declare
  s tidings.source := tidings._addressed(source);
  at constant timestamptz := clock_timestamp();
  is_of_stream constant boolean := cause in ('cursor_expired', 'started_at_live_edge');
  after text := from_cursor;
  found_gap bigint;
begin
  if is_of_stream is null or not is_of_stream and cause not in ('spool_discarded', 'provider_gave_up') then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = format('"%s" is no cause that is reported', coalesce(cause, 'null')),
      hint = 'The causes are cursor_expired, started_at_live_edge, spool_discarded and provider_gave_up; set_stream_cursor writes moved_by_hand.';
  end if;
  if not is_of_stream then
    insert into tidings.gap as g (source, source_id, found_at, cause, from_at, to_at, detail, reported_at)
    values (s.name, s.id, at, report_gap.cause, report_gap.from_at, coalesce(report_gap.to_at, at), left(report_gap.detail, 2000), at)
    on conflict (source_id, cause, split_part(left(coalesce(detail, ''), 200), ':', 1))
      where closed_at is null and cause in ('spool_discarded', 'provider_gave_up')
    do update set
      from_at = least(g.from_at, excluded.from_at), to_at = greatest(g.to_at, excluded.to_at), detail = excluded.detail,
      reported_at = excluded.reported_at
    returning g.id into found_gap;
    return found_gap;
  end if;

  if not tidings._is_dialed(s.provider) then
    perform tidings._raise_no_stream(s);
  end if;
  if resume_after = '' then
    raise exception using
      errcode = 'invalid_parameter_value', message = 'the cursor is empty', hint = 'Pass null to leave the stream cursor as it is.';
  end if;
  -- As in ingest: another worker cannot take the stream before the end of the transaction.
  if lease_epoch is not null then
    perform from tidings.stream_lease l where l.source_id = s.id and l.epoch = report_gap.lease_epoch for key share;
    if not found then
      return null;
    end if;
  end if;
  -- As in report_stream, the commit does not wait for a standby, because the worker renews its
  -- leases over the same connection. If a failover undoes the gap, the worker finds it anew:
  -- no event after it is acknowledged before the standby has both.
  perform set_config('synchronous_commit', 'local', true);
  if after is null then
    after := (select t.cursor from tidings.stream t where t.source_id = s.id);
  end if;
  found_gap := tidings._open_gap(
    s, cause, after, null, coalesce(report_gap.from_at, tidings._cursor_ulid(after)::timestamptz), coalesce(report_gap.to_at, at), detail);
  if resume_after is not null then
    insert into tidings.stream as t (source_id, cursor, updated_at)
    values (s.id, resume_after, at)
    on conflict (source_id) do update set cursor = excluded.cursor, updated_at = excluded.updated_at;
  end if;
  return found_gap;
end
$$;
comment on function report_gap(text, text, text, timestamptz, timestamptz, text, text, bigint) is
  'For the worker: reports that events may be missing, and returns the id of the gap (see tidings.gap for the causes). For a stream (cursor_expired, started_at_live_edge): the gap begins after "from_cursor", by default the stream cursor. "resume_after", if given, becomes the stream cursor in the same transaction. An open gap of the stream is extended, and its id returned, if no event has arrived since. "lease_epoch" is the epoch of the lease under which the stream was read: if it is no longer valid, nothing is changed and the result is null. The transaction commits without waiting for a standby. For requests (spool_discarded, provider_gave_up): they arrived from "from_at" to "to_at". An open gap of the same source and cause, whose detail has the same words before the first colon, is extended: its times widen, and the detail is the newest. SQLSTATE 42704 if there is no such source, 22023 for another cause or an empty cursor, 42809 if the source has no stream.';

create function close_gap(gap bigint, closed_by text default null, reported_at timestamptz default null)
  returns boolean
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  update tidings.gap g
  set closed_at = clock_timestamp(), closed_by = left(coalesce(close_gap.closed_by, 'closed by hand by ' || session_user), 2000)
  where g.id = close_gap.gap and g.closed_at is null
    and (close_gap.reported_at is null or g.reported_at = close_gap.reported_at);
  if found then
    return true;
  end if;
  if not exists (select from tidings.gap g where g.id = close_gap.gap) then
    raise exception using
      errcode = 'undefined_object',
      message = format('there is no gap %s', coalesce(gap::text, 'null')),
      hint = 'SELECT id FROM tidings.gap WHERE closed_at IS NULL lists the open gaps.';
  end if;
  return false;
end
$$;
comment on function close_gap(bigint, text, timestamptz) is
  'Closes a gap, and returns true; false if it was closed before. "closed_by" says what was found, by default that you closed it by hand. With "reported_at", as tidings.gap has it, the gap stays open, and the result is false, if it was reported again since. SQLSTATE 42704 if there is no such gap.';

create function request_finals(source text, request_id text)
  returns bigint
  language sql stable security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
  select count(*)
  from tidings.message m
  where m.message_key = $2 and m.source_id = (tidings._addressed($1)).id and m.is_final
$$;
comment on function request_finals(text, text) is
  'Returns the number of recipients of a send request that have a final status. SQLSTATE 42704 if there is no such source.';

create function requests_to_reconcile(
  source text, since timestamptz default null, after_request text default null, max_requests int default 1000,
  out request_id text, out finals bigint, out unfinished bigint
)
  returns setof record
  language plpgsql stable security definer rows 1000
  set search_path = pg_catalog, tidings, pg_temp
as $$
#variable_conflict use_column
declare
  of_source constant int := (tidings._addressed(source)).id;
begin
  if max_requests is null or max_requests < 0 then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = 'max_requests is negative or null',
      hint = 'Pass how many send requests to return at most.';
  end if;
  return query
    -- The messages of a request are counted only if it may be one, so that the cost does not
    -- grow with the requests that ended long ago.
    with due as materialized (
      select s.request_id,
        s.completed_at is null and s.failed_at is null
          or coalesce(s.last_event_at >= since, false)
          or exists (
            select from tidings.gap g
            where g.source_id = of_source and g.closed_at is null
              and s.first_event_at <= coalesce(g.to_at, 'infinity') and s.last_event_at >= coalesce(g.from_at, '-infinity')) as is_due,
        s.last_event_at
      from tidings.request_summary s
      where s.source_id = of_source and (after_request is null or s.request_id > after_request)
    ),
    candidate as materialized (
      select d.request_id, d.is_due
      from due d
      where d.is_due
        or d.last_event_at >= now() - interval '30 days'
        or d.request_id in (select m.message_key from tidings.message m where m.source_id = of_source and not m.is_final)
    )
    select r.request_id, r.seen_delivered + r.seen_failed, r.seen_unfinished
    from (select c.request_id, c.is_due from candidate c order by c.request_id) c
    cross join lateral (
      select x.* from tidings.request x where x.request_id = c.request_id and x.source_id = of_source
    ) r
    where c.is_due
      or case when r.failed_at is null then r.seen_unfinished else r.seen_held end > 0
      or r.delivered_difference <> 0 or r.failed_difference <> 0
      or r.seen_delivered + r.seen_failed + r.seen_unfinished < r.delivered + r.failed + r.pending_consent
    order by r.request_id
    limit max_requests;
end
$$;
comment on function requests_to_reconcile(text, timestamptz, text, int) is
  'For the worker: returns the send requests of a source of which events may be missing, with the number of their recipients that have a final status, and that have none. These are the requests that have not ended, or have unfinished recipients (of a failed request only those who wait for consent, because it processes no others), or whose summary differs from what was received and whose last event is at most 30 days old, or whose events overlap an open gap of the source; with "since" also those with an event since then. They come in the order of their ids, at most max_requests of them: pass the last id as "after_request" to get the next ones. SQLSTATE 42704 if there is no such source, 22023 if max_requests is negative or null.';

revoke all on function
  _cursor_ulid(text), _raise_no_stream(source), _open_gap(source, text, text, text, timestamptz, timestamptz, text),
  report_gap(text, text, text, timestamptz, timestamptz, text, text, bigint), close_gap(bigint, text, timestamptz),
  request_finals(text, text), requests_to_reconcile(text, timestamptz, text, int)
from public;
