-- tidings.replay_rejected: what was rejected comes in after a fix, with the time at which
-- it arrived first; nothing of it is lost or doubled.

\set SHOW_CONTEXT never
set timezone to 'UTC';
set datestyle to 'ISO, YMD';

select tidings.add_source('re-sms', 'arpoone', 'typo') is not null
  and tidings.add_source('re-mail', 'pushwoosh', 'Bearer b') is not null
  and tidings.add_source('re-push', 'pushpushgo', 'wrong') is not null
  and tidings.add_source('re-chat', 'ppoppo') is not null as added;
create temp view stored as
select s.name as source, e.* from tidings.event e join tidings.source s on s.id = e.source_id and s.name like 're-%';
create temp view kept as
select s.name as source, r.* from tidings.rejected r join tidings.source s on s.id = r.source_id and s.name like 're-%';

-- Nothing was rejected: nothing to do.
select * from tidings.replay_rejected('re-sms');

-- A wrong secret: requests are refused until it is corrected.
\set delivered '[{"MessageId": "r1", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T11:34:56Z"}, {"MessageId": "r1", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:34:50Z"}]'
select verdict from tidings.ingest('re-sms', :'delivered', '{"url-token": "t", "receipt-id": "01924798-9e38-7000-8000-0123456789ab"}');
select verdict from tidings.ingest('re-sms', '[{"MessageId": "r2", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T11:34:56Z"}]', '{"url-token": "t"}');
select verdict from tidings.ingest('re-sms', '[{"MessageId": "r3", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T11:34:56Z"}, 7, {"MessageId": "r3"}]', '{"url-token": "t", "x": "y"}');
select verdict from tidings.ingest('re-sms', '[{"MessageId', '{"url-token": "t", "x": "y", "receipt-id": "01924798-9e38-7000-8000-0123456789ac"}');
select verdict from tidings.ingest('re-sms', '[{"MessageId": "forged", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T11:34:56Z"}]', '{"url-token": "guess"}');
create temp table first as select id, received_at, reason from kept;
-- Without the correction everything stays as it was.
select * from tidings.replay_rejected('re-sms');
select count(*) from (select id, received_at, reason from kept except table first) changed;
select tidings.rotate_secret('re-sms', 't', '0');
-- Rolled back, it has done nothing.
begin;
select count(*) from tidings.replay_rejected('re-sms');
rollback;
select count(*) from kept;
select * from tidings.replay_rejected('re-sms');
-- Events have the time of the first receipt, to the millisecond.
select e.message_id, e.provider_kind,
  case when e.message_id = 'r1' then e.received_at = '2024-10-01 10:20:37.304Z'
    else exists (select from first f where date_trunc('milliseconds', f.received_at) = e.received_at) end as first_receipt
from stored e order by 1, 2;
select m.message_id, m.status from tidings.message m where m.message_id like 'r_' order by 1;
-- What is left: the items that are no events, at their places; a body that is none, now
-- without the secret, which was the right one; and what still does not know it.
select verdict, reason, ordinal, headers, convert_from(body, 'UTF8') as body, body_bytes, exists (select from first f where f.received_at = k.received_at) as first_receipt
from kept k order by verdict, ordinal;
-- Again: the same stays.
select verdict, inserted, duplicate, rejected, ordinal from tidings.replay_rejected('re-sms');
select verdict, count(*) from kept group by 1 order by 1;
select count(*) from stored;
delete from tidings.rejected r using tidings.source s where s.id = r.source_id and s.name = 're-sms';

-- Signatures are verified over the bytes that arrived.
\set update '{"kind": "subscriber:update", "ppgId": "s1"}'
select encode(tidings.hmac_sha1(:'update', 'project'), 'hex') as signature \gset
select verdict from tidings.ingest('re-push', :'update', jsonb_build_object('x-ppg-signature', :'signature'));
select verdict from tidings.ingest('re-push', :'update', jsonb_build_object('x-ppg-signature', :'signature'));
select verdict, inserted from tidings.replay_rejected('re-push');
select tidings.rotate_secret('re-push', 'project');
-- Events that have neither an identity nor a time: each receipt is one, and the same
-- however often it is replayed.
begin;
select verdict, inserted from tidings.replay_rejected('re-push');
select min(event_id) as one, max(event_id) as other from stored where source = 're-push' \gset
rollback;
select verdict, inserted from tidings.replay_rejected('re-push');
select count(*), min(event_id) = :'one' and max(event_id) = :'other' as same from stored where source = 're-push';

