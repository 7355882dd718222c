-- From bytes to rows: verify, normalize and store a whole batch in one statement.

create function _without_secrets(headers jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, tidings, pg_temp
as $$
  select case jsonb_typeof(headers) when 'object' then headers - '{authorization,url-token}'::text[] end
$$;
comment on function _without_secrets(jsonb) is
  'Internal: removes the secrets from the headers of a request that passed the policy of its source.';

create function _require_batch(sources text[], bodies bytea[], headers jsonb[]) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  if cardinality(sources) is distinct from cardinality(bodies)
     or cardinality(sources) is distinct from cardinality(headers)
     or cardinality(sources) is null then
    raise exception using
      errcode = 'array_subscript_error',
      message = 'sources, bodies and headers differ in length',
      detail = format('The arrays have %s, %s and %s elements.',
        coalesce(cardinality(sources), 0), coalesce(cardinality(bodies), 0), coalesce(cardinality(headers), 0)),
      hint = 'Pass one source, one body and one object of headers for each request.';
  end if;
end
$$;
comment on function _require_batch(text[], bytea[], jsonb[]) is 'Internal: checks the arrays of a batch. SQLSTATE 2202E if they differ in length.';

-- What is left to do for a batch after its events were inserted.
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
  id ulid,
  source_id int,
  cursor text,
  at timestamptz
);
comment on type _reached is 'Internal: the cursor of a stream after an item.';
comment on column _reached.id is 'The position that was given to the item.';
comment on column _reached.source_id is 'The source.';
comment on column _reached.cursor is 'The stream cursor.';
comment on column _reached.at is 'The time of the item.';

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
comment on type _batch is 'Internal: what was stored of a batch, and what is left to do for it.';
comment on column _batch.receipts is 'The answer to each request. Until duplicates are counted, each item counts as inserted.';
comment on column _batch.first_ids is 'For each request, the position that was given to its first item; null if it has none.';
comment on column _batch.items is 'Number of events that were to be stored.';
comment on column _batch.ids is 'The positions of those that were stored.';
comment on column _batch.events is 'Number of events that were stored.';
comment on column _batch.first_id is 'Their least position.';
comment on column _batch.last_id is 'Their greatest position.';
comment on column _batch.first_at is 'Their least time.';
comment on column _batch.last_at is 'Their greatest time.';
comment on column _batch.facts is 'What state takes from them.';
comment on column _batch.of_consent is 'Whether some of the facts are about consent.';
comment on column _batch.of_subscribers is 'Whether some of the facts are about subscribers.';
comment on column _batch.of_requests is 'Whether some of the facts are about send requests.';
comment on column _batch.undated is 'Events that have an identity and no time, and are not stored yet. Their occurred_at is the time of this arrival.';
comment on column _batch.undated_of is 'For each of these, the number of its request in the batch.';
comment on column _batch.refusals is 'What was refused, and is to be kept.';
comment on column _batch.reached is 'The stream cursors after the items, for streams.';

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
  with request as materialized (
    select
      r.ordinal::int, r.source, s.source_id, s.provider, s.options::text as options,
      tidings._receipt(r.headers ->> 'receipt-id') as receipt,
      case
        when s.source_id is null then 'unknown_source'
        when not s.enabled then 'disabled'
        when r.ordinal = any (fenced) then 'fenced'
        when r.verified then case when bodies[r.ordinal] is null then 'malformed' end
        when u.unmet is not null then 'unauthorized'
        when bodies[r.ordinal] is null then 'malformed'
      end as refused,
      u.unmet
    from unnest(sources, headers, verified) with ordinality r (source, headers, verified, ordinal)
    left join (
      -- Each source is looked up once, by its key.
      select p.*
      from (select distinct n.name from unnest(sources) n (name)) n
      cross join lateral (select p.* from tidings._policy p where p.name = n.name offset 0) p
    ) s on s.name = r.source
    left join lateral (
      select tidings._unmet(s.provider, s.secrets, s.url_tokens, s.allow_unauthenticated, bodies[r.ordinal], r.headers::text) as unmet
      where s.enabled and r.verified is not true and (r.ordinal = any (fenced)) is not true
      offset 0  -- else the request would be verified once for each mention of the column
    ) u on true
    order by r.ordinal  -- positions are given in the order of the requests
  ),
  item as materialized (
    select
      r.ordinal as request, r.source_id, r.provider, r.source, r.receipt,
      coalesce(r.receipt::timestamptz, started_at) as received_at,
      n.*, tidings._log_next() as id
    from request r
    cross join lateral tidings._normalize(r.provider, r.source, r.options, bodies[r.ordinal]) n
    where r.refused is null
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
      coalesce(i.event_id, tidings._receipt_event_id(i.provider, i.source, i.receipt, i.received_at, i.ordinal, i.payload::text), i.id) as event_id,
      i.source_id, i.provider, i.kind, i.provider_kind, i.channel,
      coalesce(i.occurred_at, i.received_at) as occurred_at,
      i.received_at, i.request_id, i.message_id, i.recipient, i.campaign, i.error_code, i.reason, i.payload
    from item i
    where i.error is null and (i.occurred_at is not null or i.event_id is null)
    -- The rows are ordered by the key, so that concurrent batches with the same events
    -- never deadlock; of equal events the first is stored.
    order by 2, 8, 3, 1
    on conflict do nothing
    returning e.id, e.occurred_at, e.kind, tidings._fact(e) as fact
  ),
  outcome as (
    select
      i.request, min(i.id) as first_id,
      count(*) filter (where i.error is null and (i.occurred_at is not null or i.event_id is null)) as items,
      (count(*) filter (where i.error is not null and i.ordinal is not null))::int as rejected,
      bool_or(i.ordinal is null) as malformed,
      (array_agg(coalesce('item ' || i.ordinal || ': ', '') || i.error order by i.ordinal)
        filter (where i.error is not null))[1:3] as reasons
    from item i
    group by i.request
  )
  select
    a.receipts, a.first_ids, a.items, t.ids, t.events, t.first_id, t.last_id, t.first_at, t.last_at, t.facts, t.of_consent, t.of_subscribers, t.of_requests,
    l.undated, l.undated_of, coalesce(a.refusals, '{}') || coalesce(l.refusals, '{}'),
    l.reached
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
        coalesce(r.refused, case when r.malformed then 'malformed' else 'accepted' end),
        coalesce(r.items::int, 0), 0, coalesce(r.rejected, 0),
        case r.refused
          when 'unknown_source' then format('no source is named %s', coalesce('"' || r.source || '"', 'null'))
          when 'disabled' then format('source "%s" is disabled', r.source)
          when 'fenced' then format('the lease under which the stream of source "%s" was read is no longer valid', r.source)
          when 'unauthorized' then 'the request does not carry what the source demands'
          when 'malformed' then 'the body is null'
          else array_to_string(r.reasons, '; ') || case when r.rejected > 3 then '; ..' else '' end
        end,
        r.ordinal
      )::tidings.receipt) as receipts,
      array_agg(r.first_id) as first_ids,
      sum(r.items) as items,
      array_agg((
        r.ordinal, r.source_id, coalesce(r.receipt::timestamptz, started_at), r.refused,
        case r.refused when 'unauthorized' then r.unmet else 'the body is null' end, null, null
      )::tidings._refusal) filter (where r.refused in ('unauthorized', 'malformed')) as refusals
    from (
      select r.*, o.*
      from request r
      left join outcome o on o.request = r.ordinal
      order by r.ordinal  -- once, rather than for each of the arrays
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
        i.request, i.source_id, i.received_at, case when i.ordinal is null then 'malformed' else 'item' end, i.error, i.ordinal, i.item
      )::tidings._refusal) filter (where i.error is not null) as refusals,
      array_agg((i.id, i.source_id, i.cursor, coalesce(i.occurred_at, i.received_at))::tidings._reached) filter (where i.cursor is not null) as reached
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
    with asked as materialized (
      select r.*, f.first_id, count(f.first_id) over (order by r.ordinal) as n
      from unnest(batch.receipts) r
      join unnest(batch.first_ids) with ordinality f (first_id, ordinal) using (ordinal)
    ),
    -- Positions are given in the order of the requests, so each lies between two first ones.
    stored as (
      select width_bucket(i.id, array_remove(batch.first_ids, null)) as n, count(*)::int as inserted
      from unnest(batch.ids) i (id)
      group by 1
    )
    select array_agg((
      a.verdict, coalesce(s.inserted, 0), a.inserted - coalesce(s.inserted, 0), a.rejected, a.detail, a.ordinal
    )::tidings.receipt order by a.ordinal)
    from asked a
    left join stored s on s.n = a.n and a.first_id is not null);
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
    null, null, null, batch.events + count(*), least(batch.first_id, min(s.id)), greatest(batch.last_id, max(s.id)),
    least(batch.first_at, min(s.occurred_at)), greatest(batch.last_at, max(s.occurred_at)),
    coalesce(batch.facts, '{}') || coalesce(array_agg(s.fact) filter (where s.fact is distinct from null), '{}'),
    batch.of_consent is true or coalesce(bool_or(s.kind like 'consent.%'), false),
    batch.of_subscribers is true or coalesce(bool_or(s.kind like 'subscriber.%'), false),
    batch.of_requests is true or coalesce(bool_or((s.fact).request_id is not null), false),
    null, null, batch.refusals, batch.reached
  into late
  from stored s;
  return late;
