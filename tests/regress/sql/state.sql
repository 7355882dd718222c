-- The state tables: what the events add up to. That it does not matter in which order
-- they arrive, in which batches and from how many sessions, is tested at random in
-- tests/e2e; here is what the rows mean.

\set SHOW_CONTEXT never
set timezone to 'UTC';
set datestyle to 'ISO, YMD';

select tidings.add_source('st-chat', 'ppoppo', 'token', '{"endpoint": "https://api.ppoppo.com/ext"}') is not null
  and tidings.add_source('st-sms', 'arpoone', options => '{"allow_unauthenticated": true}') is not null
  and tidings.add_source('st-mail', 'pushwoosh', options => '{"allow_unauthenticated": true}') is not null
  and tidings.add_source('st-push', 'pushpushgo', options => '{"allow_unauthenticated": true}') is not null as added;

-- Short ways to say that a state came, and what is known of a message.
create function pg_temp.sms(message text, status text, second numeric, more jsonb default '{}') returns text language sql as $$
  select verdict || ' ' || inserted from tidings.ingest('st-sms', convert_to((jsonb_build_object('MessageId', message, 'Status', status,
    'Msisdn', '351913462111', 'ReportDateTime', format('2024-10-01T12:00:%sZ', to_char(second, 'FM00.000'))) || more)::text, 'UTF8'))
$$;
create function pg_temp.mail(message text, event text, second int, more jsonb default '{}') returns text language sql as $$
  select verdict || ' ' || inserted from tidings.ingest('st-mail', convert_to((jsonb_build_object('message_code', message, 'event_name', event,
    'hwid', 'a@example.org', 'platform', 'Email', 'campaign_id', '9', 'timestamp', 1727784000 + second) || more)::text, 'UTF8'))
$$;
create function pg_temp.chat(n int, event text, request text, recipient jsonb, second int, more jsonb default '{}') returns text language sql as $$
  select verdict || ' ' || inserted from tidings.ingest('st-chat', convert_to((jsonb_build_object('event_id', format('01JABCDEF00000000000000%s', to_char(n, 'FM000')),
    'event_type', event, 'send_request_id', request, 'recipient', recipient, 'occurred_at', format('2024-10-01T12:00:%sZ', to_char(second, 'FM00'))) || more)::text, 'UTF8'))
$$;
-- Subscriber events have no time of their own: their receipt has it.
create function pg_temp.push(event text, subscriber text, second int, more jsonb default '{}') returns text language sql as $$
  select verdict || ' ' || inserted from tidings.ingest('st-push', convert_to((jsonb_build_object('kind', 'subscriber:' || event, 'ppgId', subscriber) || more)::text, 'UTF8'),
    jsonb_build_object('receipt-id', tidings.ulid_at('2024-10-01T12:00:00Z'::timestamptz + second * interval '1 s')))
$$;
create view pg_temp.status as
  select m.message_key, m.status, m.is_final, to_char(m.status_at, 'MI:SS') as at, m.reason, m.final_conflict as conflict,
    to_char(m.first_event_at, 'MI:SS') as first, to_char(m.last_event_at, 'MI:SS') as last
  from tidings.message m join tidings.source s on s.id = m.source_id and s.name like 'st-%';

-- Where is this message? PENDING arrives after DELIVERED, and even says a later time: it
-- was delivered.
select pg_temp.sms('m-late', 'DELIVERED', 2, '{"ReportDescription": "to the handset"}');
select pg_temp.sms('m-late', 'PENDING', 1), pg_temp.sms('m-late', 'PENDING', 3);
select * from pg_temp.status where message_key = 'm-late';
-- Among states that are not final, the later one counts; at the same time, the further.
select pg_temp.mail('m-way', 'message_sent', 2), pg_temp.mail('m-way', 'message_accepted', 1);
select * from pg_temp.status where message_key = 'm-way';
select pg_temp.mail('m-way', 'message_pending', 2), pg_temp.mail('m-way', 'message_accepted', 2);
select * from pg_temp.status where message_key = 'm-way';
select pg_temp.mail('m-way', 'message_accepted', 4);
select * from pg_temp.status where message_key = 'm-way';