-- What an update of the extension understands: requests that had passed their policy, and
-- their items. They carry no secret any more, and need none.
create function pg_temp.reject(id text, source text, verdict text, body text, ordinal int, headers jsonb, bytes int default null) returns void language sql as $$
  insert into tidings.rejected (id, received_at, source_id, verdict, reason, ordinal, headers, body, body_bytes)
  values (rpad(id, 26, '0')::tidings.ulid, '2026-01-02 03:04:05.678901Z', (tidings._source(source)).id, verdict, 'not known yet', ordinal, headers,
    convert_to(body, 'UTF8'), coalesce(bytes, octet_length(body)))
$$;
\set opened '{"event_name": "Push Opened", "hwid": "h1", "timestamp": 1723799300}'
select pg_temp.reject('01KDYF0A01', 're-mail', 'malformed', '[{"event_name": "Push Sent", "hwid": "h0", "timestamp": 1723799271}, 7]', null, '{"x": "y"}');
select pg_temp.reject('01KDYF0A02', 're-mail', 'malformed', null, null, '{}', 0);
-- Two equal items of one request are two events; those of two requests that arrived in
-- one millisecond are one and the same.
select pg_temp.reject('01KDYF0A03', 're-mail', 'item', :'opened', 1, null),
  pg_temp.reject('01KDYF0A04', 're-mail', 'item', :'opened', 3, null),
  pg_temp.reject('01KDYF0A05', 're-mail', 'item', :'opened', 1, null),
  pg_temp.reject('01KDYF0A06', 're-mail', 'item', '8', 2, null);
-- Of what was too long the beginning is no body.
select pg_temp.reject('01KDYF0A07', 're-mail', 'malformed', '[{"event_name": "Push', null, '{}', 2000000);
select pg_temp.reject('01KDYF0A08', 're-chat', 'item', '{"event_id": "01JABCDEF00000000000000001", "event_type": "CONSENT_GRANTED", "recipient": {"ppnum": "c1"}}', 1, null);
select tidings.ingest('re-chat', '[{"event_id": "01JABCDEF00000000000000009", "event_type": "CONSENT_GRANTED", "recipient": {"ppnum": "c1"}}]');
-- Without a source: of all of them.
select * from tidings.replay_rejected();
select source, verdict, reason, ordinal, convert_from(body, 'UTF8') as body, body_bytes, received_at from kept order by received_at, id;
select kind, recipient, count(*), count(distinct event_id), min(received_at) from stored where source in ('re-mail', 're-chat') group by 1, 2 order by 1, 2;
-- A stream goes on from where it was.
select tidings.stream_cursor('re-chat');
-- What comes in again meets itself.
select verdict, inserted, duplicate from tidings.ingest('re-mail', convert_to('[' || :'opened' || ',' || :'opened' || ']', 'UTF8'), '{"authorization": "Bearer b"}');
select pg_temp.reject('01KDYF0A03', 're-mail', 'item', :'opened', 1, null);
select verdict, inserted, duplicate from tidings.replay_rejected('re-mail') where duplicate > 0;
select count(*) from kept where convert_from(body, 'UTF8') = :'opened';

-- A stopped source takes nothing, and keeps what it has.
select count(*) as before from kept where source = 're-mail' \gset
select tidings.set_source_enabled('re-mail', false);
select verdict, inserted, detail from tidings.replay_rejected('re-mail');
select count(*) - :before as more from kept where source = 're-mail';

-- Many: in batches, each request with its answer.
select tidings.rotate_secret('re-sms', 'typo', '0');
select count(*) filter (where verdict = 'unauthorized')
from generate_series(1, 450) n, tidings.ingest('re-sms', convert_to(format('[{"MessageId": "many %s", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:34:56Z"}]', n), 'UTF8'), '{"url-token": "t"}');
select tidings.rotate_secret('re-sms', 't', '0');
select verdict, count(*), sum(inserted) as inserted, min(ordinal), max(ordinal), count(distinct ordinal) from tidings.replay_rejected('re-sms') group by 1;
select count(distinct message_id) from stored where message_id like 'many %';
select count(*) from kept where source = 're-sms';

-- Refused.
select tidings.replay_rejected('re-nope');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
begin isolation level serializable;
select tidings.replay_rejected();
\echo SQLSTATE :LAST_ERROR_SQLSTATE
rollback;

select count(tidings.drop_source(name)) from tidings.source where name like 're-%';
