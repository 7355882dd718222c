-- From bytes to rows: verify, normalize and store a whole batch in one statement.

-- The work that is left for a batch after its events were inserted.
create type _refusal as (
  request int,
  source_id int,
  received_at timestamptz,
  verdict text,
  reason text,
  ordinal int,
  item bytea
);
comment on type _refusal is 'Internal: a request or an item that was refused, and is to be kept in tidings.rejected.';
comment on column _refusal.request is 'Number of the request in the batch.';
comment on column _refusal.source_id is 'rejected.source_id.';
comment on column _refusal.received_at is 'rejected.received_at.';
comment on column _refusal.verdict is 'rejected.verdict.';
comment on column _refusal.reason is 'rejected.reason.';
comment on column _refusal.ordinal is 'rejected.ordinal.';
comment on column _refusal.item is 'The item; null for a whole request.';

create type _reached as (
  request int,
  source_id int,
  first_cursor text,
  first_at timestamptz,
  last_cursor text
);
comment on type _reached is 'Internal: the stream cursors at the beginning and the end of a request.';
comment on column _reached.request is 'Number of the request in the batch.';
comment on column _reached.source_id is 'The source.';
comment on column _reached.first_cursor is 'The stream cursor after the first item.';
comment on column _reached.first_at is 'The time of the first item.';
comment on column _reached.last_cursor is 'The stream cursor after the last item.';

create type _batch as (
  receipts receipt[],
  first_ids ulid[],
  items bigint,
  ids ulid[],
  events bigint,
  first_id ulid,
  last_id ulid,
  first_at timestamptz,
  last_at timestamptz,
  facts _fact[],
  of_consent boolean,
  of_subscribers boolean,
  of_requests boolean,
  undated event[],
  undated_of int[],
  refusals _refusal[],
  reached _reached[]
);
comment on type _batch is 'Internal: the stored part of a batch, and the work that is left for it.';
comment on column _batch.receipts is 'Answer to each request. Until duplicates are counted, each item counts as inserted.';
comment on column _batch.first_ids is 'First position that was given to each request.';
comment on column _batch.items is 'Number of events that were to be stored.';
comment on column _batch.ids is 'Positions of the events that were stored.';
comment on column _batch.events is 'Number of events that were stored.';
comment on column _batch.first_id is 'Least position of the stored events.';
comment on column _batch.last_id is 'Greatest position of the stored events.';
comment on column _batch.first_at is 'Least time of the stored events.';
comment on column _batch.last_at is 'Greatest time of the stored events.';
comment on column _batch.facts is 'Facts that the state tables take from the stored events.';
comment on column _batch.of_consent is 'True if some of the facts are about consent.';
comment on column _batch.of_subscribers is 'True if some of the facts are about subscribers.';
comment on column _batch.of_requests is 'True if some of the facts are about send requests.';
comment on column _batch.undated is 'Events that have an identity and no time, and are not stored yet. Their occurred_at is the time of this arrival.';
comment on column _batch.undated_of is 'Numbers of the requests of the undated events, in their order.';
comment on column _batch.refusals is 'Requests and items that were refused and are to be kept; null if there are none.';
comment on column _batch.reached is 'Stream cursors that the requests have reached; null if no stream cursor moves.';

