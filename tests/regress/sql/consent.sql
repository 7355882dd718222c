-- Messages that wait for the consent of their recipient, what the consent came to, and send
-- requests that ended before.

\set SHOW_CONTEXT never
set timezone to 'UTC';
set datestyle to 'ISO, YMD';

select tidings.add_source('co-chat', 'ppoppo') is not null and tidings.add_source('co-page', 'ppoppo') is not null as added;
-- An event of the contract: the recipient's entry has been created by its request, at
-- "created"; and the provider's answer to a question about it.
create function pg_temp.at(second int) returns text language sql as $$ select format('2024-10-01T12:00:%sZ', to_char(second, 'FM00')) $$;
create function pg_temp.chat(n int, event text, request text, recipient text, created int, second int, code text default null) returns text language sql as $$
  select verdict || ' ' || inserted from tidings.ingest('co-chat', convert_to(jsonb_build_object('event_id', format('01JABCDEF000000000000C0%s', to_char(n, 'FM000')),
    'event_type', 'SEND_REQUEST_EVENT_TYPE_' || event, 'send_request_id', request, 'occurred_at', pg_temp.at(second),
    'recipient', jsonb_strip_nulls(jsonb_build_object('ppnum', recipient, 'error_code', code, 'created_at', pg_temp.at(created))))::text, 'UTF8'))
$$;
create function pg_temp.answer(status text, request text, recipient text, created int, code text default null) returns text language sql as $$
  select verdict || ' ' || inserted from tidings.ingest('co-chat', convert_to(jsonb_build_object('reconciled', true, 'send_request_id', request,
    'recipient', jsonb_strip_nulls(jsonb_build_object('ppnum', recipient, 'status', status, 'error_code', code, 'created_at', pg_temp.at(created))))::text, 'UTF8'))
$$;
create function pg_temp.ended(n int, event text, request text, second int, summary jsonb) returns text language sql as $$
  select verdict || ' ' || inserted from tidings.ingest('co-chat', convert_to(jsonb_build_object('event_id', format('01JABCDEF000000000000C0%s', to_char(n, 'FM000')),
    'event_type', event, 'send_request_id', request, 'occurred_at', pg_temp.at(second), 'summary', summary)::text, 'UTF8'))
$$;
create view pg_temp.message as
  select m.message_key as request, m.recipient, m.status, m.error_code as code, to_char(m.status_at, 'MI:SS') as at,
    to_char(m.consent_requested_at, 'MI:SS') as requested, to_char(m.delivered_at, 'MI:SS') as delivered
  from tidings.message m join tidings.source s on s.id = m.source_id and s.name = 'co-chat';
create view pg_temp.consent as
  select c.recipient, c.status, to_char(c.status_at, 'MI:SS') as at, to_char(c.requested_at, 'MI:SS') as requested, to_char(c.granted_at, 'MI:SS') as granted,
    to_char(c.denied_at, 'MI:SS') as denied, to_char(c.expired_at, 'MI:SS') as expired, to_char(c.asked_at, 'MI:SS') as asked
  from tidings.consent c join tidings.source s on s.id = c.source_id and s.name = 'co-chat';

-- A message waits until its recipient consents. A delivery is all that says so.
select pg_temp.chat(1, 'RECIPIENT_PENDING_CONSENT', 'q1', 'ana', 10, 11);
select * from pg_temp.message; select * from pg_temp.consent;
select pg_temp.chat(2, 'RECIPIENT_DELIVERED', 'q1', 'ana', 10, 20);
select * from pg_temp.message; select * from pg_temp.consent;
select e.kind from tidings.consent c join tidings.event e on e.event_id = c.status_event_id where c.recipient = 'ana';
-- Whichever comes first. A message that never waited says nothing.
select pg_temp.chat(3, 'RECIPIENT_DELIVERED', 'q1', 'bob', 10, 20), pg_temp.chat(4, 'RECIPIENT_DELIVERED', 'q1', 'eve', 10, 20);
select pg_temp.chat(5, 'RECIPIENT_PENDING_CONSENT', 'q1', 'bob', 10, 11);
-- A refusal, and no answer within the provider's time, are the end of the message.
select pg_temp.chat(6, 'RECIPIENT_PENDING_CONSENT', 'q1', 'ria', 10, 11), pg_temp.chat(7, 'RECIPIENT_FAILED', 'q1', 'ria', 10, 21, 'consent_denied');
select pg_temp.chat(8, 'RECIPIENT_FAILED', 'q1', 'zoe', 10, 22, 'consent_expired'), pg_temp.chat(9, 'RECIPIENT_PENDING_CONSENT', 'q1', 'zoe', 10, 11);
select * from pg_temp.message where recipient <> 'ana' order by recipient;
select * from pg_temp.consent where recipient <> 'ana' order by recipient;

