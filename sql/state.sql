-- The state that results from the events: the status of every message, consent,
-- subscribers, and the outcome of send requests.
--
-- A row of state is a function of the set of its events. Every column is a minimum, a
-- maximum or a count over events, each of which is stored once, or comes from the event
-- that is greatest by a total order. Neither the order of arrival nor a redelivery
-- matters, and rebuild_state computes the same rows from the events alone. Texts are
-- compared by their bytes, so that this holds under every collation.
--
-- Each table has its own file, with the function that adds events to it.

-- Composite values compare field by field, and the greater of two counts.
create type _latest as (
  at timestamptz,
  event_id ulid,
  value text
);
comment on type _latest is 'Internal: a value from an event; the fields are in the order in which two values are compared.';
comment on column _latest.at is 'The event''s time.';
comment on column _latest.event_id is 'The event.';
comment on column _latest.value is 'The value.';

create function _add_to_state(first_id ulid, last_id ulid) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  -- Each function sorts its keys, so that concurrent batches about the same messages never deadlock.
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
  -- The lock waits for ingest transactions that have added their events, and blocks those
  -- that have not. Every event is therefore either seen here, or added after this
  -- transaction.
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
  'Rebuilds the state tables from the events, and returns the number of rows of each. The tables are the same afterwards, except for state that came from events which retention has removed since, so that it is needed only after events were changed by hand. Ingest and readers of the state wait while it runs. SQLSTATE 25001 in REPEATABLE READ and SERIALIZABLE, because the snapshot would be too old.';

revoke all on function _add_to_state(ulid, ulid), rebuild_state() from public;