-- Two different finals are a conflict: the later one counts, in either order of arrival.
select pg_temp.sms('m-both', 'DELIVERED', 2), pg_temp.sms('m-both', 'NOT_DELIVERED', 1, '{"ReportDescription": "absent"}');
select pg_temp.sms('m-both-too', 'NOT_DELIVERED', 3, '{"ReportDescription": "absent"}'), pg_temp.sms('m-both-too', 'DELIVERED', 2);
-- At the same time the rank decides. The same final twice is no conflict.
select pg_temp.mail('m-tie', 'message_bounced', 5), pg_temp.mail('m-tie', 'message_delivered', 5);
select pg_temp.sms('m-twice', 'DELIVERED', 2), pg_temp.sms('m-twice', 'DELIVERED', 3);
select * from pg_temp.status where message_key in ('m-both', 'm-both-too', 'm-tie', 'm-twice') order by 1;
select message_key, least_final, greatest_final from tidings.message where message_key in ('m-both', 'm-twice') order by 1;
-- Of equal time and rank, that of the event with the greater id.
select pg_temp.sms('m-equal', 'NOT_DELIVERED', 2, '{"ReportDescription": "a"}'), pg_temp.sms('m-equal', 'NOT_DELIVERED', 2, '{"ReportDescription": "b"}');
select m.status_event_id = max(e.event_id) as by_id, m.reason = (array_agg(e.reason order by e.event_id desc))[1] as its_reason
from tidings.message m join tidings.event e on e.message_id = m.message_key where m.message_key = 'm-equal' group by m.message_key, m.recipient, m.source_id;

-- Every rank there is. What has none is no status.
select k.kind, tidings._rank(k.kind) as rank
from unnest(array['message.accepted', 'message.sent', 'message.pending', 'message.delivered', 'message.failed', 'message.rejected',
  'message.expired', 'message.bounced', 'message.opened', 'message.clicked', 'message.complained', 'message.unsubscribed', 'other', null]) with ordinality k (kind, n)
order by n;

-- Opens and clicks are counted beside the status, and change nothing of it. A message of
-- which only these are known has none.
select pg_temp.mail('m-read', 'message_opened', 9), pg_temp.mail('m-read', 'message_opened', 7), pg_temp.mail('m-read', 'message_clicked', 8), pg_temp.mail('m-read', 'message_complained', 9);
select status, is_final, status_at, opens, first_opened_at, clicks, first_clicked_at, first_event_at, last_event_at
from tidings.message where message_key = 'm-read';
select pg_temp.mail('m-read', 'message_delivered', 6), pg_temp.mail('m-read', 'message_opened', 5);
select status, is_final, status_at, opens, first_opened_at, clicks, first_clicked_at, first_event_at, last_event_at
from tidings.message where message_key = 'm-read';
select recipient, provider, message_id, request_id, channel, campaign from tidings.message where message_key = 'm-read';

-- A message is told by its request where there is one, for Ppoppo names no other id in
-- most events; each recipient has a row. One without a recipient has an empty one.
select pg_temp.chat(1, 'RECIPIENT_DELIVERED', 'q-1', '{"ppnum": "12300000001"}', 10), pg_temp.chat(2, 'RECIPIENT_FAILED', 'q-1', '{"ppnum": "12300000002", "error_code": "E1"}', 11);
select pg_temp.chat(3, 'RECIPIENT_DELIVERED', 'q-1', '{"ppnum": "12300000001", "message_id": "m-1"}', 12), pg_temp.chat(4, 'RECIPIENT_DELIVERED', null, '{"ppnum": "12300000001", "message_id": "m-2"}', 12);
select pg_temp.chat(5, 'RECIPIENT_DELIVERED', 'q-1', null, 13);
-- Of what names neither, nothing can be said; the event is there.
select pg_temp.chat(6, 'RECIPIENT_DELIVERED', null, '{"ppnum": "12300000003"}', 14);
select message_key, recipient, message_id, request_id, status, status_at, error_code
from tidings.message m join tidings.source s on s.id = m.source_id and s.name = 'st-chat' order by message_key, recipient;

