-- Ingestion: the order in which a batch of requests is stored. What is rare in a batch has a
-- statement of its own, which ordinary batches need not even start.

create function _without_secrets(headers jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, tidings, pg_temp
as $$
  select case jsonb_typeof(headers) when 'object' then headers - '{authorization,url-token,spooled,body-as-sent}'::text[] end
$$;
comment on function _without_secrets(jsonb) is
  'Internal: removes headers of a request that passed the policy of its source: those with its secrets, "spooled", which has a column of its own, and "body-as-sent", which nothing verifies again.';

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

create function _spool_bytes(headers jsonb) returns bigint
  language sql immutable parallel safe
  set search_path = pg_catalog, tidings, pg_temp
as $$
  select case when jsonb_typeof(headers) = 'object' and headers ->> 'spooled' ~ '^[1-9][0-9]{0,17}$' then (headers ->> 'spooled')::bigint end
$$;
comment on function _spool_bytes(jsonb) is
  'Internal: the size of the spool through which a request came, which the worker states in its header "spooled"; null for a request that came directly.';

create function _kept_body(body bytea, spool_bytes bigint) returns bytea
  language sql immutable parallel safe
  set search_path = pg_catalog, tidings, pg_temp
as $$
  select case when spool_bytes is null then substr(body, 1, 1 << 20) else body end
$$;
comment on function _kept_body(bytea, bigint) is
  'Internal: the part of a body that tidings.rejected keeps: its beginning, but all of it if the request came through a spool, because a body that was cut cannot be replayed.';

create function _keep_refusals(refusals _refusal[], bodies bytea[], headers jsonb[]) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  insert into tidings.rejected (id, received_at, source_id, verdict, reason, ordinal, headers, body, body_bytes, spool_bytes, peer)
  select tidings._log_next(), f.received_at, f.source_id, f.verdict, f.reason, f.ordinal, x.headers,
    tidings._kept_body(x.body, x.spool_bytes), coalesce(octet_length(x.body), 0), x.spool_bytes, p.address
  from unnest(refusals) f
  left join (
    select h.ordinal, tidings._peer_address(h.headers::text)::inet as address
    from unnest(headers) with ordinality h (headers, ordinal)
  ) p on p.ordinal = f.request
  left join unnest(bodies, headers) with ordinality r (body, headers, ordinal) on r.ordinal = f.request
  cross join lateral (
    select
      case f.verdict when 'item' then f.item else r.body end as body,
      tidings._spool_bytes(r.headers) as spool_bytes,
      case
        when f.verdict = 'malformed' then tidings._without_secrets(r.headers)
        when f.verdict = 'unauthorized' and jsonb_typeof(r.headers) = 'object' then r.headers - 'spooled'
        when f.verdict = 'unauthorized' then r.headers
      end as headers
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
  update tidings.gap g set to_cursor = x.first_cursor, to_at = greatest(g.from_at, x.first_at)
  from (select distinct on (r.source_id) r.* from unnest(reached) r order by r.source_id, r.request) x
  where g.source_id = x.source_id
    and g.closed_at is null and g.to_cursor is null and g.cause in ('cursor_expired', 'started_at_live_edge', 'moved_by_hand');
  insert into tidings.stream as t (source_id, cursor, updated_at, event_at)
  select distinct on (r.source_id) r.source_id, r.last_cursor, started_at, started_at
  from unnest(reached) r
  order by r.source_id, r.request desc
  on conflict (source_id) do update
  set cursor = excluded.cursor, updated_at = excluded.updated_at, event_at = excluded.event_at;
end
$$;
comment on function _move_cursors(_reached[], timestamptz) is 'Internal: moves the stream cursors to where a batch has brought them.';

create function _ingest(sources text[], bodies bytea[], headers jsonb[], verified boolean[])
  returns receipt[]
  language plpgsql volatile
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
  started_at timestamptz := clock_timestamp();
  batch tidings._batch;
  grants tidings._grant[];
  is_replay constant boolean := verified is not null;
  fenced int[];
begin
  -- A statement can cost more than storing a row, so none is run unless it is needed.
  if cardinality(sources) is null or cardinality(sources) is distinct from cardinality(bodies)
     or cardinality(sources) is distinct from cardinality(headers) then
    perform tidings._require_batch(sources, bodies, headers);
  end if;
  perform tidings._require_log_access(), tidings._bound_idle();

  -- This comes before readers wait for this transaction, because it may wait for a lease
  -- that is passing to another worker.
  if not is_replay then
    if exists (select from unnest(headers) h where h ? 'lease-epoch') then
      fenced := tidings._fenced(sources, headers);
    end if;
  end if;

  perform tidings._log_begin();
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
    -- Each function sorts its keys, so that concurrent batches about the same messages never deadlock.
    if batch.facts is not null then
      grants := tidings._add_to_message(batch.facts);
    end if;
    if batch.of_consent or grants is not null then
      perform tidings._add_to_consent(batch.facts, grants);
    end if;
    if batch.of_subscribers then
      perform tidings._add_to_subscriber(batch.facts);
    end if;
    if batch.of_requests then
      perform tidings._add_to_request_summary(batch.facts);
    end if;
    insert into tidings.log_head (last_id, first_id, first_at, last_at, events)
    values (batch.last_id, batch.first_id, batch.first_at, batch.last_at, batch.events);
  end if;
  if batch.refusals is not null and not is_replay then
    perform tidings._keep_refusals(batch.refusals, bodies, headers);
  end if;
  -- "Duplicate" promises what "inserted" does. The commit of the events may be visible
  -- here without having reached the standby that commits have to reach. This transaction
  -- waits for that with its own commit, which comes after theirs. A commit waits only if
  -- the transaction wrote something to the write-ahead log, which this message does.
  if batch.events = 0 then
    if exists (select from unnest(batch.receipts) r where r.duplicate > 0) then
      perform pg_logical_emit_message(true, 'tidings', '');
    end if;
  end if;
  return batch.receipts;
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
  return query select r.* from unnest(tidings._ingest(sources, bodies, headers, null)) r;
end
$$;
comment on function ingest_batch(text[], bytea[], jsonb[]) is
  'Ingests many requests in one statement, and returns the outcome of each, in their order. Everything is stored when the transaction commits, so answer the senders after the commit. A bad request or item does not fail the others. The names of headers are in lower case. "url-token" is the token of the URL. "receipt-id" (a UUID of version 7, or a ULID) identifies this arrival of the request and tells its time, so that a batch can be submitted again; a time ahead of the server''s clock counts as now, except in the identity and the time of events that have neither of their own. "spooled" is the size in bytes of the spool through which the worker has brought the request: if the request is refused, it is kept within that bound (see tidings.rejected). "lease-epoch" is the epoch of the lease under which a stream was read (see hold_streams). "peer-address" is the address of the sender, which a source may restrict (option allow_from). "body-as-sent" contains, in base64, the bytes as sent of a body that arrived compressed ("content-encoding") and is passed inflated, because the signature may cover them. SQLSTATE 2202E if the arrays differ in length, 25001 in REPEATABLE READ and SERIALIZABLE, 25006 on a standby.';

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

create function probe_ingest()
  returns void
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
  -- Nobody waits behind a probe that waits.
  set lock_timeout = '2s'
as $$
begin
  perform tidings._require_log_access(), tidings._bound_idle();
  lock table only tidings.event in row exclusive mode;
  lock table only tidings.message in row exclusive mode;
  lock table only tidings.rejected in row exclusive mode;
  -- A write, which a read-only server refuses. It is undone here, so that this can be a
  -- statement of its own; but the commit waits for the standbys that a commit has to reach.
  begin
    insert into tidings.log_head (last_id, first_id, events)
    values ('00000000000000000000000000', '00000000000000000000000000', 0);
    raise exception using errcode = 'TDP01', message = 'undo the write';
  exception
    when sqlstate 'TDP01' then null;
  end;
end
$$;
comment on function probe_ingest() is
  'Does what ingest needs of the server, and stores nothing. The worker calls it while no request is stored, to learn whether requests would be. Any error is one that ingest would raise: SQLSTATE 25006 on a standby and on a read-only server, 42501 without the right to call it, 55P03 if a table is locked for 2 seconds.';

create function _trim_rejected(of_source int, of_verdict text) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  most constant int := 1000;
  most_bytes constant int := 16 << 20;
begin
  -- A look whether the bound is exceeded needs no running sums.
  if not exists (
    select
    from (
      select octet_length(k.body) + coalesce(pg_column_size(k.headers), 0) as bytes
      from tidings.rejected k
      where k.source_id = of_source and k.verdict = of_verdict and k.spool_bytes is null
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
      where k.source_id = of_source and k.verdict = of_verdict and k.spool_bytes is null
      window newest_first as (order by k.id desc rows unbounded preceding)
    ) x
    join tidings.rejected l on l.id = x.id
    where x.n > most or (x.n > 1 and x.bytes > most_bytes)
    for update of l skip locked
  ) x
  where r.id = x.id;
end
$$;
comment on function _trim_rejected(int, text) is 'Internal: keeps tidings.rejected within its bound, for a verdict of a source. Rows of requests that came through a spool have a bound of their own, which maintain keeps.';