end
$$;
comment on function _store_undated(_batch) is
  'Internal: stores the events of a batch that have an identity and no time, at the times at which they first arrived.';

create function _keep_refusals(refusals _refusal[], bodies bytea[], headers jsonb[]) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  insert into tidings.rejected (id, received_at, source_id, verdict, reason, ordinal, headers, body, body_bytes)
  select tidings._log_next(), f.received_at, f.source_id, f.verdict, f.reason, f.ordinal, x.headers,
    substr(x.body, 1, 1 << 20), coalesce(octet_length(x.body), 0)
  from unnest(refusals) f
  left join unnest(bodies, headers) with ordinality r (body, headers, ordinal) on r.ordinal = f.request and f.verdict <> 'item'
  cross join lateral (
    select
      case f.verdict when 'item' then f.item else r.body end as body,
      case f.verdict when 'unauthorized' then r.headers when 'malformed' then tidings._without_secrets(r.headers) end as headers
  ) x
  order by f.verdict = 'item', f.request, f.ordinal;
  perform tidings._trim_rejected(t.source_id, t.verdict)
  from (select distinct f.source_id, f.verdict from unnest(refusals) f) t;
end
$$;
comment on function _keep_refusals(_refusal[], bytea[], jsonb[]) is 'Internal: keeps requests and items of a batch in tidings.rejected, within its bound.';

