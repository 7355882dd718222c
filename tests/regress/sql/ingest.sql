-- tidings.ingest and tidings.ingest_batch: bytes in, events out, each once, and for each
-- request what became of it.

\set SHOW_CONTEXT never
set timezone to 'UTC';
set datestyle to 'ISO, YMD';

select tidings.add_source('sms', 'arpoone', 't') is not null
  and tidings.add_source('mail', 'pushwoosh', 'Bearer b') is not null
  and tidings.add_source('push', 'pushpushgo', options => '{"allow_unauthenticated": true}') is not null
  and tidings.add_source('off', 'arpoone', 't') is not null as added;
select tidings.set_source_enabled('off', false);

create temp view stored as
select s.name as source, e.* from tidings.event e join tidings.source s on s.id = e.source_id;

-- One request.
select * from tidings.ingest('sms', '[{"MessageId": "m1", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:34:56Z"},
  {"MessageId": "m1", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T11:34:58Z"}]', '{"url-token": "t"}');
select source, kind, provider_kind, channel, message_id, occurred_at, payload, received_at between now() - interval '1 minute' and clock_timestamp() as received_now
from stored where source = 'sms' order by id;

-- Many in one statement. Each has its own outcome, by its place: one bad request fails
-- no other, and neither does one bad item.
select ordinal, verdict, inserted, duplicate, rejected, detail
from tidings.ingest_batch(
  array['sms', 'mail', 'sms', 'nope', 'off', null, 'mail', 'mail', 'sms', 'sms', 'push'],
  array[
    '[{"MessageId": "m1", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T11:34:58Z"}, {"MessageId": "m2", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T11:35:00Z"}]',
    '{"event_name": "Push Sent", "timestamp": 1723799271}',
    '[{"MessageId": "m3"}, 7, {"MessageId": "m3", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T11:36:00Z"}, null, [], "x"]',
    '{}', '{}', '{}',
    'not JSON',
    null,
    '[]',
    '[{"MessageId": "m1", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T11:34:58Z"}]',
    '{"kind": "subscriber:update", "ppgId": "p"}'
  ]::bytea[],
  array[
    '{"url-token": "t"}', '{"authorization": "Bearer b"}', '{"url-token": "t"}', '{}', '{"url-token": "t"}', '{}',
    '{"authorization": "Bearer b"}', '{"authorization": "Bearer b"}', '{"url-token": "t"}', '{"url-token": "wrong"}', null
  ]::jsonb[]);

-- In the log they stand in the order of the requests, and of the items in each.
select row_number() over (order by id) as position, source, message_id, recipient from stored order by id;

-- The same request again stores nothing: every event meets itself.
select verdict, inserted, duplicate, rejected, detail
from tidings.ingest('sms', '[{"MessageId": "m3"}, 7, {"MessageId": "m3", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T11:36:00Z"}]', '{"url-token": "t"}');

-- Equal events in one batch, in one request and in two of them: the first stays.
select ordinal, verdict, inserted, duplicate, rejected
from tidings.ingest_batch(array['sms', 'sms'], array[
    '[{"MessageId": "m4", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:40:00Z"}, {"MessageId": "m4", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:40:00Z"}]',
    '[{"MessageId": "m4", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:40:00Z"}, {"MessageId": "m5", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:40:00Z"}]'
  ]::bytea[], array['{"url-token": "t"}', '{"url-token": "t"}']::jsonb[]);
select message_id, count(*) from stored where source = 'sms' group by 1 order by 1;

-- Two equal Pushwoosh items of one request are two events, and stay two when the request
-- is repeated, even in one batch.
\set twice '[{"event_name": "Push Opened", "hwid": "h", "timestamp": 1723799300}, {"event_name": "Push Opened", "hwid": "h", "timestamp": 1723799300}]'
select ordinal, verdict, inserted, duplicate, rejected
from tidings.ingest_batch(array['mail', 'mail'], array[:'twice', :'twice']::bytea[],
  array['{"authorization": "Bearer b"}', '{"authorization": "Bearer b"}']::jsonb[]);
select verdict, inserted, duplicate, rejected from tidings.ingest('mail', :'twice', '{"authorization": "Bearer b"}');
select count(*), count(distinct event_id) from stored where source = 'mail' and recipient = 'h';

-- Any order gives the same: two requests in one order, and in the other.
select tidings.add_source('sms-forth', 'arpoone', 't') is not null and tidings.add_source('sms-back', 'arpoone', 't') is not null as added;
select source, sum(inserted) as inserted, sum(duplicate) as duplicate
from (values ('sms-forth', 1), ('sms-back', -1)) o (source, direction),
  lateral (select array_agg(convert_to(format('[{"MessageId": "%s", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:40:00Z"}]', n % 60), 'UTF8') order by n * direction) as bodies
           from generate_series(1, 100) n) b,
  lateral tidings.ingest_batch(array_fill(source, array[100]), bodies, array_fill('{"url-token": "t"}'::jsonb, array[100])) r
group by 1 order by 1;
select count(*) from
  (select message_id, kind, occurred_at from stored where source = 'sms-forth'
   intersect select message_id, kind, occurred_at from stored where source = 'sms-back') same;

-- An event that has neither an id nor a time is identified by its receipt: the worker
-- gives each request one, a UUID of version 7 (or a ULID), and may repeat the request.
\set subscribed '{"kind": "subscriber:subscribe", "ppgId": "p1"}'
\set receipt '{"receipt-id": "01924798-9e38-7000-8000-0123456789ab"}'
select inserted, duplicate from tidings.ingest('push', :'subscribed', :'receipt');
select inserted, duplicate from tidings.ingest('push', :'subscribed', :'receipt');
select event_id, occurred_at, received_at from stored where recipient = 'p1';
-- The place in the request counts.
\set receipt '{"receipt-id": "01924798-9e38-7000-8000-0123456789ac"}'
select inserted, duplicate from tidings.ingest('push', '[{"kind": "subscriber:subscribe", "ppgId": "p2"}, {"kind": "subscriber:subscribe", "ppgId": "p2"}]', :'receipt');
select inserted, duplicate from tidings.ingest('push', '[{"kind": "subscriber:subscribe", "ppgId": "p2"}, {"kind": "subscriber:subscribe", "ppgId": "p2"}]', :'receipt');
-- Another receipt is another event.
select inserted, duplicate from tidings.ingest('push', :'subscribed', '{"receipt-id": "01924798-9e38-7000-8000-0123456789ad"}');
-- Without one, or with one that cannot be read, each request is an event.
select inserted, duplicate from tidings.ingest('push', :'subscribed');
select inserted, duplicate from tidings.ingest('push', :'subscribed', '{"receipt-id": "7"}');
select count(*), count(distinct event_id) from stored where recipient = 'p1';
-- A receipt's time is received_at, whatever the event.
select inserted from tidings.ingest('sms', '[{"MessageId": "m6", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:40:00Z"}]',
  '{"url-token": "t", "receipt-id": "01924798-9e38-7000-8000-0123456789ab"}');
select occurred_at, received_at from stored where message_id = 'm6';

-- Nothing in, nothing out.
select * from tidings.ingest_batch('{}', '{}', '{}');
-- Arrays of different lengths are an error, and so is none.
select * from tidings.ingest_batch('{sms,sms}', array['{}']::bytea[], array['{}', '{}']::jsonb[]);
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select * from tidings.ingest_batch('{sms}', array['{}']::bytea[], '{}');
select * from tidings.ingest_batch(null, null, null);

-- It is one transaction with whatever else is in it.
begin;
select inserted from tidings.ingest('sms', '[{"MessageId": "m7", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:40:00Z"}]', '{"url-token": "t"}');
select count(*) from stored where message_id = 'm7';
rollback;
select count(*) from stored where message_id = 'm7';

-- While it holds readers back, a transaction may not idle for long; a shorter limit stays.
begin;
select inserted from tidings.ingest('sms', '[]', '{"url-token": "t"}');
show idle_in_transaction_session_timeout;
commit;
show idle_in_transaction_session_timeout;
begin;
set local idle_in_transaction_session_timeout = '3s';
select inserted from tidings.ingest('sms', '[]', '{"url-token": "t"}');
show idle_in_transaction_session_timeout;
commit;

-- Ingest notifies nobody, because all transactions that notify commit one after another.
-- tidings.wake() does, unless tidings.notify is off.
create function pg_temp.new_state(message_id text) returns bytea language sql as $$
  select convert_to(format('[{"MessageId": "%s", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:40:00Z"}]', message_id), 'UTF8')
$$;
\o results/notified.txt
listen tidings;
select tidings.ingest('sms', pg_temp.new_state('m8'), '{"url-token": "t"}');
\o
\! grep -c 'Asynchronous notification "tidings"' results/notified.txt
\o results/notified.txt
select tidings.wake();
set tidings.notify to off;
select tidings.wake();
reset tidings.notify;
-- Nor is anybody notified where the queue of notifications is half full: a full one would let
-- nobody commit who notifies.
begin;
alter function pg_catalog.pg_notification_queue_usage() rename to regress_queue_usage;
create function pg_catalog.pg_notification_queue_usage() returns float8 language sql as 'select 0.5::float8';
discard plans;
select tidings.wake();
drop function pg_catalog.pg_notification_queue_usage();
alter function pg_catalog.regress_queue_usage() rename to pg_notification_queue_usage;
commit;
unlisten tidings;
\o
\! grep -c 'Asynchronous notification "tidings"' results/notified.txt; rm results/notified.txt

select tidings.drop_source(name) from tidings.source order by id;
