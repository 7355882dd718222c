-- Rejected requests and items: those that the worker refuses, replay after a fix, and erasure
-- on request.

create function report_refusal(
  source text, received_at timestamptz, reason text, headers jsonb, body bytea, body_bytes bigint
)
  returns void
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  most constant int := 64 << 10;
  of_source constant int := (tidings._addressed(source)).id;
begin
  -- What is lost here was answered as refused, and the commit holds up the worker's questions
  -- about its sources.
  perform set_config('synchronous_commit', 'off', true);
  insert into tidings.rejected (id, received_at, source_id, verdict, reason, headers, body, body_bytes, peer)
  values (
    tidings.gen_ulid(), coalesce(report_refusal.received_at, clock_timestamp()), of_source, 'refused',
    coalesce(left(report_refusal.reason, 2000), 'refused by the worker'), report_refusal.headers, substr(report_refusal.body, 1, most),
    least(greatest(report_refusal.body_bytes, octet_length(report_refusal.body), 0), 2147483647),
    tidings._peer_address(report_refusal.headers::text)::inet);
  perform tidings._trim_rejected(of_source, 'refused');
end
$$;
comment on function report_refusal(text, timestamptz, text, jsonb, bytea, bigint) is
  'Keeps in tidings.rejected, within the bound of the verdict "refused", a request that the worker refused before any part of it was verified. The worker calls it. "body" is the part of the body that was read, of which 64 kB are kept, and "body_bytes" the length of the whole body as far as it is known, which is greater than the length of "body" if there was more. The commit waits for no disk, so call it in a transaction of its own. SQLSTATE 42704 if there is no such source.';

create function _first_receipt(headers jsonb, received_at timestamptz, id ulid) returns jsonb
  language plpgsql immutable
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  if jsonb_typeof(headers) = 'object' then
    if tidings._receipt(headers ->> 'receipt-id') is not null then
      return headers;
    end if;
  else
    headers := '{}';
  end if;
  return headers || jsonb_build_object('receipt-id',
    (substr(tidings.ulid_at(received_at)::bytea, 1, 6) || substr(id::bytea, 7))::tidings.ulid);
end
$$;
comment on function _first_receipt(jsonb, timestamptz, ulid) is
  'Internal: the headers of a row of tidings.rejected with a receipt-id: its own, or one that is made of the millisecond of its arrival and is the same each time.';

-- An item that is not JSON may lack a quote or a bracket, and then swallow what stands beside
-- it. Whether it does is seen from what the array is cut into.
create function _join_items(provider text, options text, item bytea, items int) returns bytea
  language plpgsql immutable
  set search_path = pg_catalog, tidings, pg_temp
  set standard_conforming_strings = on  -- it has a backslash
as $$
declare
  alone constant bytea := '['::bytea || item || ']'::bytea;
  no_json constant bytea := '!';
  joined bytea;
begin
  if btrim(item, '\x20090a0d'::bytea) = ''::bytea then
    return item;  -- an array without an item would be accepted
  end if;
  -- Cut anew, a damaged item may fall into pieces that were none when it arrived.
  if not (
    select count(*) = 1 and bool_and(n.item is null or n.item = _join_items.item)
    from tidings._normalize(_join_items.provider, '', options, alone) n
  ) then
    return no_json;
  end if;
  if items = 1 then
    return alone;
  end if;
  joined := '['::bytea || (select string_agg(item, ','::bytea) from generate_series(1, items)) || ']'::bytea;
  if (
    select count(*) = items and bool_and(n.item is null or n.item = _join_items.item)
    from tidings._normalize(_join_items.provider, '', options, joined) n
  ) then
    return joined;
  end if;
  return alone;
end
$$;
comment on function _join_items(text, text, bytea, int) is
  'Internal: the body with which equal items of one request are replayed: an array of all of them, or of one of them if they cannot be told apart in it; a body that is not JSON if one of them is not a single item in an array either.';

-- Rows with the same head are one request: equal items of one request have to be replayed
-- together to become as many events as they were.
create function _replay_batch(ids ulid[], heads ulid[], first_ordinal int) returns setof receipt
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  -- Such an item is JSON by itself, and may have the brackets that ended its body.
  unended constant text := 'the body ends inside of its array, so that the end of the item is not certain';
  q record;
  answer tidings.receipt;
  requests jsonb;  -- for each: head, source, provider, options, verdict
  sources text[];
  bodies bytea[];
  headers jsonb[];
  verified boolean[];
  next_ordinal int := first_ordinal;