create function _store(
  sources text[], bodies bytea[], headers jsonb[], verified boolean[], fenced int[], started_at timestamptz
)
  returns _batch
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  batch tidings._batch;
begin
  -- A body is taken out of its array where it is read, rather than be copied from row to row.
  with item as materialized (
    -- One row for each item, and one row without an item for each request that has none.
    select
      r.ordinal as request, r.source_id, r.provider, r.source, r.first_name, r.receipt,
      -- The time of a receipt id identifies some events, so that it stays as it is. Otherwise a
      -- time ahead of the server's clock is the fault of the worker's.
      coalesce(r.receipt::timestamptz, started_at) as receipt_at,
      least(r.receipt::timestamptz, started_at) as received_at,
      coalesce(r.refused, case when n.ordinal is null and n.error is not null then 'malformed' end) as refused,
      case
        when r.refused is null then n.error
        when r.refused = 'unauthorized' then r.unmet
        when r.refused = 'malformed' then 'the body is null'
      end as error,
      n.ordinal, n.event_id, n.kind, n.provider_kind, n.channel, n.occurred_at, n.request_id, n.message_id,
      n.recipient, n.campaign, n.error_code, n.reason, n.payload, n.item, n.cursor,
      -- An item that has an identity and no time is stored by _store_undated.
      n.ordinal is not null and n.error is null and (n.occurred_at is not null or n.event_id is null) as is_stored,
      tidings._log_next() as id
    from (
      select
        q.*,
        case
          when q.source_id is null then 'unknown_source'
          when not q.enabled then 'disabled'
          when q.is_fenced then 'fenced'
          when q.unmet is not null then 'unauthorized'
          when bodies[q.ordinal] is null then 'malformed'
        end as refused
      from (
        select
          r.ordinal::int, r.source, s.first_name, s.source_id, s.provider, s.options, s.enabled,
          tidings._receipt(r.headers ->> 'receipt-id') as receipt,
          r.ordinal = any (fenced) as is_fenced,
          case when s.enabled and r.verified is not true and (r.ordinal = any (fenced)) is not true then
            tidings._unmet(s.provider, s.secrets, s.url_tokens, s.allow_unauthenticated, s.allow_from, bodies[r.ordinal], r.headers::text)
          end as unmet
        from unnest(sources, headers, verified) with ordinality r (source, headers, verified, ordinal)
        left join (
          -- Each source is looked up once, by its key.
          select n.name, p.source_id, p.first_name, p.provider, p.options::text as options, p.enabled,
            p.secrets, p.url_tokens, p.allow_unauthenticated, p.allow_from
          from (
            select x.id, x.name from tidings.source x where x.name = any (sources)
            union all
            select f.source_id, f.name from tidings.former_name f
            where f.name = any (sources) and not exists (select from tidings.source x where x.name = f.name)
          ) n
          cross join lateral (select p.* from tidings._policy p where p.source_id = n.id offset 0) p
          offset 0
        ) s on s.name = r.source
        order by r.ordinal  -- positions are given in the order of the requests
        offset 0  -- else the request would be verified once for each mention of the column
      ) q
    ) r
    left join lateral tidings._normalize(r.provider, r.first_name, r.options, case when r.refused is null then bodies[r.ordinal] end) n on true
  ),
  stored as (
    insert into tidings.event as e (
      id, event_id, source_id, provider, kind, provider_kind, channel, occurred_at, received_at,
      request_id, message_id, recipient, campaign, error_code, reason, payload
    )
    select
      i.id,
      -- An item without an identity is identified by its receipt id; without that, each
      -- delivery is an event.
      coalesce(i.event_id, tidings._receipt_event_id(i.provider, i.first_name, i.receipt, i.receipt_at, i.ordinal, i.payload::text), i.id) as event_id,
      i.source_id, i.provider, i.kind, i.provider_kind, i.channel,
      coalesce(i.occurred_at, i.receipt_at) as occurred_at,
      i.received_at, i.request_id, i.message_id, i.recipient, i.campaign, i.error_code, i.reason, i.payload
    from item i
    where i.is_stored
    -- The rows are ordered by the key, so that concurrent batches with the same events
    -- never deadlock; of equal events the first is stored.
    order by 2, 8, 3, 1
    on conflict do nothing
    returning e.id, e.occurred_at, e.kind, tidings._fact(e) as fact
  )
  select
    a.receipts, a.first_ids, a.items, t.ids, t.events, t.first_id, t.last_id, t.first_at, t.last_at, t.facts, t.of_consent, t.of_subscribers, t.of_requests,
    l.undated, l.undated_of, l.refusals, a.reached
  into batch
  from (
    select
      array_agg(s.id) as ids, count(*) as events, min(s.id) as first_id, max(s.id) as last_id, min(s.occurred_at) as first_at, max(s.occurred_at) as last_at,
      array_agg(s.fact) filter (where s.fact is distinct from null) as facts,
      bool_or(s.kind like 'consent.%') as of_consent, bool_or(s.kind like 'subscriber.%') as of_subscribers,
      bool_or((s.fact).request_id is not null) as of_requests
    from stored s
  ) t
  cross join (
    select
      array_agg((
        coalesce(r.refused, 'accepted'), r.items::int, 0, r.rejected::int,
        array_to_string(r.reasons[:3], '; ') || case when r.rejected > 3 then '; ..' else '' end,
        r.request
      )::tidings.receipt) as receipts,
      array_agg(r.first_id) as first_ids,
      sum(r.items) as items,
      array_agg((r.request, r.source_id, r.cursors[1], r.cursors_at[1], r.cursors[cardinality(r.cursors)])::tidings._reached)
        filter (where r.cursors is not null) as reached
    from (
      select
        i.request, i.source_id, min(i.id) as first_id, max(i.refused) as refused,
        count(*) filter (where i.is_stored) as items,
        count(*) filter (where i.ordinal is not null and i.error is not null) as rejected,
        array_agg(
          case i.refused
            when 'unknown_source' then format('no source is named %s', coalesce('"' || i.source || '"', 'null'))
            when 'disabled' then format('source "%s" is disabled', i.source)
            when 'fenced' then format('the lease under which the stream of source "%s" was read is no longer valid', i.source)
            when 'unauthorized' then 'the request does not carry what the source demands'
            else coalesce('item ' || i.ordinal || ': ', '') || i.error
          end
        ) filter (where i.error is not null or i.refused is not null) as reasons,
        array_agg(i.cursor) filter (where i.cursor is not null) as cursors,
        array_agg(coalesce(i.occurred_at, i.received_at)) filter (where i.cursor is not null) as cursors_at
      from (select i.* from item i order by i.request, i.source_id, i.ordinal) i  -- once, rather than for each array
      group by i.request, i.source_id
      order by i.request
    ) r
  ) a
  cross join (
    select
      array_agg((
        i.id, i.event_id, i.source_id, i.provider, i.kind, i.provider_kind, i.channel, i.received_at, i.received_at,
        i.request_id, i.message_id, i.recipient, i.campaign, i.error_code, i.reason, i.payload
      )::tidings.event) filter (where i.error is null and i.occurred_at is null and i.event_id is not null) as undated,
      array_agg(i.request) filter (where i.error is null and i.occurred_at is null and i.event_id is not null) as undated_of,
      array_agg((
        i.request, i.source_id, i.received_at, coalesce(i.refused, 'item'), i.error, i.ordinal, i.item
      )::tidings._refusal) filter (where i.error is not null) as refusals
    from item i
  ) l;
  return batch;