-- The same message of two sources is two messages.
select pg_temp.sms('m-shared', 'PENDING', 1), pg_temp.mail('m-shared', 'message_sent', 1);
select provider, status from tidings.message where message_key = 'm-shared' order by 1;

-- Who may I write to? The last word of each recipient, whatever came first.
select pg_temp.chat(21, 'CONSENT_GRANTED', 'q-1', '{"ppnum": "12300000001"}', 22), pg_temp.chat(20, 'RECIPIENT_PENDING_CONSENT', 'q-1', '{"ppnum": "12300000001"}', 20);
select pg_temp.chat(22, 'CONSENT_DENIED', 'q-1', '{"ppnum": "12300000002"}', 25), pg_temp.chat(23, 'CONSENT_GRANTED', 'q-1', '{"ppnum": "12300000002"}', 24);
select pg_temp.chat(24, 'RECIPIENT_PENDING_CONSENT', 'q-1', '{"ppnum": "12300000003"}', 20);
-- At the same time, the greater id.
select pg_temp.chat(26, 'CONSENT_DENIED', 'q-1', '{"ppnum": "12300000004"}', 20), pg_temp.chat(25, 'CONSENT_GRANTED', 'q-1', '{"ppnum": "12300000004"}', 20);
select recipient, status, to_char(status_at, 'MI:SS') as at, status_event_id, to_char(requested_at, 'MI:SS') as requested,
  to_char(granted_at, 'MI:SS') as granted, to_char(denied_at, 'MI:SS') as denied
from tidings.consent c join tidings.source s on s.id = c.source_id and s.name = 'st-chat' order by recipient;
select recipient from tidings.consent c join tidings.source s on s.id = c.source_id and s.name = 'st-chat' where c.status = 'consent.granted' order by 1;
-- A message that waits for consent is known by its request.
select count(*) from tidings.message where recipient = '12300000003';

-- Who is subscribed, and which of your own ids is it? What does not say an id leaves the
-- one that was said; an update says nothing of the subscription.
select pg_temp.push('subscribe', 'p-1', 1, '{"customId": "c-1"}'), pg_temp.push('unsubscribe', 'p-1', 3, '{"customId": ""}'), pg_temp.push('update', 'p-1', 2, '{"customId": "c-2"}');
select pg_temp.push('unsubscribe', 'p-2', 1), pg_temp.push('subscribe', 'p-2', 2, '{"customId": null}');
select pg_temp.push('update', 'p-3', 1, '{"customId": 7}');
select recipient, status, to_char(status_at, 'MI:SS') as at, custom_id, to_char(custom_id_at, 'MI:SS') as said,
  to_char(first_event_at, 'MI:SS') as first, to_char(last_event_at, 'MI:SS') as last
from tidings.subscriber b join tidings.source s on s.id = b.source_id and s.name = 'st-push' order by recipient;

-- What did a request come to? The provider's summary, beside what was seen.
select pg_temp.chat(40, 'RECIPIENT_DELIVERED', 'q-2', '{"ppnum": "12300000001"}', 30), pg_temp.chat(41, 'RECIPIENT_DELIVERED', 'q-2', '{"ppnum": "12300000002"}', 31);
create view pg_temp.request as
  select request_id, to_char(first_event_at, 'MI:SS') as first, to_char(last_event_at, 'MI:SS') as last, to_char(completed_at, 'MI:SS') as completed,
    delivered, seen_delivered as seen, delivered_difference as difference, failed, seen_failed, failed_difference, seen_unfinished as unfinished
  from tidings.request r join tidings.source s on s.id = r.source_id and s.name = 'st-chat';
