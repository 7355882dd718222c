-- The state that results from the events: the status of every message, consent,
-- subscribers, and the outcome of send requests.
--
-- A row of state is a function of the set of its events. Every column is a minimum, a
-- maximum or a count over events, each of which is stored once, or comes from the event
-- that is greatest by a total order. Neither the order of arrival nor a redelivery
-- matters, and rebuild_state computes the same rows from the events alone. Texts are
-- compared by their bytes, so that this holds under every collation.
--
-- Each table has its own file, with the function that adds facts to it. A fact is what state
-- takes from one event; ingest makes them of the very rows that it inserts, and rebuild_state
-- of all stored events.

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

-- The greatest of several composite values; an aggregate would otherwise have to collect
-- and sort them.
create function _greater(anyelement, anyelement) returns anyelement
  language c immutable strict parallel safe as 'MODULE_PATHNAME', 'record_greater';
comment on function _greater(anyelement, anyelement) is 'Internal: the greater of two composite values of one type, compared field by field; null for other types.';
create aggregate _greatest(anyelement) (sfunc = _greater, stype = anyelement, combinefunc = _greater, parallel = safe);
comment on aggregate _greatest(anyelement) is 'Internal: the greatest of composite values of one type, or null if there is none.';

create type _fact as (
  kind text,
  source_id int,
  provider text,
  request_id text,
  message_id text,
  recipient text,
  channel text,
  campaign text,
  occurred_at timestamptz,
  event_id ulid,
  error_code text,
  reason text,
  asked_at timestamptz,
  custom_id text,
  summary text
);
comment on type _fact is 'Internal: what state takes from an event.';
comment on column _fact.kind is 'event.kind.';
comment on column _fact.source_id is 'event.source_id.';
comment on column _fact.provider is 'event.provider.';
comment on column _fact.request_id is 'event.request_id.';
comment on column _fact.message_id is 'event.message_id.';
comment on column _fact.recipient is 'event.recipient.';
comment on column _fact.channel is 'event.channel.';
comment on column _fact.campaign is 'event.campaign.';
comment on column _fact.occurred_at is 'event.occurred_at.';
comment on column _fact.event_id is 'event.event_id.';
comment on column _fact.error_code is 'event.error_code.';
comment on column _fact.reason is 'event.reason.';
comment on column _fact.asked_at is 'For an event of consent, or of delivery by a provider that asks for consent: when the send request added the recipient, or the time of the event if the payload does not say.';
comment on column _fact.custom_id is 'For an event of a subscriber: your own id of the subscriber.';
comment on column _fact.summary is 'For the end of a send request: the summary.';

-- The function has no search_path of its own, so that it is inlined.
create function _fact(e event) returns _fact
  language sql immutable parallel safe
as $$
  select case
    when e.kind like 'message.%' or e.kind like 'consent.%' or e.kind like 'subscriber.%' or e.request_id is not null then
      row(e.kind, e.source_id, e.provider, e.request_id, e.message_id, e.recipient, e.channel, e.campaign,
        e.occurred_at, e.event_id, e.error_code, e.reason,
        case when e.kind like 'consent.%' or e.kind = 'message.delivered' and tidings._asks_consent(e.provider) then
          coalesce(tidings._asked_at(e.provider, e.payload::text), e.occurred_at)
        end,
        case when e.kind like 'subscriber.%' then tidings._custom_id(e.provider, e.payload::text) end,
        case when e.kind in ('request.completed', 'request.failed') then tidings._summary(e.provider, e.payload::text)::text end
      )::tidings._fact
  end
$$;
comment on function _fact(event) is 'Internal: what state takes from this event; null if nothing.';

create function _add_stored_to_state(of_provider text) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  most constant int := 10000;
  reached tidings.ulid := '00000000000000000000000000';
  facts tidings._fact[];
begin
  loop
    select array_agg(x.fact) filter (where x.fact is distinct from null and (of_provider is null or x.provider = of_provider)), max(x.id)
    into facts, reached
    from (select e.id, e.provider, tidings._fact(e) as fact from tidings.event e where e.id > reached order by e.id limit most) x;
    exit when reached is null;
    if facts is not null then
      perform tidings._add_to_consent(facts, tidings._add_to_message(facts));
      perform tidings._add_to_subscriber(facts);
      perform tidings._add_to_request_summary(facts);
    end if;
  end loop;
end
$$;
comment on function _add_stored_to_state(text) is
  'Internal: adds the stored events, or those of one provider, to the state tables.';

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
  lock table tidings.message, tidings.consent, tidings.subscriber, tidings.request_summary in share row exclusive mode;
  -- Not TRUNCATE, after which an older snapshot would see no row.
  delete from tidings.message;
  delete from tidings.consent;
  delete from tidings.subscriber;
  delete from tidings.request_summary;
  perform tidings._add_stored_to_state(null);
  return query
    select 'message', count(*) from tidings.message
    union all select 'consent', count(*) from tidings.consent
    union all select 'subscriber', count(*) from tidings.subscriber
    union all select 'request_summary', count(*) from tidings.request_summary;
end
$$;
comment on function rebuild_state() is
  'Rebuilds the state tables from the events, and returns the number of rows of each. The tables are the same afterwards, except for state that came from events which retention has removed since, so that it is needed only after events were changed by hand. Ingest waits while it runs; readers see the former rows until it has committed, and those with an older snapshot afterwards too. The former rows take up space until a vacuum. SQLSTATE 25001 in REPEATABLE READ and SERIALIZABLE, because the snapshot would be too old.';

revoke all on function
  _greater(anyelement, anyelement), _greatest(anyelement), _fact(event), _add_stored_to_state(text), rebuild_state()
from public;