end
$$;
comment on function _store(text[], bytea[], jsonb[], boolean[], int[], timestamptz) is
  'Internal: stores the ordinary events of a batch in one statement, at the positions of the run that this transaction has started. Requests in "fenced" are refused.';

create function _count_duplicates(batch _batch) returns receipt[]
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  return (
    -- Positions are given in the order of the requests, so each position lies between the first positions of two requests.
    with stored as (
      select width_bucket(i.id, batch.first_ids) as request, count(*)::int as inserted
      from unnest(batch.ids) i (id)
      group by 1
    )
    select array_agg((
      a.verdict, coalesce(s.inserted, 0), a.inserted - coalesce(s.inserted, 0), a.rejected, a.detail, a.ordinal
    )::tidings.receipt order by a.ordinal)
    from unnest(batch.receipts) a
    left join stored s on s.request = a.ordinal);
end
$$;
comment on function _count_duplicates(_batch) is
  'Internal: returns the answers, with the items that were not stored counted as duplicates.';

create function _store_undated(batch _batch) returns _batch
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  late tidings._batch;
begin
  with item as materialized (
    select u.*
    from unnest(batch.undated, batch.undated_of) u (
      id, event_id, source_id, provider, kind, provider_kind, channel, occurred_at, received_at,
      request_id, message_id, recipient, campaign, error_code, reason, payload, request)
  ),
  dated as (
    insert into tidings.undated as u (event_id, source_id, occurred_at)
    select i.event_id, i.source_id, min(i.received_at)
    from item i
    group by i.event_id, i.source_id
    order by i.event_id, i.source_id
    -- "do nothing" would return no row if there is one already.
    on conflict (event_id, source_id) do update set occurred_at = u.occurred_at
    returning u.event_id, u.source_id, u.occurred_at
  ),
  stored as (
    insert into tidings.event as e (
      id, event_id, source_id, provider, kind, provider_kind, channel, occurred_at, received_at,
      request_id, message_id, recipient, campaign, error_code, reason, payload
    )
    select
      i.id, i.event_id, i.source_id, i.provider, i.kind, i.provider_kind, i.channel, d.occurred_at, i.received_at,
      i.request_id, i.message_id, i.recipient, i.campaign, i.error_code, i.reason, i.payload
    from item i
    join dated d on d.event_id = i.event_id and d.source_id = i.source_id
    order by 2, 8, 3, 1
    on conflict do nothing
    returning e.id, e.occurred_at, e.kind, tidings._fact(e) as fact
  ),
  outcome as (
    select i.request, count(s.id)::int as inserted, (count(*) - count(s.id))::int as duplicate
    from item i
    left join stored s on s.id = i.id
    group by i.request
  )
  select
    (
      select array_agg((r.verdict, r.inserted + coalesce(o.inserted, 0), r.duplicate + coalesce(o.duplicate, 0), r.rejected, r.detail, r.ordinal)::tidings.receipt order by r.ordinal)
      from unnest(batch.receipts) r
      left join outcome o on o.request = r.ordinal
    ),
    null::tidings.ulid[], null::bigint, null::tidings.ulid[], batch.events + count(*), least(batch.first_id, min(s.id)), greatest(batch.last_id, max(s.id)),
    least(batch.first_at, min(s.occurred_at)), greatest(batch.last_at, max(s.occurred_at)),
    coalesce(batch.facts, '{}') || coalesce(array_agg(s.fact) filter (where s.fact is distinct from null), '{}'),
    batch.of_consent is true or coalesce(bool_or(s.kind like 'consent.%'), false),
    batch.of_subscribers is true or coalesce(bool_or(s.kind like 'subscriber.%'), false),
    batch.of_requests is true or coalesce(bool_or((s.fact).request_id is not null), false),
    null::tidings.event[], null::int[], batch.refusals, batch.reached
  into late
  from stored s;
  return late;
end
$$;
comment on function _store_undated(_batch) is
  'Internal: stores the events of a batch that have an identity and no time, at the times at which they first arrived.';

revoke all on function
  _store(text[], bytea[], jsonb[], boolean[], int[], timestamptz), _count_duplicates(_batch), _store_undated(_batch)
from public;
