-- tidings.rejected: what could not be taken as an event is kept, with its reason, within
-- a bound.

\set SHOW_CONTEXT never
set timezone to 'UTC';
set datestyle to 'ISO, YMD';

select tidings.add_source('mail', 'pushwoosh', 'Bearer b') is not null
  and tidings.add_source('sms', 'arpoone', 't') is not null
  and tidings.add_source('off', 'arpoone', 't') is not null as added;
select tidings.set_source_enabled('off', false);
create temp view kept as
select s.name as source, r.verdict, r.reason, r.ordinal, r.headers, r.body, r.body_bytes, r.received_at, r.id
from tidings.rejected r join tidings.source s on s.id = r.source_id;

-- What fails its source's policy: the whole request, with its headers.
select verdict from tidings.ingest('mail', '{"event_name": "Push Sent", "timestamp": 1}', '{"authorization": "Bearer wrong", "x": "y"}');
-- What cannot be cut into items: without the header that let it pass.
select verdict, detail from tidings.ingest('mail', '{"event_name": "Push', '{"authorization": "Bearer b"}');
select verdict, detail from tidings.ingest('mail', '', '{"authorization": "Bearer b"}');
select verdict, detail from tidings.ingest('mail', '"Push Sent"', '{"authorization": "Bearer b"}');
select verdict, detail from tidings.ingest('mail', null, '{"authorization": "Bearer b"}');
-- Items that are no events, at their places; the others are stored.
select verdict, inserted, rejected, detail
from tidings.ingest('mail', '[{"event_name": "Push Sent", "timestamp": "soon"},  {"event_name": "Push Sent", "timestamp": 1723799271} , [ 1 ]]',
  '{"authorization": "Bearer b", "receipt-id": "01924798-9e38-7000-8000-0123456789ab"}');
select source, verdict, reason, ordinal, headers - 'receipt-id' as headers, convert_from(body, 'UTF8') as body, body_bytes
from kept order by id;
-- When the request arrived: the time of its receipt, where it had one.
select verdict, count(*), count(*) filter (where received_at = '2024-10-01 10:20:37.304Z') as at_receipt,
  bool_and(received_at <= clock_timestamp() and received_at >= '2024-10-01') as plausible
from kept group by verdict order by verdict;

-- Neither an unknown source nor a stopped one keeps anything.
select verdict from tidings.ingest('nope', '7');
select verdict from tidings.ingest('off', '7');
select source, count(*) from kept group by 1 order by 1;

-- Nor does what is rolled back.
begin;
select verdict from tidings.ingest('mail', '7', '{"authorization": "Bearer b"}');
rollback;
select count(*) from kept where source = 'mail' and verdict = 'malformed';

-- The bound: for each source and verdict the newest 1000.
select inserted, rejected from tidings.ingest('sms', (select ('[' || string_agg(n::text, ',' order by n) || ']')::bytea from generate_series(1, 1005) n), '{"url-token": "t"}');
select count(*), min(ordinal), max(ordinal), min(convert_from(body, 'UTF8')::int) from kept where source = 'sms' and verdict = 'item';
select inserted, rejected from tidings.ingest('sms', '["newer"]', '{"url-token": "t"}');
select count(*), min(ordinal) filter (where ordinal > 1), max(ordinal) filter (where ordinal > 1) from kept where source = 'sms' and verdict = 'item';
-- Whoever sends what is not authorized pushes nothing else out.
select count(*) filter (where verdict = 'unauthorized')
from tidings.ingest_batch(array_fill('sms'::text, array[1100]), array_fill('x'::bytea, array[1100]), array_fill('{}'::jsonb, array[1100]));
select source, verdict, count(*) from kept group by 1, 2 order by 1, 2;

-- And of those the newest 16 MB, headers included. Of a long body the beginning is kept, 1 MB of it.
select verdict, detail from tidings.ingest('sms', convert_to(repeat('x', 1 << 20) || 'yz', 'UTF8'), '{"url-token": "t"}');
select octet_length(body), body_bytes, convert_from(substr(body, octet_length(body)), 'UTF8') as ends_with from kept where source = 'sms' and verdict = 'malformed';
select count(*) from generate_series(1, 19) n,
  lateral tidings.ingest('sms', convert_to(repeat('x', (1 << 20) + n), 'UTF8'), '{"url-token": "t"}');
select count(*), sum(octet_length(body)) <= 16 << 20 as within, min(body_bytes) - (1 << 20) as oldest, max(body_bytes) - (1 << 20) as newest
from kept where source = 'sms' and verdict = 'malformed';
select source, verdict, count(*) from kept group by 1, 2 order by 1, 2;

select tidings.drop_source('mail'), tidings.drop_source('sms'), tidings.drop_source('off');
select count(*) from tidings.rejected;
