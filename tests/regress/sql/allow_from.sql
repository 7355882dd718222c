-- The option allow_from: a source accepts requests from its networks alone, and none whose
-- sender is not known.

\set SHOW_CONTEXT never

-- What is no network is refused, and so is the option of a source that is dialed.
select tidings.add_source('af-bad', 'arpoone', 't', '{"allow_from": ["192.0.2.7/24"]}');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.add_source('af-bad', 'arpoone', 't', '{"allow_from": "192.0.2.0/24"}');
select tidings.add_source('af-bad', 'arpoone', 't', '{"allow_from": []}');
select tidings.add_source('af-bad', 'arpoone', 't', '{"allow_from": ["*.arpoone.com"]}');
select tidings.add_source('af-bad', 'ppoppo', options => '{"allow_from": ["192.0.2.0/24"]}');

select tidings.add_source('af-sms', 'arpoone', 't', '{"allow_from": ["192.0.2.0/24", "2001:db8::7"]}') is not null
  and tidings.add_source('af-open', 'arpoone', options => '{"allow_unauthenticated": true, "allow_from": ["192.0.2.0/24"]}') is not null
  and tidings.add_source('af-push', 'pushpushgo', 'key', '{"allow_from": ["::ffff:192.0.2.0/120"]}') is not null
  and tidings.add_source('af-any', 'arpoone', 't') is not null as added;
select name, options from tidings.source where name like 'af-%' order by id;

create temp table request (n int, source text, headers jsonb);
insert into request values
  (1, 'af-sms', '{"url-token": "t", "peer-address": "192.0.2.7"}'),
  (2, 'af-sms', '{"url-token": "t", "peer-address": "::ffff:192.0.2.8"}'),
  (3, 'af-sms', '{"url-token": "t", "peer-address": "2001:db8::7"}'),
  (4, 'af-sms', '{"url-token": "u", "peer-address": "192.0.2.7"}'),
  (5, 'af-sms', '{"url-token": "t", "peer-address": "203.0.113.9"}'),
  (6, 'af-sms', '{"url-token": "t", "peer-address": "2001:db8::8"}'),
  (7, 'af-sms', '{"url-token": "t"}'),
  (8, 'af-sms', '{"url-token": "t", "peer-address": "unknown"}'),
  (9, 'af-sms', '{"url-token": "t", "peer-address": "192.0.2.7:80"}'),
  (10, 'af-sms', '{"url-token": "t", "peer-address": ["192.0.2.7"]}'),
  (11, 'af-sms', '[]'),
  (12, 'af-open', '{"peer-address": "192.0.2.7"}'),
  (13, 'af-open', '{"peer-address": "192.0.3.7"}'),
  (14, 'af-open', '{}'),
  (15, 'af-push', jsonb_build_object('peer-address', '192.0.2.7', 'x-ppg-signature', encode(tidings.hmac_sha1('[]', 'key'), 'hex'))),
  (16, 'af-push', jsonb_build_object('x-ppg-signature', encode(tidings.hmac_sha1('[]', 'key'), 'hex'))),
  (17, 'af-any', '{"url-token": "t"}');
select r.n, r.source, i.verdict, tidings.verify(r.source, '[]', r.headers)
from (select array_agg(source order by n) as sources, array_agg('[]'::bytea) as bodies, array_agg(headers order by n) as headers from request) q,
  tidings.ingest_batch(q.sources, q.bodies, q.headers) i
join request r on r.n = i.ordinal
order by r.n;
-- The reason is for the owner, with the address, in its canonical form.
select reason, peer, count(*) from tidings.rejected r join tidings.source s on s.id = r.source_id and s.name like 'af-%'
group by 1, 2 order by 1, 2;

-- A source is found by the headers of a push that it would accept.
select tidings.add_source('af-mail', 'pushwoosh', 'Bearer b', '{"allow_from": ["192.0.2.0/24"]}') is not null as added;
select tidings.find_source('pushwoosh', h) from (values
  ('{"authorization": "Bearer b", "peer-address": "192.0.2.7"}'::jsonb),
  ('{"authorization": "Bearer b", "peer-address": "203.0.113.9"}'),
  ('{"authorization": "Bearer b"}')) x (h);

-- Items and malformed bodies have the address of their request, and accepted events have none.
select verdict, rejected from tidings.ingest('af-sms', '[7]', '{"url-token": "t", "peer-address": "::ffff:192.0.2.77"}');
select verdict from tidings.ingest('af-sms', '[', '{"url-token": "t", "peer-address": "192.0.2.78"}');
select verdict, peer, headers from tidings.rejected where host(peer) like '192.0.2.7_' and reason not like '%match%' order by peer;

-- A row is replayed for the address that it came from.
delete from tidings.rejected;
\set report '[{"MessageId": "af1", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T11:34:56Z"}]'
select verdict from tidings.ingest('af-sms', :'report', '{"url-token": "new", "peer-address": "192.0.2.7"}');
select verdict from tidings.ingest('af-sms', :'report', '{"url-token": "new", "peer-address": "203.0.113.9"}');
select tidings.rotate_secret('af-sms', 'new', '0');
select verdict, inserted from tidings.replay_rejected('af-sms') order by ordinal;
select verdict, reason, peer from tidings.rejected order by id;

select count(tidings.drop_source(name)) from tidings.source where name like 'af-%';