-- An answer is dated before the events, and an outcome still overrules the asking. The event
-- itself, when it comes late, says when.
select pg_temp.chat(10, 'RECIPIENT_PENDING_CONSENT', 'q2', 'kim', 10, 11), pg_temp.answer('FAILED', 'q2', 'kim', 10, 'consent_denied');
select * from pg_temp.message where recipient = 'kim'; select * from pg_temp.consent where recipient = 'kim';
select pg_temp.chat(11, 'RECIPIENT_FAILED', 'q2', 'kim', 10, 25, 'consent_denied');
select * from pg_temp.message where recipient = 'kim'; select * from pg_temp.consent where recipient = 'kim';
select pg_temp.chat(12, 'RECIPIENT_PENDING_CONSENT', 'q2', 'lea', 10, 11), pg_temp.answer('DELIVERED', 'q2', 'lea', 10);
select * from pg_temp.message where recipient = 'lea'; select * from pg_temp.consent where recipient = 'lea';
select pg_temp.chat(13, 'RECIPIENT_DELIVERED', 'q2', 'lea', 10, 26);
select * from pg_temp.message where recipient = 'lea'; select * from pg_temp.consent where recipient = 'lea';
-- Asked twice, it is said once.
select pg_temp.answer('DELIVERED', 'q2', 'lea', 10), pg_temp.answer('PENDING_CONSENT', 'q2', 'lea', 10);
select * from pg_temp.message where recipient = 'lea'; select * from pg_temp.consent where recipient = 'lea';

-- What comes of an older request, an event or an answer, does not overrule a newer one.
select pg_temp.chat(14, 'RECIPIENT_PENDING_CONSENT', 'q3', 'max', 10, 11), pg_temp.chat(15, 'RECIPIENT_PENDING_CONSENT', 'q4', 'max', 30, 31);
select pg_temp.chat(16, 'RECIPIENT_FAILED', 'q3', 'max', 10, 40, 'consent_expired');
select pg_temp.answer('DELIVERED', 'q3', 'max', 10);
select * from pg_temp.message where recipient = 'max' order by 1; select * from pg_temp.consent where recipient = 'max';
select pg_temp.chat(17, 'RECIPIENT_FAILED', 'q4', 'max', 30, 35, 'consent_denied');
select * from pg_temp.consent where recipient = 'max';

-- The provider's page has events of their own, and no time of asking: the later one counts.
select inserted from tidings.ingest('co-page', '[
  {"event_id": "01JABCDEF000000000000C0101", "event_type": "CONSENT_DENIED", "send_request_id": "p1", "recipient": {"ppnum": "ana"}, "occurred_at": "2024-10-01T12:00:12Z"},
  {"event_id": "01JABCDEF000000000000C0102", "event_type": "RECIPIENT_PENDING_CONSENT", "send_request_id": "p1", "recipient": {"ppnum": "ana"}, "occurred_at": "2024-10-01T12:00:11Z"},
  {"event_id": "01JABCDEF000000000000C0103", "event_type": "RECIPIENT_DELIVERED", "send_request_id": "p1", "recipient": {"ppnum": "ana"}, "occurred_at": "2024-10-01T12:00:13Z"},
  {"event_id": "01JABCDEF000000000000C0104", "event_type": "CONSENT_GRANTED", "send_request_id": "p1", "recipient": {"ppnum": "bob"}, "occurred_at": "2024-10-01T12:00:13Z"},
  {"event_id": "01JABCDEF000000000000C0105", "event_type": "CONSENT_DENIED", "recipient": {"ppnum": "eve"}, "occurred_at": "2024-10-01T12:00:13Z"}]');
select c.recipient, c.status, c.status_at, c.asked_at = c.status_at as by_time from tidings.consent c join tidings.source s on s.id = c.source_id and s.name = 'co-page' order by 1;
select m.message_key, m.recipient, m.status, m.final_conflict from tidings.message m join tidings.source s on s.id = m.source_id and s.name = 'co-page' order by 1, 2;

