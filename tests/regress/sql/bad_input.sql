-- Whatever comes in: an outcome with a reason, or an error with a SQLSTATE. Never an
-- internal error (XX000), never a lost connection.

\set SHOW_CONTEXT never

select tidings.add_source('chat', 'ppoppo') is not null
  and tidings.add_source('mail', 'pushwoosh', 'Bearer b') is not null
  and tidings.add_source('sms', 'arpoone', options => '{"url_token": "t"}') is not null
  and tidings.add_source('push', 'pushpushgo', 'key') is not null
  and tidings.add_source('open', 'pushpushgo', options => '{"allow_unauthenticated": true}') is not null as added;
select pg_backend_pid() as pid \gset

-- An event of each provider, good as it is; the parts of it that vary below are real.
create temp table good (provider, source, event) as values
  ('ppoppo', 'chat', '{"event_id": "01JABCDEF00000000000000001", "event_type": "RECIPIENT_DELIVERED", "send_request_id": "r", "recipient": {"ppnum": "1", "message_id": "m", "error_code": "e"}, "summary": {}, "occurred_at": "2024-10-19T10:00:00Z"}'),
  ('pushwoosh', 'mail', '{"event_name": "Push Sent", "timestamp": 1723799271, "message_code": "m", "message_id": 1, "hwid": "h", "user_id": "u", "platform": "iOS", "campaign_id": 1, "uuid": "u"}'),
  ('arpoone', 'sms', '{"MessageId": "m", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T11:34:56Z", "ReportDescription": "d", "Msisdn": "1", "TotalSegments": 1, "CustomPayload": "c"}'),
  ('pushpushgo', 'push', '{"kind": "transaction:message:clicked", "messageId": "m", "subscriberId": "p", "clickAction": 1, "ts": "2024-10-01T11:34:56Z", "reason": "r", "error": "e", "payload": {}}');
create function pg_temp.headers(body bytea) returns jsonb language sql as $$
  select jsonb_build_object('authorization', 'Bearer b', 'url-token', 't', 'x-ppg-signature', encode(tidings.hmac_sha1(body, 'key'), 'hex'))
$$;
create function pg_temp.sqlstate(statement text) returns text language plpgsql as $$
begin
  execute statement;
  return 'none';
exception when others then
  return sqlstate;
end $$;
-- What became of a body: the outcome, or the SQLSTATE; and the same of normalize.
create function pg_temp.outcome(source text, body bytea) returns text language plpgsql as $$
declare
  r tidings.receipt;
begin
  r := tidings.ingest(source, body, pg_temp.headers(body));
  return concat_ws(' ', r.verdict, nullif(r.inserted, 0) || ' in', nullif(r.duplicate, 0) || ' again', nullif(r.rejected, 0) || ' rejected:', left(r.detail, 90));
exception when others then
  return sqlstate || ' ' || left(sqlerrm, 90);
end $$;
create function pg_temp.normalized(provider text, body bytea) returns text language plpgsql as $$
declare
  answer text;
begin
  select count(*) || ' items, ' || count(error) || ' wrong' into answer from tidings.normalize(provider, body);
  return answer;
exception when others then
  return sqlstate || ' ' || left(sqlerrm, 90);
end $$;

select source, pg_temp.outcome(source, convert_to(event, 'UTF8')) from good order by source;

