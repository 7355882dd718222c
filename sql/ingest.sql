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

create function _store(
  sources text[], bodies bytea[], headers jsonb[], verified boolean[], fenced int[], started_at timestamptz,
  out receipts receipt[], out first_id ulid, out last_id ulid
)
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  is_replay constant boolean := verified is not null;
begin
  with request as materialized (
    select
      r.ordinal::int, r.source, r.body, r.headers, s.id as source_id, s.provider,
      s.options::text as options,
      tidings._receipt(r.headers ->> 'receipt-id') as receipt,
      case
        when s.id is null then 'unknown_source'
        when not s.enabled then 'disabled'
        when r.ordinal = any (fenced) then 'fenced'
        when r.verified then case when r.body is null then 'malformed' end
        when u.unmet is not null then 'unauthorized'
        when r.body is null then 'malformed'
      end as refused,
      u.unmet
    from unnest(sources, bodies, headers, verified) with ordinality r (source, body, headers, verified, ordinal)
    left join (tidings.source s join tidings._policy p on p.source_id = s.id) on s.name = r.source
    left join lateral (
      select tidings._unmet(s.provider, p.secrets, p.url_tokens, p.allow_unauthenticated, r.body, r.headers::text) as unmet
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
    cross join lateral tidings._normalize(r.provider, r.source, r.options, r.body) n
    where r.refused is null
  ),
  dated as (
    insert into tidings.undated as u (event_id, source_id, occurred_at)
    select i.event_id, i.source_id, min(i.received_at)
    from item i
    where i.error is null and i.event_id is not null and i.occurred_at is null
    group by i.event_id, i.source_id
    order by i.event_id, i.source_id
    -- "do nothing" would return no row if there is one already.
    on conflict (event_id, source_id) do update set occurred_at = u.occurred_at
    returning u.event_id, u.source_id, u.occurred_at
  ),
  stored as (
    insert into tidings.event (
      id, event_id, source_id, provider, kind, provider_kind, channel, occurred_at, received_at,
      request_id, message_id, recipient, campaign, error_code, reason, payload
    )
    select
      i.id,
      -- An item without an identity is identified by its receipt id; without that, each
      -- delivery is an event.
      coalesce(i.event_id, tidings._receipt_event_id(i.provider, i.source, i.receipt, i.received_at, i.ordinal, i.payload::text), i.id) as event_id,
      i.source_id, i.provider, i.kind, i.provider_kind, i.channel,
      coalesce(i.occurred_at, d.occurred_at, i.received_at) as occurred_at,
      i.received_at, i.request_id, i.message_id, i.recipient, i.campaign, i.error_code, i.reason, i.payload
    from item i
    left join dated d on d.event_id = i.event_id and d.source_id = i.source_id and i.occurred_at is null
    where i.error is null
    -- The rows are ordered by the key, so that concurrent batches with the same events
    -- never deadlock; of equal events the first is stored.
    order by 2, 8, 3, 1
    on conflict do nothing
    returning id, occurred_at
  ),
  headed as (
    insert into tidings.log_head (last_id, first_id, first_at, last_at, events)
    select max(s.id), min(s.id), min(s.occurred_at), max(s.occurred_at), count(*)
    from stored s
    having count(*) > 0
  ),
  refusal (source_id, received_at, verdict, reason, ordinal, headers, body) as (
    select r.source_id, coalesce(r.receipt::timestamptz, started_at), r.refused,
      case r.refused when 'unauthorized' then r.unmet else 'the body is null' end,
      null::int, case r.refused when 'unauthorized' then r.headers else tidings._without_secrets(r.headers) end, r.body
    from request r
    where r.refused in ('unauthorized', 'malformed')
    union all
    select i.source_id, i.received_at, 'malformed', i.error, null, tidings._without_secrets(r.headers), r.body
    from item i join request r on r.ordinal = i.request
    where i.ordinal is null
    union all
    select i.source_id, i.received_at, 'item', i.error, i.ordinal, null, i.item
    from item i
    where i.error is not null and i.ordinal is not null
  ),
  kept as (
    insert into tidings.rejected (id, received_at, source_id, verdict, reason, ordinal, headers, body, body_bytes)
    select tidings._log_next(), f.received_at, f.source_id, f.verdict, f.reason, f.ordinal, f.headers,
      substr(f.body, 1, 1 << 20), coalesce(octet_length(f.body), 0)
    from refusal f
    where not is_replay
  ),
  reached as (
    -- The first event after a gap. There is hardly ever one, which a small index says.
    update tidings.gap g set to_cursor = x.cursor, to_at = greatest(g.from_at, x.at)
    from (
      select distinct on (i.source_id) i.source_id, i.cursor, coalesce(i.occurred_at, i.received_at) as at
      from item i
      where not is_replay and i.cursor is not null
      order by i.source_id, i.request, i.ordinal
    ) x
    where g.source_id = x.source_id
      and g.closed_at is null and g.to_cursor is null and g.cause in ('cursor_expired', 'started_at_live_edge', 'moved_by_hand')
    returning g.id
  ),
  resumed as (
    insert into tidings.stream as t (source_id, cursor, updated_at, event_at)
    select distinct on (i.source_id) i.source_id, i.cursor, started_at, started_at
    from item i
    where not is_replay and i.cursor is not null
      and (select count(*) from reached) >= 0  -- locks the gaps before the cursors, as report_gap does
    order by i.source_id, i.request desc, i.ordinal desc
    on conflict (source_id) do update
    set cursor = excluded.cursor, updated_at = excluded.updated_at, event_at = excluded.event_at
  ),
  outcome as (
    select
      i.request,
      count(s.id)::int as inserted,
      (count(*) filter (where i.error is null) - count(s.id))::int as duplicate,
      (count(*) filter (where i.error is not null and i.ordinal is not null))::int as rejected,
      bool_or(i.ordinal is null) as malformed,
      (array_agg(coalesce('item ' || i.ordinal || ': ', '') || i.error order by i.ordinal)
        filter (where i.error is not null))[1:3] as reasons
    from item i
    left join stored s on s.id = i.id
    group by i.request
  )
  select array_agg((
      coalesce(r.refused, case when o.malformed then 'malformed' else 'accepted' end),
      coalesce(o.inserted, 0), coalesce(o.duplicate, 0), coalesce(o.rejected, 0),
      case r.refused
        when 'unknown_source' then format('no source is named %s', coalesce('"' || r.source || '"', 'null'))
        when 'disabled' then format('source "%s" is disabled', r.source)
        when 'fenced' then format('the lease under which the stream of source "%s" was read is no longer valid', r.source)
        when 'unauthorized' then 'the request does not carry what the source demands'
        when 'malformed' then 'the body is null'
        else array_to_string(o.reasons, '; ') || case when o.rejected > 3 then '; ..' else '' end
      end,
      r.ordinal
    )::tidings.receipt order by r.ordinal),
    (select min(s.id) from stored s), (select max(s.id) from stored s)
  into receipts, first_id, last_id
  from request r
  left join outcome o on o.request = r.ordinal;
end
$$;
comment on function _store(text[], bytea[], jsonb[], boolean[], int[], timestamptz) is
  'Internal: stores a batch in one statement, at the positions of the run that this transaction has started. Returns the answer to each request, and the first and the last position of the stored events. Requests in "fenced" are refused.';

create function _ingest(sources text[], bodies bytea[], headers jsonb[], verified boolean[])
  returns setof receipt
  language plpgsql volatile rows 100
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  idle interval := current_setting('idle_in_transaction_session_timeout');
  started_at timestamptz := clock_timestamp();
  newest tidings.ulid;
  receipts tidings.receipt[];
  first_id tidings.ulid;  -- of the events that are stored
  last_id tidings.ulid;
  is_replay constant boolean := verified is not null;
  fenced int[];
begin
  perform tidings._require_batch(sources, bodies, headers);
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
  select s.receipts, s.first_id, s.last_id into receipts, first_id, last_id
  from tidings._store(sources, bodies, headers, verified, fenced, started_at) s;

  if not is_replay and exists (select from unnest(receipts) r where r.rejected > 0 or r.verdict in ('unauthorized', 'malformed')) then
    perform tidings._trim_rejected(sources);
  end if;
  if first_id is not null then
    -- No other transaction has an id in between, because each takes a run of its own.
    perform tidings._add_to_state(first_id, last_id);
  end if;
  -- "Duplicate" promises what "inserted" does. The commit of the events may be visible
  -- here without having reached the standby that commits have to reach. This transaction
  -- waits for that with its own commit, which comes after theirs. A commit waits only if
  -- the transaction wrote something to the write-ahead log, which this message does.
  if first_id is null and exists (select from unnest(receipts) r where r.duplicate > 0) then
    perform pg_logical_emit_message(true, 'tidings', '');
  end if;
  return query select r.* from unnest(receipts) r;
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

create function _trim_rejected(sources text[]) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  -- Skips locked rows, because a replay that locks a row may be waiting for an event of
  -- this transaction.
  delete from tidings.rejected r
  using (
    select l.id
    from tidings.rejected l
    join (
      select k.id, row_number() over newest_first as n, sum(octet_length(k.body) + coalesce(pg_column_size(k.headers), 0)) over newest_first as bytes
      from tidings.rejected k
      where k.source_id in (select s.id from tidings.source s where s.name = any (sources))
      window newest_first as (partition by k.source_id, k.verdict order by k.id desc rows unbounded preceding)
    ) x on x.id = l.id
    where x.n > 1000 or (x.n > 1 and x.bytes > 16 << 20)
    for update of l skip locked
  ) x
  where r.id = x.id;
end
$$;
comment on function _trim_rejected(text[]) is 'Internal: keeps tidings.rejected within its bound.';

