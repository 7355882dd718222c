-- Following the log.

create function _log_page(after ulid, horizon ulid, max_events bigint, out upto ulid, out first_at timestamptz, out last_at timestamptz)
  language plpgsql stable
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  most constant int := 1000;
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
    exit when h.first_id > coalesce(upto, horizon);
    first_at := least(first_at, h.first_at);
    last_at := greatest(last_at, h.last_at);
    events := events + h.events;
    n := n + 1;
    if upto is null and (events >= max_events or n >= most or h.last_id >= horizon) then
      upto := least(h.last_id, horizon);
    end if;
  end loop;
  upto := coalesce(upto, horizon);
end
$$;
comment on function _log_page(ulid, ulid, bigint) is
  'Internal: returns bounds for the next events after this position, at least max_events if there are as many below the horizon: the position up to which the bounds hold, and the least and the greatest occurred_at; these are null if there are no events.';

create function events_after(
  after ulid default null,
  max_events int default 1000,
  source text default null,
  kinds text[] default null
)
  returns setof event
  language plpgsql volatile rows 1000
  set search_path = pg_catalog, tidings, pg_temp
  set timezone = 'UTC'  -- times are written as text, and read again
  set datestyle = 'ISO, YMD'
as $$
declare
  of_source int := case when source is not null then (tidings._source(source)).id end;
  reached tidings.ulid := coalesce(after, '00000000000000000000000000');
  horizon tidings.ulid;
  page record;
  missing int := max_events;
  n int;
begin
  if max_events is null or max_events < 0 then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = 'max_events is negative or null',
      hint = 'Pass how many events to return at most.';
  end if;
  perform tidings._require_log_access();

  -- The events have to be read in a snapshot that is taken after the locks were read, so
  -- this is a statement of its own: see log.sql.
  horizon := tidings._log_horizon();
  while missing > 0 and reached < horizon loop
    page := tidings._log_page(reached, horizon, missing);
    if page.first_at is not null then
      -- The times are part of the text, so that the planner leaves out the partitions in
      -- which there are none of these events: they are neither opened nor locked.
      return query execute format($sql$
        select e.*
        from tidings.event e
        where e.id > $1 and e.id <= $2 and e.occurred_at between %L and %L%s%s
        order by e.id
        limit $3
        $sql$, page.first_at, page.last_at,
        case when of_source is not null then ' and e.source_id = $4' end,
        case when kinds is not null then ' and e.kind = any ($5)' end)
      using reached, page.upto, missing, of_source, kinds;
      get diagnostics n = row_count;
      missing := missing - n;
    end if;
    reached := page.upto;
  end loop;
end
$$;
comment on function events_after(ulid, int, text, text[]) is
  'Returns the events after this position, or from the start of the log if the position is null; oldest first, and at most max_events of them. Pass the id of the last event to get the next ones: every committed event is returned once, whatever the order in which concurrent transactions commit. "source" and "kinds" restrict the result to one source and to some kinds. SQLSTATE 25001 in REPEATABLE READ and SERIALIZABLE, 25006 on a standby, 42704 if there is no such source.';
