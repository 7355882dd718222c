-- An event that carries no time, but can be told from others, is stored once: at the time
-- of its first receipt, however often and however late it comes again.

\set SHOW_CONTEXT never
set timezone to 'UTC';
set datestyle to 'ISO, YMD';

select tidings.add_source('sms', 'arpoone', options => '{"allow_unauthenticated": true}') is not null
  and tidings.add_source('other-sms', 'arpoone', options => '{"allow_unauthenticated": true}') is not null
  and tidings.add_source('push', 'pushpushgo', options => '{"allow_unauthenticated": true}') is not null as added;

-- Its id has no time in it; normalize says so.
select kind, occurred_at, event_id::timestamptz from tidings.normalize('arpoone', '{"MessageId": "m", "Status": "DELIVERED"}'::bytea);

-- Received a year ago, and a week later again, twice in one request and beside one with a time.
select inserted, duplicate, rejected from tidings.ingest('sms',
  '{"MessageId": "m1", "Status": "DELIVERED", "Msisdn": "351910000001"}', jsonb_build_object('receipt-id', tidings.ulid_at('2025-03-01 10:00Z')));
select inserted, duplicate, rejected from tidings.ingest('sms', '[
    {"MessageId": "m1", "Status": "DELIVERED", "Msisdn": "351910000001"},
    {"MessageId": "m1", "Status": "DELIVERED", "Msisdn": "351910000001", "ReportDateTime": "2025-03-01T09:59:00Z"},
    {"MessageId": "m1", "Status": "PENDING", "Msisdn": "351910000001"},
    {"MessageId": "m1", "Status": "DELIVERED", "Msisdn": "351910000001", "ReportDateTime": null}
  ]', jsonb_build_object('receipt-id', tidings.ulid_at('2025-03-08 10:00Z')));
select e.kind, e.occurred_at, e.received_at
from tidings.event e join tidings.source s on s.id = e.source_id
where s.name = 'sms' order by e.id;

-- Another source's is another event, and so is another provider's.
select inserted, duplicate from tidings.ingest('other-sms', '{"MessageId": "m1", "Status": "DELIVERED"}');
select inserted, duplicate from tidings.ingest('push', '{"kind": "transaction:message:clicked", "messageId": "m1", "subscriberId": "s", "clickAction": 1}');
select inserted, duplicate from tidings.ingest('push', '{"kind": "transaction:message:clicked", "messageId": "m1", "subscriberId": "s", "clickAction": "1"}');
select inserted, duplicate from tidings.ingest('push', '{"kind": "transaction:message:clicked", "messageId": "m1", "subscriberId": "s", "clickAction": 2}');

-- It is remembered as long as the event is there.
select s.name, count(*) from tidings.undated u join tidings.source s on s.id = u.source_id group by 1 order by 1;
begin;
update tidings.retention set keep_events = '30 days';
select count(*) > 0 as maintained from tidings.maintain();
select s.name, count(*) from tidings.undated u join tidings.source s on s.id = u.source_id group by 1 order by 1;
rollback;

-- Rolled back with its event, it is as if it had never come.
begin;
select inserted from tidings.ingest('sms', '{"MessageId": "m2", "Status": "DELIVERED"}');
rollback;
select count(*) from tidings.undated u join tidings.source s on s.id = u.source_id where s.name = 'sms';

-- A worker whose clock is ahead: what it submits twice is stored once, and nothing has arrived
-- in the future. The time of an event that has neither an id nor a time is that of its receipt
-- id, or it would not be recognized when the clocks agree again.
create temp table ahead as
select jsonb_build_object('receipt-id', tidings.ulid_at(now() + interval '1 hour')) as headers;
select n, source, inserted, duplicate, rejected
from generate_series(1, 2) n,
  (values
    ('other-sms', '[
      {"MessageId": "m3", "Status": "DELIVERED", "ReportDateTime": "2025-03-01T09:59:00Z"},
      {"MessageId": "m4", "Status": "DELIVERED"},
      {"Status": 7}
    ]'),
    ('push', '{"kind": "subscriber:subscribe", "ppgId": "p"}')
  ) b (source, body),
  ahead a,
  lateral tidings.ingest(source, convert_to(body, 'UTF8'), a.headers)
order by n, source;
select s.name, e.kind, e.received_at between now() - interval '1 minute' and clock_timestamp() as arrived_now,
  case when e.occurred_at = e.received_at then 'its arrival'
    when e.occurred_at = (a.headers ->> 'receipt-id')::tidings.ulid::timestamptz then 'its receipt id'
    else e.occurred_at::text end as occurred
from tidings.event e join tidings.source s on s.id = e.source_id, ahead a
where e.message_id in ('m3', 'm4') or e.kind = 'subscriber.subscribed'
order by e.id;
select r.verdict, r.received_at between now() - interval '1 minute' and clock_timestamp() as arrived_now, count(*)
from tidings.rejected r join tidings.source s on s.id = r.source_id
where s.name = 'other-sms'
group by 1, 2;

select tidings.drop_source(name) from tidings.source where name in ('sms', 'other-sms', 'push') order by name;