begin
  -- A row that another transaction is deleting or replaying is skipped.
  with kept as materialized (
    select r.id, r.source_id, r.received_at, r.verdict, r.reason, r.headers, r.body, b.head
    from unnest(ids, heads) b (id, head)
    join tidings.rejected r on r.id = b.id
    order by r.id
    for update of r skip locked
  ),
  request as (
    select k.head, min(k.verdict) as verdict, min(k.reason) as reason, min(k.source_id) as source_id, min(k.received_at) as received_at,
      (array_agg(k.headers))[1] as headers, (array_agg(k.body))[1] as body, count(*)::int as items
    from kept k
    group by k.head
    having count(*) = (select count(*) from unnest(heads) h (head) where h.head = k.head)
  )
  select
    jsonb_agg(jsonb_build_object('head', r.head, 'source', s.name, 'provider', s.provider,
      'options', s.options::text, 'verdict', r.verdict) order by r.head),
    array_agg(s.name order by r.head),
    array_agg(case
      when r.verdict = 'item' and r.reason = unended then '!'
      when r.verdict = 'item' then tidings._join_items(s.provider, s.options::text, r.body, r.items)
      else r.body
    end order by r.head),
    array_agg(tidings._first_receipt(r.headers, r.received_at, r.head) order by r.head),
    array_agg(r.verdict not in ('unauthorized', 'refused') order by r.head)
  into requests, sources, bodies, headers, verified
  from request r
  left join tidings.source s on s.id = r.source_id;
  if requests is null then
    return;
  end if;

  for answer in select r.* from unnest(tidings._ingest(sources, bodies, headers, verified)) r order by r.ordinal loop
    select x.* into q
    from jsonb_to_record(requests -> (answer.ordinal - 1)) x (head tidings.ulid, source text, provider text, options text, verdict text);
    case
      when answer.verdict = 'accepted' and answer.rejected = 0 then
        delete from tidings.rejected r where r.id in (select b.id from unnest(ids, heads) b (id, head) where b.head = q.head);
      when answer.verdict = 'accepted' and q.verdict <> 'item' then
        -- As for any request, the items that are not events are kept.
        insert into tidings.rejected (id, received_at, source_id, verdict, reason, ordinal, headers, body, body_bytes, spool_bytes, peer)
        select tidings._log_next(), r.received_at, r.source_id, 'item', n.error, n.ordinal, null,
          tidings._kept_body(n.item, r.spool_bytes), octet_length(n.item), r.spool_bytes, r.peer
        from tidings.rejected r
        cross join lateral tidings._normalize(q.provider, q.source, q.options, r.body) n
        where r.id = q.head and n.error is not null;
        delete from tidings.rejected r where r.id = q.head;
        perform tidings._trim_rejected((tidings._addressed(q.source)).id, 'item');
      when answer.verdict = 'accepted' then
        update tidings.rejected r
        set reason = (
          select n.error
          from tidings._normalize(q.provider, q.source, q.options, bodies[answer.ordinal]) n
          where n.error is not null order by n.ordinal limit 1)
        where r.id in (select b.id from unnest(ids, heads) b (id, head) where b.head = q.head);
      when answer.verdict = 'unauthorized' then
        update tidings.rejected r
        set reason = coalesce(
          tidings._unmet(q.provider, p.secrets, p.url_tokens, p.allow_unauthenticated, p.allow_from, r.body, r.headers::text), r.reason)
        from tidings._policy p
        where r.id = q.head and p.source_id = r.source_id;
      when answer.verdict = 'malformed' and q.verdict <> 'item' then
        -- The request passed the policy, so its headers contain valid secrets.
        update tidings.rejected r
        set verdict = 'malformed', reason = answer.detail, headers = tidings._without_secrets(r.headers)
        where r.id = q.head;
      else
        null;  -- it stays as it is
    end case;
    answer.ordinal := next_ordinal;
    next_ordinal := next_ordinal + 1;
    return next answer;
  end loop;
end
$$;
comment on function _replay_batch(ulid[], ulid[], int) is
  'Internal: replays these rows of tidings.rejected. Rows with the same head are equal items of one request.';

create function replay_rejected(source text default null) returns setof receipt
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  of_source constant int := case when source is not null then (tidings._source(source)).id end;
  q record;
  ids tidings.ulid[] := '{}';
  heads tidings.ulid[] := '{}';
  bytes bigint := 0;
  answers int := 0;
  answer tidings.receipt;
