-- Looking messages and events up by message, send request and recipient.

\set SHOW_CONTEXT never
set timezone to 'UTC';
set datestyle to 'ISO, YMD';

select tidings.add_source('lo-chat', 'ppoppo') is not null
  and tidings.add_source('lo-sms', 'arpoone', options => '{"allow_unauthenticated": true}') is not null
  and tidings.add_source('lo-mail', 'pushwoosh', options => '{"allow_unauthenticated": true}') is not null
  and tidings.add_source('lo-push', 'pushpushgo', options => '{"allow_unauthenticated": true}') is not null as added;
create function pg_temp.give(source text, body text) returns text language sql as $$
  select verdict || ' ' || inserted from tidings.ingest(source, convert_to(body, 'UTF8'))
$$;
-- Two pairs of texts have one hash: m-240802 and m-283229, m-117677 and m-266759.
select hashtext('m-240802') = hashtext('m-283229') and hashtext('m-117677') = hashtext('m-266759') as alike;
select pg_temp.give('lo-sms', '[
  {"MessageId": "m-240802", "Msisdn": "m-117677", "Status": "PENDING", "ReportDateTime": "2024-10-01T12:00:01Z"},
  {"MessageId": "m-240802", "Msisdn": "m-117677", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T12:00:02Z"},
  {"MessageId": "m-240802", "Msisdn": "m-266759", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T12:00:03Z"},
  {"MessageId": "m-283229", "Msisdn": "m-117677", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T12:00:04Z"},
  {"MessageId": "m-283229", "Msisdn": "m-266759", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T12:00:05Z"},
  {"MessageId": "lo-1", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T12:00:06Z"},
  {"From": "lo-ana", "To": "900", "MessageId": "lo-in", "Text": "STOP", "ReceiveDateTime": "2024-10-01T12:00:07Z"}]');
select pg_temp.give('lo-mail', '[{"message_code": "lo-1", "event_name": "Email Sent", "hwid": "lo-ana", "platform": "Email", "timestamp": 1727784000}]');
select pg_temp.give('lo-chat', '[
  {"event_id": "01JABCDEF00000000000000L01", "event_type": "RECIPIENT_PENDING_CONSENT", "send_request_id": "m-240802", "recipient": {"ppnum": "lo-ana"}, "occurred_at": "2024-10-01T12:00:00Z"},
  {"event_id": "01JABCDEF00000000000000L02", "event_type": "RECIPIENT_DELIVERED", "send_request_id": "m-240802", "recipient": {"ppnum": "lo-ana", "message_id": "lo-2"}, "occurred_at": "2024-10-01T12:00:01Z"},
  {"event_id": "01JABCDEF00000000000000L03", "event_type": "RECIPIENT_DELIVERED", "send_request_id": "m-283229", "recipient": {"ppnum": "lo-ana", "message_id": "m-240802"}, "occurred_at": "2024-10-01T12:00:02Z"},
  {"event_id": "01JABCDEF00000000000000L04", "event_type": "CONSENT_GRANTED", "recipient": {"ppnum": "lo-ana"}, "occurred_at": "2024-10-01T12:00:02Z"},
  {"event_id": "01JABCDEF00000000000000L05", "event_type": "REQUEST_COMPLETED", "send_request_id": "m-240802", "summary": {"delivered": 1}, "occurred_at": "2024-10-01T12:00:03Z"}]');
select pg_temp.give('lo-push', '{"kind": "subscriber:subscribe", "ppgId": "lo-ana"}');

-- By message id, or by send request.
select s.name, m.message_key, m.recipient, m.message_id, m.status
from tidings.find_messages('m-240802') m join tidings.source s on s.id = m.source_id order by 1, 2, 3;
select s.name, m.message_key, m.message_id from tidings.find_messages('lo-2') m join tidings.source s on s.id = m.source_id order by 1;
select count(*) from tidings.find_messages('nobody');

-- Each message has its own events, whatever the hash of another is.
select s.name, m.message_key, m.recipient, e.provider_kind, e.occurred_at
from tidings.message m join tidings.source s on s.id = m.source_id and s.name like 'lo-%', tidings.message_events(m) e order by 1, 2, 3, 5;
select e.provider_kind, e.recipient from tidings.request_events('m-240802') e order by e.occurred_at;
select e.provider_kind, e.message_id from tidings.request_events('m-283229') e order by e.occurred_at;

-- What is found by recipient is what is stored of the recipient.
select e.provider, e.provider_kind from tidings.recipient_events('lo-ana') e order by 1, 2;
select r.recipient,
  (select array_agg(e.event_id order by e.event_id) from tidings.recipient_events(r.recipient) e)
  = (select array_agg(e.event_id order by e.event_id) from tidings.event e where e.recipient = r.recipient) as same
from (select distinct e.recipient from tidings.event e join tidings.source s on s.id = e.source_id and s.name like 'lo-%' where e.recipient is not null) r
order by 1;
select count(*) from tidings.recipient_events('');

-- In a partition of before 0.5.0, the indexes on the columns serve.
create table event_old (like tidings.event_default including defaults including constraints);
alter table event_old add primary key (event_id, occurred_at, source_id);
create index event_old_id_idx on event_old (id);
create index event_old_message_id_idx on event_old (message_id) where message_id is not null;
create index event_old_recipient_idx on event_old (recipient) where recipient is not null;
create index event_old_request_id_idx on event_old (request_id) where request_id is not null;
alter table tidings.event attach partition event_old for values from ('2023-01-01') to ('2023-02-01');
create function pg_temp.plan(query text) returns table (node text) language plpgsql as $$
declare
  line text;
begin
  for line in execute 'explain (costs off) ' || query loop
    return query select x from substring(line from '((?:Index|Bitmap|Seq) \w*\s?Scan (?:on|using) (?:event_old|event_default)\w*)') x where x is not null;
  end loop;
end $$;
set enable_seqscan = off;
select distinct node from pg_temp.plan($$select e.* from tidings.find_messages('m-240802') m, tidings.message_events(m) e$$) order by 1;
select distinct node from pg_temp.plan($$select * from tidings.request_events('m-240802')$$) order by 1;
select distinct node from pg_temp.plan($$select * from tidings.recipient_events('lo-ana')$$) order by 1;
reset enable_seqscan;
alter table tidings.event detach partition event_old;
drop table event_old;

select count(tidings.drop_source(name)) from tidings.source where name like 'lo-%';
select r, e.rows from unnest(array['lo-ana', 'm-117677', 'm-266759']) r, tidings.erase_recipient(r) e where e.object = 'tidings.event' order by 1;
select count(*) from tidings.event e where e.recipient in ('lo-ana', 'm-117677', 'm-266759');
