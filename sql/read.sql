-- Following the log.

create function events_after(
  after ulid default null,
  max_events int default 1000,
  source text default null,
  kinds text[] default null
)
  returns setof event
  language plpgsql volatile rows 1000
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  of_source int := case when source is not null then (tidings._source(source)).id end;
  horizon tidings.ulid;
begin
  if max_events is null or max_events < 0 then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = 'max_events is negative or null',
      hint = 'Pass how many events to return at most.';
  end if;
  perform tidings._require_log_access();

  -- These must be two statements, because the events have to be read in a snapshot that
  -- is taken after the locks were read: see log.sql.
  horizon := tidings.ulid_at(to_timestamp(0) + tidings._log_horizon() * interval '1 millisecond');
  return query
    select e.*
    from tidings.event e
    where e.id > coalesce(after, '00000000000000000000000000')
      and e.id < horizon
      and (of_source is null or e.source_id = of_source)
      and (kinds is null or e.kind = any (kinds))
    order by e.id
    limit max_events;
end
$$;
comment on function events_after(ulid, int, text, text[]) is
  'Returns the events after this position, or from the start of the log if the position is null; oldest first, and at most max_events of them. Pass the id of the last event to get the next ones: every committed event is returned once, whatever the order in which concurrent transactions commit. "source" and "kinds" restrict the result to one source and to some kinds. SQLSTATE 25001 in REPEATABLE READ and SERIALIZABLE, 25006 on a standby, 42704 if there is no such source.';