begin
  perform tidings._require_log_access();
  -- The table is locked before any row of tidings.rejected, as in ingest, so that there
  -- is no deadlock.
  lock table only tidings.event in row exclusive mode;
  -- The plan, without the bodies. Rows that are added while it is carried out are not
  -- part of it.
  for q in
    select min(r.id) as head, array_agg(r.id order by r.id) as ids, sum(r.bytes) as bytes,
      min(r.verdict) as verdict, bool_or(r.is_cut) as is_cut,
      format('only the first %s of its %s bytes were kept', min(r.bytes), min(r.body_bytes)) as cut
    from (
      select r.id, r.verdict, r.source_id, r.received_at, r.body_bytes,
        coalesce(octet_length(r.body), 0) as bytes,
        coalesce(r.body_bytes > octet_length(r.body), false) as is_cut,
        case r.verdict when 'item' then md5(r.body) else r.id::text end as same,
        case r.verdict when 'item' then
          row_number() over (partition by r.source_id, r.verdict, r.received_at, md5(r.body), r.ordinal order by r.id)
        end as request
      from tidings.rejected r
      where of_source is null or r.source_id = of_source
    ) r
    group by r.source_id, r.verdict, r.received_at, r.same, r.request
    order by 1
  loop
    if q.is_cut or cardinality(ids) >= 200 or bytes + q.bytes > 8 << 20 then
      for answer in select * from tidings._replay_batch(ids, heads, answers + 1) loop
        answers := answers + 1;
        return next answer;
      end loop;
      ids := '{}';
      heads := '{}';
      bytes := 0;
    end if;
    if q.is_cut then
      answers := answers + 1;
      return next (case q.verdict when 'unauthorized' then 'unauthorized' else 'malformed' end, 0, 0, 0, q.cut, answers)::tidings.receipt;
      continue;
    end if;
    ids := ids || q.ids;
    heads := heads || array_fill(q.head, array[cardinality(q.ids)]);
    bytes := bytes + q.bytes;
  end loop;
  return query select * from tidings._replay_batch(ids, heads, answers + 1);
end
$$;
comment on function replay_rejected(text) is
  'Replays the rows of tidings.rejected, of one source or of all, for example after a secret was corrected or the extension was updated. Events keep the time at which they first arrived. A request that was unauthorized, or refused by the worker, is verified with the current secrets and for the address that it came from; the others have passed verification. A row whose events are all accepted is removed from tidings.rejected. If a request contains items that are not events, those items stay. Every other row stays, with the current reason, and so do rows that were cut because of their length and rows of a disabled source. Returns the outcome of each request or item, in the order of rejection. All in one transaction, in batches of 200 rows or 8 MB. SQLSTATE 42704 if there is no such source, 25001 in REPEATABLE READ and SERIALIZABLE, 25006 on a standby.';

create type erased as (
  object text,
  rows bigint
);
comment on type erased is 'Rows that tidings.erase_recipient removed from a table.';
comment on column erased.object is 'The table.';
comment on column erased.rows is 'Number of rows.';

create function _json_pattern(value text) returns text
  language plpgsql immutable
  set search_path = pg_catalog, tidings, pg_temp
  set standard_conforming_strings = on  -- it is full of backslashes
as $$
declare
  pattern text := '';
  c text;
  code int;
  unit int;
  hex text;
  digit text;
  escaped text;
  short text;
begin
  foreach c in array string_to_array(value, null) loop
    code := ascii(c);
    escaped := '';
    foreach unit in array case
      when code < 65536 then array[code]
      else array[55296 + ((code - 65536) >> 10), 56320 + ((code - 65536) & 1023)]
    end loop
      hex := lpad(to_hex(unit), 4, '0');
      foreach digit in array '{a,b,c,d,e,f}'::text[] loop
        hex := replace(hex, digit, '[' || digit || upper(digit) || ']');
      end loop;
      escaped := escaped || '\\\\u' || hex;
    end loop;
    short := case c
      when '"' then '"' when '/' then '/' when '\' then '\\\\'
      when chr(8) then 'b' when chr(9) then 't' when chr(10) then 'n' when chr(12) then 'f' when chr(13) then 'r'
    end;
    pattern := pattern || format('(?:%s|%s%s)',
      regexp_replace(encode(convert_to(c, 'UTF8'), 'escape'), '([^a-zA-Z0-9])', '\\\1', 'g'),
      escaped, '|\\\\' || short);
  end loop;
  return pattern;
end
$$;
comment on function _json_pattern(text) is
  'Internal: a regular expression that matches this text in encode(.., ''escape'') of a body, each character either plain or as JSON may escape it.';

create type _event_key as (
  event_id ulid,
  occurred_at timestamptz,
  source_id int
);
comment on type _event_key is 'Internal: the primary key of an event.';
comment on column _event_key.event_id is 'event.event_id.';
comment on column _event_key.occurred_at is 'event.occurred_at.';
comment on column _event_key.source_id is 'event.source_id.';

create function erase_recipient(recipient text) returns setof erased
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  seen tidings.ulid;
  found_events tidings._event_key[];
  found_event tidings._event_key;
  request record;
  erased_events bigint := 0;
  request_ids text[];
  source_ids int[];
  n bigint;