-- A row of 0.4.0, in a database that was restored from its dump, does not say when the
-- recipient was asked. An outcome overrules it, and an older request does not.
insert into tidings.consent (recipient, source_id, provider, status, status_at, status_event_id, requested_at)
select 'old-' || n, s.id, s.provider, status, '2024-10-01T12:00:11Z', '01JABCDEF000000000000C0200', '2024-10-01T12:00:11Z'
from tidings.source s, (values (1, 'consent.requested'), (2, 'consent.granted'), (3, 'consent.granted')) v (n, status) where s.name = 'co-chat';
select pg_temp.chat(21, 'RECIPIENT_FAILED', 'q5', 'old-1', 10, 20, 'consent_denied'), pg_temp.chat(22, 'RECIPIENT_PENDING_CONSENT', 'q5', 'old-2', 9, 10),
  pg_temp.chat(23, 'RECIPIENT_PENDING_CONSENT', 'q5', 'old-3', 12, 13);
select * from pg_temp.consent where recipient like 'old-%' order by 1;

-- A request that failed has ended, too. What it never processed stays pending for ever, and
-- is told apart from who waits for consent.
create view pg_temp.request as
  select request_id as request, to_char(completed_at, 'MI:SS') as completed, to_char(failed_at, 'MI:SS') as failed_at, total_recipients as total,
    delivered, seen_delivered as seen, delivered_difference as diff, failed, seen_failed, failed_difference as failed_diff, pending_consent as pending, seen_held, seen_unfinished as unfinished, unprocessed
  from tidings.request r join tidings.source s on s.id = r.source_id and s.name = 'co-chat';
select pg_temp.ended(30, 'REQUEST_FAILED', 'q2', 30, '{"total_recipients": 10, "delivered": 1, "pending_consent": 2, "failed": 1}');
select pg_temp.answer('PENDING', 'q2', 'tom', 10);
select * from pg_temp.request where request = 'q2';
select request_id, unfinished from tidings.requests_to_reconcile('co-chat') where request_id in ('q1', 'q2');
-- Counts of 0 are left out where all recipients are counted, and only there.
select pg_temp.ended(31, 'REQUEST_FAILED', 'q6', 30, '{"total_recipients": 4, "delivered": 1}'), pg_temp.ended(32, 'REQUEST_FAILED', 'q7', 30, '{"delivered": 1}'), pg_temp.ended(33, 'REQUEST_FAILED', 'q8', 30, null);
select * from pg_temp.request where request > 'q5' order by 1;

-- Who waited for consent when a request ended is delivered or fails afterwards: that is no
-- difference, up to their number.
select pg_temp.ended(34, 'REQUEST_COMPLETED', 'q1', 12, '{"total_recipients": 5, "delivered": 1, "pending_consent": 4}');
select * from pg_temp.request where request = 'q1';
select pg_temp.chat(35, 'RECIPIENT_DELIVERED', 'q1', 'one-too-many', 10, 25);
select * from pg_temp.request where request = 'q1';
-- The newest summary counts, also of an answer, and another answer with other counts.
select inserted from tidings.ingest('co-chat', '{"reconciled": true, "send_request_id": "q1", "summary": {"status": "COMPLETED", "total_recipients": 5, "delivered": 2, "pending_consent": 2, "failed": 1}}');
select inserted, duplicate from tidings.ingest('co-chat', '[
  {"reconciled": true, "send_request_id": "q1", "summary": {"status": "COMPLETED", "total_recipients": 5, "delivered": 2, "pending_consent": 2, "failed": 1}},
  {"reconciled": true, "send_request_id": "q1", "summary": {"status": "COMPLETED", "total_recipients": 5, "delivered": 4, "failed": 2}}]');
select total, delivered, diff, failed, failed_diff, pending from pg_temp.request where request = 'q1';

-- The events alone give the same.
create temp view state as
  select t.of, t.row from (
    select source_id, 'message' as of, to_jsonb(t) as row from tidings.message t where recipient not like 'old-%'
    union all select source_id, 'consent', to_jsonb(t) from tidings.consent t where recipient not like 'old-%'
    union all select source_id, 'request_summary', to_jsonb(t) from tidings.request_summary t
  ) t join tidings.source s on s.id = t.source_id and s.name like 'co-%';
create temp table before as table state;
select count(*) > 0 as rebuilt from tidings.rebuild_state();
(table before except all table state) union all (table state except all table before);

select count(tidings.drop_source(name)) from tidings.source where name like 'co-%';