-- Bodies that are no JSON, or not of this form: the same for every provider.
create temp table body (n, what, bytes) as values
  (1, 'empty', ''::bytea),
  (2, 'white space', E' \n\t '),
  (3, 'a word', 'hello'),
  (4, 'half an object', '{"a": "b"'),
  (5, 'half a text', '{"a": "b'),
  (6, 'half an array', '[{}, {}'),
  (7, 'a comma too much', '[{},]'),
  (8, 'single quotes', $$ {'a': 1} $$),
  (9, 'something after', '{} x'),
  (10, 'a number', '7'),
  (11, 'a text', '"{}"'),
  (12, 'null', 'null'),
  (13, 'true', 'true'),
  (14, 'an empty array', '[]'),
  (15, 'an empty object', '{}'),
  (16, 'arrays in an array', '[[{}], []]'),
  (17, 'nothing but wrong types', '[1, "a", null, true, [], 1.5e3]'),
  (18, 'invalid UTF-8', '\x7b2261223a22ff227d'),
  (19, 'a UTF-8 surrogate', '\x7b2261223a22eda080227d'),
  (20, 'UTF-16', '\xfffe7b007d00'),
  (21, 'NUL', '\x00'),
  (22, 'NUL in a text', '\x7b2261223a2200227d'),
  (23, 'a form', 'a=1&b=2'),
  (24, 'XML', '<a/>'),
  (25, 'gzip', '\x1f8b0800000000000003'),
  (26, '100,000 open arrays', convert_to(repeat('[', 100000), 'UTF8')),
  (27, '100,000 arrays', convert_to(repeat('[', 100000) || repeat(']', 100000), 'UTF8')),
  (28, '100,000 objects', convert_to(repeat('{"a":', 100000) || '1' || repeat('}', 100000), 'UTF8')),
  (29, '10 MB of nothing', convert_to(repeat(' ', 10 << 20), 'UTF8')),
  (30, '10 MB of letters', convert_to(repeat('x', 10 << 20), 'UTF8')),
  (31, '10 MB of open arrays', convert_to(repeat('[', 10 << 20), 'UTF8')),
  (32, '10 MB in one text', convert_to('{"a": "' || repeat('x', 10 << 20) || '"}', 'UTF8')),
  (33, '1 MB of commas', convert_to('[' || repeat(',', 1 << 20) || ']', 'UTF8'));
select n, what, string_agg(distinct pg_temp.outcome(source, bytes) collate "C", ' | ') as outcomes
from body, good group by n, what order by n;
select n, what, string_agg(distinct pg_temp.normalized(provider, bytes) collate "C", ' | ') as normalized
from body, good group by n, what order by n;
-- More than is read at all.
select pg_temp.outcome('open', convert_to(repeat(' ', (64 << 20) + 1), 'UTF8'));

-- Values that Postgres cannot hold, in an item that is good otherwise: that item is
-- rejected, its neighbours are stored.
create temp table value (n, what, json) as values
  (1, 'U+0000', '"a\u0000b"'),
  (2, 'U+0000 in a name', '{"a\u0000b": 1}'),
  (3, 'a lone high surrogate', '"\ud800"'),
  (4, 'a lone low surrogate', '"\udc00x"'),
  (5, 'surrogates in the wrong order', '"\udc00\ud800"'),
  (6, '1e400', '1e400'),
  (7, '-1e400', '-1e400'),
  (8, '1e-99999', '1e-99999'),
  (9, '1e999999999999', '1e999999999999'),
  (10, 'a number of 100,000 digits', repeat('9', 100000)),
  (11, 'a fraction of 100,000 digits', '0.' || repeat('1', 100000)),
  (12, 'nested 1000 deep', repeat('[', 1000) || repeat(']', 1000)),
  (13, 'nested 100,000 deep', repeat('{"a":', 100000) || '1' || repeat('}', 100000));
select n, what, string_agg(distinct pg_temp.outcome(source, convert_to(
    format('[%s, {"extra": %s, %s]', event, json, substr(event, 2)), 'UTF8')) collate "C", E'\n') as outcomes
from value, good group by n, what order by n;

-- Values that it can: all of them are stored as they are.
select what, left(e.payload ->> 'extra', 60) as extra, error
from (values
    (1, 'a surrogate pair', '"\ud83d\ude00"'), (2, 'escapes', '"\"\\\/\b\f\n\r\t\u0001\u00e9"'), (3, 'beyond 2^64', '18446744073709551617'),
    (4, 'an exponent', '-1.5E+30'), (5, 'a small number', '1e-30'), (6, 'a backslash before u0000', '"\\u0000"'),
    (7, 'nested 100 deep', repeat('[', 100) || repeat(']', 100)), (8, 'a name twice', '1, "extra": 2')) v (n, what, json),
  lateral (select error, payload from tidings.normalize('arpoone', convert_to(
    format('{"MessageId": "m", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:34:56Z", "extra": %s}', json), 'UTF8'))) e
order by n;