create function _move_cursors(reached _reached[], started_at timestamptz) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  -- The first event after a gap. There is hardly ever one, which a small index says. The gaps
  -- are locked before the cursors, as in report_gap.
  update tidings.gap g set to_cursor = x.cursor, to_at = greatest(g.from_at, x.at)
  from (select distinct on (r.source_id) r.* from unnest(reached) r order by r.source_id, r.id) x
  where g.source_id = x.source_id
    and g.closed_at is null and g.to_cursor is null and g.cause in ('cursor_expired', 'started_at_live_edge', 'moved_by_hand');
  insert into tidings.stream as t (source_id, cursor, updated_at, event_at)
  select distinct on (r.source_id) r.source_id, r.cursor, started_at, started_at
  from unnest(reached) r
  order by r.source_id, r.id desc
  on conflict (source_id) do update
  set cursor = excluded.cursor, updated_at = excluded.updated_at, event_at = excluded.event_at;
end
$$;
comment on function _move_cursors(_reached[], timestamptz) is 'Internal: moves the stream cursors to where a batch has brought them.';

create function _ingest(sources text[], bodies bytea[], headers jsonb[], verified boolean[])
  returns setof receipt
  language plpgsql volatile rows 100
  set search_path = pg_catalog, tidings, pg_temp
  -- Else the planner would plan the statements of this function, and of those that it calls, anew
  -- for each batch, because the number of elements of an array is known then.
  set plan_cache_mode = force_generic_plan
  -- Plans are kept, and a table that is small when its plan is made may grow. A scan that cannot
  -- be avoided, as in a trigger of the user's, is not worth compiling for its nominal cost.
  set enable_seqscan = off
  set jit = off
as $$
declare
  idle interval := current_setting('idle_in_transaction_session_timeout');
  started_at timestamptz := clock_timestamp();
  newest tidings.ulid;
  batch tidings._batch;
  is_replay constant boolean := verified is not null;
  fenced int[];