begin
  if coalesce(recipient, '') = '' then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = 'the recipient is empty',
      hint = 'Pass the recipient as it is written in tidings.event.recipient.';
  end if;
  perform tidings._require_log_access();
  -- Most events are found before ingest has to wait: no index leads to all of them, because
  -- tidings.message leads only to those whose state is there. What is not seen here comes
  -- after this position.
  seen := coalesce(tidings._log_end(), '00000000000000000000000000');
  found_events := array(
    select row(e.event_id, e.occurred_at, e.source_id)::tidings._event_key
    from tidings.event e
    where e.recipient = erase_recipient.recipient);
  -- Ingest waits until this is done, so that state and events are removed together.
  lock table only tidings.event in share row exclusive mode;
  for request in
    delete from tidings.event e where e.recipient = erase_recipient.recipient and e.id > seen returning e.request_id, e.source_id
  loop
    erased_events := erased_events + 1;
    request_ids := request_ids || request.request_id;
    source_ids := source_ids || request.source_id;
  end loop;
  foreach found_event in array found_events loop
    delete from tidings.event e
    where e.event_id = found_event.event_id and e.occurred_at = found_event.occurred_at and e.source_id = found_event.source_id
    returning e.request_id, e.source_id into request;
    continue when not found;
    erased_events := erased_events + 1;
    request_ids := request_ids || request.request_id;
    source_ids := source_ids || request.source_id;
  end loop;
  select array_agg(x.request_id), array_agg(x.source_id) into request_ids, source_ids
  from (select distinct u.request_id, u.source_id from unnest(request_ids, source_ids) u (request_id, source_id)) x;
  return next ('tidings.event', erased_events)::tidings.erased;

  delete from tidings.message m where m.recipient = erase_recipient.recipient;
  get diagnostics n = row_count;
  return next ('tidings.message', n)::tidings.erased;
  delete from tidings.consent c where c.recipient = erase_recipient.recipient;
  get diagnostics n = row_count;
  return next ('tidings.consent', n)::tidings.erased;
  delete from tidings.subscriber b where b.recipient = erase_recipient.recipient;
  get diagnostics n = row_count;
  return next ('tidings.subscriber', n)::tidings.erased;

  -- The summary of a send request is computed again from the remaining events.
  update tidings.request_summary r set
    first_event_at = x.first_event_at, last_event_at = x.last_event_at,
    completed_at = (x.completed).at, completed_event_id = (x.completed).event_id,
    failed_at = (x.failed).at, failed_event_id = (x.failed).event_id,
    summary = (greatest(x.completed, x.failed)).value::jsonb
  from (
    select e.request_id, e.source_id, min(e.occurred_at) as first_event_at, max(e.occurred_at) as last_event_at,
      (array_agg(c.ended order by c.ended desc) filter (where e.kind = 'request.completed'))[1] as completed,
      (array_agg(c.ended order by c.ended desc) filter (where e.kind = 'request.failed'))[1] as failed
    from unnest(request_ids, source_ids) k (request_id, source_id)
    join lateral (
      select e.* from tidings.request_events(k.request_id) e
      offset 0  -- each request is looked up, rather than all events read
    ) e on e.source_id = k.source_id
    cross join lateral (
      select case when e.kind in ('request.completed', 'request.failed') then
        row(e.occurred_at, e.event_id, tidings._summary(e.provider, e.payload::text)::text)::tidings._latest
      end as ended
    ) c
    group by e.request_id, e.source_id
  ) x
  where r.request_id = x.request_id and r.source_id = x.source_id;
  delete from tidings.request_summary r
  using unnest(request_ids, source_ids) k (request_id, source_id)
  where r.request_id = k.request_id and r.source_id = k.source_id
    and not exists (select from tidings.request_events(k.request_id) e where e.source_id = k.source_id);
  get diagnostics n = row_count;
  return next ('tidings.request_summary', n)::tidings.erased;

  delete from tidings.rejected r
  where encode(r.body, 'escape') ~ tidings._json_pattern(erase_recipient.recipient);
  get diagnostics n = row_count;
  return next ('tidings.rejected', n)::tidings.erased;
end
$$;
comment on function erase_recipient(text) is
  'Removes a person: the events of this recipient, written exactly so; their state; and the rows of tidings.rejected that contain the text anywhere, also within a longer word, plain or in the escapes of JSON. Returns the number of removed rows. It does not find a recipient that is written differently (in another case, with spaces in the number, percent-encoded, in another Unicode form): call it for each form. Neither does it find payloads of other recipients'' events, or of events without a recipient, that mention the text. If a provider later sends an event again, the event is stored again. All events are read once; ingest waits only while those that were found are removed. SQLSTATE 22023 if the recipient is empty or null, 25001 in REPEATABLE READ and SERIALIZABLE, 25006 on a standby.';

revoke all on function
  report_refusal(text, timestamptz, text, jsonb, bytea, bigint),
  _first_receipt(jsonb, timestamptz, ulid), _join_items(text, text, bytea, int), _replay_batch(ulid[], ulid[], int), replay_rejected(text),
  _json_pattern(text), erase_recipient(text)
from public;