-- Every field of every provider with every type that it has not: an outcome each time.
select provider, field, string_agg(distinct o.outcome collate "C", E'\n' order by o.outcome collate "C") as outcomes
from good, jsonb_object_keys(event::jsonb) field,
  unnest(array['null', 'true', '0', '-1', '1e300', '""', '"x"', '[]', '{}', '[{}]', '{"ppnum": []}', '{"message_id": {}}', '"9999-12-31T23:59:59.999999999Z"', '"10000-01-01T00:00:00Z"',
    '"-292278-01-01"', '99999999999999999999', '253402300799', '253402300800', '9223372036854775807', '"2024-02-30T00:00:00Z"', '"NaN"', '"infinity"']::jsonb[]) wrong,
  lateral (select case when error is null then 'event' else error end as outcome
           from tidings.normalize(provider, event::jsonb || jsonb_build_object(field, wrong))) o
group by provider, field order by provider, field collate "C";
-- None of them fails its batch when it is stored.
select source, verdict, inserted + duplicate + rejected = cardinality(items) as all_told
from (select source, array_agg(event::jsonb || jsonb_build_object(field, wrong)) as items
      from good, jsonb_object_keys(event::jsonb) field,
        unnest(array['null', 'true', '0', '-1', '1e300', '""', '"x"', '[]', '{}', '[{}]', '{"ppnum": []}', '"9999-12-31T23:59:59.999999999Z"', '"10000-01-01T00:00:00Z"',
          '99999999999999999999', '253402300799', '253402300800', '9223372036854775807']::jsonb[]) wrong
      group by source) i,
  lateral (select convert_to(to_jsonb(items)::text, 'UTF8') as body) b,
  lateral tidings.ingest(source, body, pg_temp.headers(body))
order by source;

-- Headers that are no headers. None of them opens a source, none of them is an error.
create temp table header (n, what, headers) as values
  (1, 'null', null::jsonb), (2, 'JSON null', 'null'), (3, 'a number', '7'), (4, 'a text', '"authorization"'), (5, 'an array', '["Bearer b"]'),
  (6, 'an object of objects', '{"authorization": {"value": "Bearer b"}, "url-token": {}, "x-ppg-signature": {}, "receipt-id": {}}'),
  (7, 'an object of numbers', '{"authorization": 1, "url-token": 2, "x-ppg-signature": 3, "receipt-id": 4}'),
  (8, 'a huge number', '{"x": 1e400}'), (9, 'a long number', ('{"x": ' || repeat('9', 1000) || '}')::jsonb),
  (10, 'nested 1000 deep', ('{"x": ' || repeat('[', 1000) || repeat(']', 1000) || '}')::jsonb),
  (11, '1 MB each', jsonb_build_object('authorization', repeat('x', 1 << 20), 'url-token', repeat('x', 1 << 20), 'x-ppg-signature', repeat('x', 1 << 20))),
  (12, 'empty names', '{"": "t"}');
select n, what, string_agg(distinct pg_temp.sqlstate(format('select tidings.verify(%L, %L, %L)', source, event, headers)), ' | ') as verify,
  string_agg(distinct pg_temp.sqlstate(format('select tidings.find_source(%L, %L)', provider, headers)), ' | ') as find_source,
  string_agg(distinct pg_temp.sqlstate(format('select tidings.ingest(%L, %L, %L)', source, event, headers)), ' | ') as ingest
from header, good group by n, what order by n;
select source, bool_or(tidings.verify(source, convert_to(event, 'UTF8'), headers)) as accepted from header, good group by source order by source;
-- Nor does one of them fail another's request, nor hide a right one beside it.
select verdict, count(*)
from (select array_agg('mail'::text) as sources, array_agg('[]'::bytea) as bodies, array_agg(headers order by n) || '{"authorization": "Bearer b"}'::jsonb as headers from header) h,
  tidings.ingest_batch(sources || 'mail'::text, bodies || '[]'::bytea, h.headers) group by verdict order by verdict;
select n, what, r.verdict
from header, lateral tidings.ingest('mail', '[]', headers || '{"authorization": "Bearer b"}') r
where jsonb_typeof(headers) = 'object' and n in (8, 9, 10) order by n;
-- Receipts that are none: the event is stored nevertheless.
select count(*) filter (where r.inserted = 1) as inserted, count(*)
from unnest(array['', '7', 'null', repeat('f', 32), repeat('f', 31), '7ZZZZZZZZZZZZZZZZZZZZZZZZZ', '80000000000000000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff',
    '00000000-0000-0000-0000-000000000000', '+' || repeat('1', 31), '-----', repeat('é', 16), repeat('x', 1000000)]) with ordinality i (receipt, n),
  lateral tidings.ingest('open', convert_to(format('{"kind": "subscriber:subscribe", "ppgId": "%s"}', n), 'UTF8'), jsonb_build_object('receipt-id', receipt)) r;

