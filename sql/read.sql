-- Following the log.

create function _log_page(after ulid, last ulid, max_events bigint, out upto ulid, out first_at timestamptz, out last_at timestamptz)
  language plpgsql stable
  set search_path = pg_catalog, tidings, pg_temp
  set enable_seqscan = off  -- the plan is kept, and may have been made when the table was small
  set plan_cache_mode = auto
as $$
declare
  most constant int := 10000;
  h record;
  events bigint := 0;
  n int := 0;
begin
  for h in
    select l.last_id, l.first_id, l.first_at, l.last_at, l.events
    from tidings.log_head l
    where l.last_id > after
    order by l.last_id
  loop
    exit when h.first_id > last;
    first_at := least(first_at, h.first_at);
    last_at := greatest(last_at, h.last_at);
    events := events + h.events;
    n := n + 1;
    if events >= max_events or n >= most then
      upto := least(h.last_id, last);
      return;
    end if;
  end loop;
  upto := last;
end
$$;
comment on function _log_page(ulid, ulid, bigint) is
  'Internal: returns bounds of the next events after this position, at least max_events of them if there are as many up to the position "last": the position up to which the bounds hold, and the least and the greatest occurred_at; these are null if there are no events.';

create function _require_max_events(max_events int) returns void
  language plpgsql immutable
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  if max_events is null or max_events < 0 then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = 'max_events is negative or null',
      hint = 'Pass how many events to return at most.';
  end if;
end
$$;
comment on function _require_max_events(int) is 'Internal: checks a number of events. SQLSTATE 22023 if the number is negative or null.';

create function _require_kinds(kinds text[]) returns void
  language c immutable strict parallel safe as 'MODULE_PATHNAME', 'require_kinds_wrapper';
comment on function _require_kinds(text[]) is 'Internal: checks kinds of events. SQLSTATE 22023 if an event never has one of them.';

create function _require_no_policies() returns void
  language plpgsql stable
  set search_path = pg_catalog, tidings, pg_temp
  set plan_cache_mode = auto
as $$
begin
  if (select c.relrowsecurity and not c.relforcerowsecurity from pg_class c where c.oid = 'tidings.event'::regclass) then
    raise exception using
      errcode = 'object_not_in_prerequisite_state',
      message = 'the log cannot be followed while tidings.event has row level security',
      detail = 'The functions that follow the log run with the rights of the owner, for whom no policy holds.',
      hint = 'Read tidings.event, to which the policies apply, up to tidings.log_end(). With FORCE ROW LEVEL SECURITY the policies hold for the owner, and so for these functions.';
  end if;
end
$$;
comment on function _require_no_policies() is
  'Internal: checks that reading events with the rights of the owner passes by no policy. SQLSTATE 55000 if tidings.event has row level security that is not forced.';

create function events_after(
  after ulid default null,
  max_events int default 1000,
  source text default null,
  kinds text[] default null
)
  returns setof event
  language plpgsql volatile security definer rows 1000
  set search_path = pg_catalog, tidings, pg_temp
  set plan_cache_mode = force_custom_plan  -- partitions outside the page's bounds are neither opened nor locked
as $$
declare
  of_source int := case when source is not null then (tidings._addressed(source)).id end;
  reached tidings.ulid := coalesce(after, '00000000000000000000000000');
  last tidings.ulid;
  page record;
  missing int := max_events;
  looked_at int := max_events;
  n int;
begin
  perform tidings._require_max_events(max_events), tidings._require_kinds(kinds);
  perform tidings._require_log_access();
  perform tidings._require_no_policies();

  -- The events have to be read in a snapshot that is taken after the locks were read, so
  -- this is a statement of its own: see log.sql.
  last := tidings._log_end();
  while missing > 0 and reached < last loop
    page := tidings._log_page(reached, last, looked_at);
    if page.first_at is not null then
      return query
        select e.*
        from tidings.event e
        where e.id > reached and e.id <= page.upto and e.occurred_at between page.first_at and page.last_at
          and (of_source is null or e.source_id = of_source)
          and (events_after.kinds is null or e.kind = any (events_after.kinds))
        order by e.id
        limit missing;
      get diagnostics n = row_count;
      missing := missing - n;
    end if;
    reached := page.upto;
    -- Where few events match, or many were removed, pages grow.
    looked_at := greatest(missing, least(looked_at::bigint * 10, 1000000));
  end loop;
end
$$;
comment on function events_after(ulid, int, text, text[]) is
  'Returns the events after this position, or from the start of the log if the position is null; oldest first, and at most max_events of them. Pass the id of the last event to get the next ones: every committed event is returned once, whatever the order in which concurrent transactions commit. "source" and "kinds" restrict the result to one source, under its name or a former one, and to some kinds; see read_log for a cursor that also moves past other events. SQLSTATE 22023 if max_events is negative or null, or if there is no such kind, 25001 in REPEATABLE READ and SERIALIZABLE, 25006 on a standby, 42704 if there is no such source, 55000 if a subscription fills the events, or if tidings.event has row level security.';

create function read_log(
  after ulid default null,
  max_events int default 1000,
  source text default null,
  kinds text[] default null,
  out reached ulid,
  out event event
)
  returns setof record
  language plpgsql volatile security definer rows 1000
  set search_path = pg_catalog, tidings, pg_temp
  set plan_cache_mode = force_custom_plan  -- partitions outside the page's bounds are neither opened nor locked
as $$
declare
  most constant bigint := 100000;
  of_source int := case when source is not null then (tidings._addressed(source)).id end;
  position tidings.ulid := coalesce(after, '00000000000000000000000000');
  last tidings.ulid;
  page record;
  missing int := max_events;
  n int;
begin
  perform tidings._require_max_events(max_events), tidings._require_kinds(kinds);
  perform tidings._require_log_access();
  perform tidings._require_no_policies();

  -- A statement of its own, as in events_after.
  last := tidings._log_end();
  if max_events = 0 or last is null or position >= last then
    return;
  end if;
  page := tidings._log_page(position, last, most);
  if page.first_at is not null then
    return query
      select e.id, e
      from tidings.event e
      where e.id > position and e.id <= page.upto and e.occurred_at between page.first_at and page.last_at
        and (of_source is null or e.source_id = of_source)
        and (read_log.kinds is null or e.kind = any (read_log.kinds))
      order by e.id
      limit missing;
    get diagnostics n = row_count;
    missing := missing - n;
  end if;
  if missing > 0 then
    reached := page.upto;
    event := null;
    return next;
  end if;
end
$$;
comment on function read_log(ulid, int, text, text[]) is
  'Returns the events after this position as events_after does, each with the position that is reached with it, and looks at no more than about 100000 events. If these contain fewer than max_events that match, a last row has no event (null), and the position up to which everything was looked at. The last row is therefore always where to go on, also if no event matched, and no row means that there is nothing new. SQLSTATE as events_after.';

revoke all on function
  _log_page(ulid, ulid, bigint), _require_max_events(int), _require_kinds(text[]), _require_no_policies(),
  events_after(ulid, int, text, text[]), read_log(ulid, int, text, text[])
from public;