begin
  if cardinality(sources) is null or cardinality(sources) is distinct from cardinality(bodies)
     or cardinality(sources) is distinct from cardinality(headers) then
    perform tidings._require_batch(sources, bodies, headers);  -- a call costs a statement
  end if;
  perform tidings._require_log_access();

  -- Readers wait for a transaction that has taken ids, so an idle transaction must not
  -- hold them back for long.
  if idle not between '1 ms' and '10 s' then
    perform set_config('idle_in_transaction_session_timeout', '10s', true);
  end if;

  -- This comes before readers wait for this transaction, because it may wait for a lease
  -- that is passing to another worker.
  if not is_replay and exists (select from unnest(headers) h where h ? 'lease-epoch') then
    fenced := tidings._fenced(sources, headers);
  end if;

  -- Each of the following must be a statement of its own, in this order: see log.sql.
  perform tidings._log_lock(tidings._log_newest());
  newest := tidings._log_newest();
  perform tidings._log_begin(newest);
  batch := tidings._store(sources, bodies, headers, verified, fenced, started_at);

  -- What is rare has a statement of its own, which ordinary batches need not even start.
  if batch.events < batch.items then
    batch.receipts := tidings._count_duplicates(batch);
  end if;
  if batch.undated is not null then
    batch := tidings._store_undated(batch);
  end if;
  if batch.reached is not null and not is_replay then
    perform tidings._move_cursors(batch.reached, started_at);
  end if;
  if batch.events > 0 then
    if batch.facts is not null then
      perform tidings._add_to_state(batch.facts, batch.of_consent, batch.of_subscribers, batch.of_requests);
    end if;
    insert into tidings.log_head (last_id, first_id, first_at, last_at, events)
    values (batch.last_id, batch.first_id, batch.first_at, batch.last_at, batch.events);
  end if;
  if cardinality(batch.refusals) > 0 and not is_replay then
    perform tidings._keep_refusals(batch.refusals, bodies, headers);
  end if;
  -- "Duplicate" promises what "inserted" does. The commit of the events may be visible
  -- here without having reached the standby that commits have to reach. This transaction
  -- waits for that with its own commit, which comes after theirs. A commit waits only if
  -- the transaction wrote something to the write-ahead log, which this message does.
  if batch.events = 0 and exists (select from unnest(batch.receipts) r where r.duplicate > 0) then
    perform pg_logical_emit_message(true, 'tidings', '');
  end if;
  return query select r.* from unnest(batch.receipts) r;
end
$$;
comment on function _ingest(text[], bytea[], jsonb[], boolean[]) is
  'Internal: implements ingest_batch. If "verified" is given, the call is a replay of tidings.rejected: a request for which it is true passed its policy when it arrived and is not verified again, a refused request is not kept a second time, and no stream cursor moves.';

create function ingest_batch(sources text[], bodies bytea[], headers jsonb[])
  returns setof receipt
  language plpgsql volatile security definer rows 100
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  return query select r.* from tidings._ingest(sources, bodies, headers, null) r;
end
$$;
comment on function ingest_batch(text[], bytea[], jsonb[]) is
  'Ingests many requests in one statement, and returns the outcome of each, in their order. Everything is stored when the transaction commits, so answer the senders after the commit. A bad request or item does not fail the others. The names of headers are in lower case. "url-token" is the token of the URL. "receipt-id" (a UUID of version 7, or a ULID) identifies this arrival of the request and tells its time, so that a batch can be submitted again. "lease-epoch" is the epoch of the lease under which a stream was read (see hold_streams). SQLSTATE 2202E if the arrays differ in length, 25001 in REPEATABLE READ and SERIALIZABLE, 25006 on a standby.';

create function ingest(source text, body bytea, headers jsonb default '{}')
  returns receipt
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  answer tidings.receipt;
begin
  select r.* into answer from tidings.ingest_batch(array[source], array[body], array[headers]) r;
  return answer;
end
$$;
comment on function ingest(text, bytea, jsonb) is
  'Ingests one request as a provider sent it: verifies and normalizes the request, and stores each event once. See ingest_batch for many requests at a time, and for the headers.';

create function _trim_rejected(of_source int, of_verdict text) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  most constant int := 1000;
  most_bytes constant int := 16 << 20;
begin
  -- Whether there is something to do costs a tenth of doing it.
  if not exists (
    select
    from (
      select octet_length(k.body) + coalesce(pg_column_size(k.headers), 0) as bytes
      from tidings.rejected k
      where k.source_id = of_source and k.verdict = of_verdict
      order by k.id desc
      limit most + 1
    ) x
    having count(*) > most or sum(x.bytes) > most_bytes
  ) then
    return;
  end if;
  -- Skips locked rows, because a replay that locks a row may be waiting for an event of
  -- this transaction.
  delete from tidings.rejected r
  using (
    select l.id
    from (
      select k.id, row_number() over newest_first as n, sum(octet_length(k.body) + coalesce(pg_column_size(k.headers), 0)) over newest_first as bytes
      from tidings.rejected k
      where k.source_id = of_source and k.verdict = of_verdict
      window newest_first as (order by k.id desc rows unbounded preceding)
    ) x
    join tidings.rejected l on l.id = x.id
    where x.n > most or (x.n > 1 and x.bytes > most_bytes)
    for update of l skip locked
  ) x
  where r.id = x.id;
end
$$;
comment on function _trim_rejected(int, text) is 'Internal: keeps tidings.rejected within its bound, for a verdict of a source.';