select * from pg_temp.request where request_id = 'q-2';
select pg_temp.chat(42, 'REQUEST_COMPLETED', 'q-2', null, 33, '{"summary": {"delivered": 3, "failed": 1}}');
select * from pg_temp.request where request_id = 'q-2';
-- What was still on its way arrives.
select pg_temp.chat(43, 'RECIPIENT_FAILED', 'q-2', '{"ppnum": "12300000003"}', 29), pg_temp.chat(44, 'RECIPIENT_DELIVERED', 'q-2', '{"ppnum": "12300000004"}', 32);
select * from pg_temp.request where request_id = 'q-2';
-- The last summary counts. One in another form fails nothing, and is kept as it is.
select pg_temp.chat(46, 'REQUEST_COMPLETED', 'q-2', null, 35, '{"summary": {"delivered": 4, "failed": 1}}'), pg_temp.chat(45, 'REQUEST_COMPLETED', 'q-2', null, 34, '{"summary": {"delivered": 9, "failed": 9}}');
select pg_temp.chat(50, 'REQUEST_COMPLETED', 'q-3', null, 30), pg_temp.chat(51, 'REQUEST_COMPLETED', 'q-4', null, 30, '{"summary": "3 of 4"}'),
  pg_temp.chat(52, 'REQUEST_COMPLETED', 'q-5', null, 30, '{"summary": [1]}'), pg_temp.chat(53, 'REQUEST_COMPLETED', 'q-6', null, 30, '{"summary": {"delivered": "2", "failed": -1}}'),
  pg_temp.chat(54, 'REQUEST_COMPLETED', 'q-7', null, 30, '{"summary": null}'), pg_temp.chat(55, 'REQUEST_COMPLETED', 'q-8', null, 30, '{"summary": "7"}');
select * from pg_temp.request where request_id > 'q-1' order by 1;
select request_id, completed_event_id, summary
from tidings.request_summary r join tidings.source s on s.id = r.source_id and s.name = 'st-chat' where request_id > 'q-1' order by 1;

-- Nothing changes where an event comes again.
create temp view state as
  select t.of, t.row
  from (
    select source_id, 'message' as of, to_jsonb(t) as row from tidings.message t
    union all select source_id, 'consent', to_jsonb(t) from tidings.consent t
    union all select source_id, 'subscriber', to_jsonb(t) from tidings.subscriber t
    union all select source_id, 'request_summary', to_jsonb(t) from tidings.request_summary t
  ) t join tidings.source s on s.id = t.source_id and s.name like 'st-%';
create temp table before as table state;
select pg_temp.sms('m-late', 'PENDING', 1), pg_temp.mail('m-read', 'message_opened', 7), pg_temp.mail('m-read', 'message_clicked', 8),
  pg_temp.chat(22, 'CONSENT_DENIED', 'q-1', '{"ppnum": "12300000002"}', 25), pg_temp.push('subscribe', 'p-1', 1, '{"customId": "c-1"}'),
  pg_temp.chat(42, 'REQUEST_COMPLETED', 'q-2', null, 33, '{"summary": {"delivered": 3, "failed": 1}}');
(table before except all table state) union all (table state except all table before);

-- Nor where it is made anew from the events.
create temp table rebuilt as select * from tidings.rebuild_state();
select r.state, r.rows = t.rows as as_it_says
from rebuilt r join (
  select 'message' as state, count(*) as rows from tidings.message
  union all select 'consent', count(*) from tidings.consent
  union all select 'subscriber', count(*) from tidings.subscriber
  union all select 'request_summary', count(*) from tidings.request_summary) t using (state)
order by 1;
(table before except all table state) union all (table state except all table before);
-- It mends what was changed by hand.
update tidings.message set opens = 100, status = 'message.failed' where message_key = 'm-read';
delete from tidings.consent;
select count(*) from tidings.rebuild_state();
(table before except all table state) union all (table state except all table before);
-- In a transaction whose snapshot may be older than what was ingested, it is refused.
begin isolation level repeatable read;
select tidings.rebuild_state();
\echo SQLSTATE :LAST_ERROR_SQLSTATE
rollback;

-- What is rolled back leaves no trace in it.
begin;
select pg_temp.mail('m-read', 'message_opened', 1), pg_temp.sms('m-gone', 'DELIVERED', 1);
select opens from tidings.message where message_key = 'm-read';
rollback;
(table before except all table state) union all (table state except all table before);

select tidings.drop_source('st-chat'), tidings.drop_source('st-sms'), tidings.drop_source('st-mail'), tidings.drop_source('st-push');