-- Options that are no options.
select n, what, pg_temp.sqlstate(format('select tidings.add_source(%L, %L, options => %L)', 'x', 'ppoppo', options)) as sqlstate
from (values (1, 'JSON null', 'null'::jsonb), (2, 'a number', '7'), (3, 'a huge number', '{"overlap": 1e400}'), (4, 'a long number', ('{"overlap": ' || repeat('9', 1000) || '}')::jsonb),
    (5, 'a fraction', '{"overlap": 1.5}'), (6, 'nested 1000 deep', ('{"overlap": ' || repeat('[', 1000) || repeat(']', 1000) || '}')::jsonb),
    (7, 'a name of 1 MB', jsonb_build_object(repeat('x', 1 << 20), 1)), (8, 'an empty name', '{"": 1}')) o (n, what, options)
order by n;

-- Names that are no names.
select left(name, 20) as name, r.verdict, left(r.detail, 40) as detail
from unnest(array['', ' ', 'MAIL', 'mail ', '%s', '''; drop table tidings.event; --', E'mail\nmail', '"', '\x00', 'é', repeat('x', 1000000), null]) with ordinality v (name, n),
  lateral tidings.ingest(name, '[]', '{"authorization": "Bearer b"}') r order by n;
select pg_temp.sqlstate(format('select %s', call)) as sqlstate, call
from unnest(array['tidings.verify(null, null, null)', 'tidings.stream_cursor(null)', 'tidings.stream_secret(null)', 'tidings.find_source(null, null)',
    'tidings.set_source_enabled(null, true)', 'tidings.drop_source(null)', 'tidings.rotate_secret(null, null)', 'tidings.add_source(null, null, null, null)',
    'tidings.ingest(null, null, null)', 'tidings.events_after(null, null, null, null)', 'tidings.events_after(source => null, kinds => null)',
    'tidings.normalize(null, null::bytea)', $$tidings.normalize('x', '{}'::bytea)$$, $$tidings.normalize('arpoone', '7'::jsonb)$$]) with ordinality c (call, n)
order by n;

-- Keys of 1000 bytes are indexed, however incompressible; longer ones cost their item.
select k.bytes, r.verdict, r.inserted, r.rejected, r.detail
from (values (1000), (1001), (3000)) k (bytes)
cross join lateral (select left(string_agg(encode(sha256(i::text::bytea), 'hex'), ''), k.bytes) as text from generate_series(1, 50) i) t
cross join lateral tidings.ingest('chat', convert_to(jsonb_build_object(
  'event_id', '01JABCDEF0000000000000' || k.bytes, 'event_type', 'RECIPIENT_DELIVERED', 'occurred_at', '2024-10-19T10:00:00Z',
  'send_request_id', t.text, 'recipient', jsonb_build_object('ppnum', t.text, 'message_id', t.text))::text, 'UTF8')) r
order by k.bytes;
select r.verdict, r.inserted, r.rejected, r.detail
from (select string_agg(encode(sha256(i::text::bytea), 'hex'), '') as text from generate_series(1, 2000) i) t
cross join lateral tidings.ingest('open', convert_to(jsonb_build_object(
  'kind', 'subscriber:update', 'ppgId', 'p', 'customId', t.text, 'projectId', t.text)::text, 'UTF8')) r;

-- ULIDs that are none.
select pg_temp.sqlstate(format('select %L::tidings.ulid', text)) as sqlstate, left(text, 30) as text
from unnest(array['', 'x', '8' || repeat('0', 25), repeat('Z', 26), repeat('0', 1000000), repeat('é', 13), repeat('é', 26), repeat('😀', 26), E'\n' || repeat('0', 25), '0u' || repeat('0', 24)]) with ordinality u (text, n)
order by n;

-- All that time it was one session, and it still answers.
select pg_backend_pid() = :pid as same_session;
select verdict, inserted + duplicate as stored from good, tidings.ingest(source, convert_to(event, 'UTF8'), pg_temp.headers(convert_to(event, 'UTF8'))) order by source;
select tidings.drop_source(name) from (select name from tidings.source where name in ('chat', 'mail', 'sms', 'push', 'open', 'x')) s;
