-- What the events add up to: where every message is, who may be written to, who is
-- subscribed, and what a send request came to.
--
-- A row here is a function of the set of its events. Every column is a minimum, a
-- maximum or a count over events, each of which is stored once, or belongs to the event
-- that is greatest by a total order. So neither the order of arrival nor a repetition
-- matters, and rebuild_state gives the same rows from the events alone. Texts are
-- compared by their bytes, so that this holds under every collation.
--
-- Each table has its own file, with the function that adds events to it.

-- Composite values compare field by field: of two, the greater counts.
create type _latest as (
  at timestamptz,
  event_id ulid,
  value text
);
comment on type _latest is 'Internal: what an event said, in the order in which a later one outdoes it.';
comment on column _latest.at is 'The event''s time.';
comment on column _latest.event_id is 'The event.';
comment on column _latest.value is 'What it said.';

create function _add_to_state(first_id ulid, last_id ulid) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  -- Each sorts its keys, so that concurrent batches about the same messages never deadlock.
  perform tidings._add_to_message(first_id, last_id);
  perform tidings._add_to_consent(first_id, last_id);
  perform tidings._add_to_subscriber(first_id, last_id);
  perform tidings._add_to_request_summary(first_id, last_id);
end
$$;
comment on function _add_to_state(ulid, ulid) is
  'Internal: adds the events of these positions, each of which must be added once, to the state tables.';

create function rebuild_state(out state text, out rows bigint)
  returns setof record
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  perform tidings._require_log_access();
  -- Waits for ingest that has added its events, and holds back what has not: whatever
  -- is stored then is either seen here, or added when this has ended.
  lock table tidings.message, tidings.consent, tidings.subscriber, tidings.request_summary in access exclusive mode;
  truncate tidings.message, tidings.consent, tidings.subscriber, tidings.request_summary;
  perform tidings._add_to_state('00000000000000000000000000', '7ZZZZZZZZZZZZZZZZZZZZZZZZZ');
  return query
    select 'message', count(*) from tidings.message
    union all select 'consent', count(*) from tidings.consent
    union all select 'subscriber', count(*) from tidings.subscriber
    union all select 'request_summary', count(*) from tidings.request_summary;
end
$$;
comment on function rebuild_state() is
  'Makes the state tables anew from the events, and says how many rows each has. They come out as they were, but for what came from events that retention has removed since: it is needed only where events were changed by hand. Ingest and readers of the state wait for it. SQLSTATE 25001 in REPEATABLE READ and SERIALIZABLE, whose snapshot would be too old.';

revoke all on function _add_to_state(ulid, ulid), rebuild_state() from public;
