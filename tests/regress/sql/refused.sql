-- tidings.rejected.reason says what a refused request lacks. The answer does not: it is
-- the same whatever is missing.

\set SHOW_CONTEXT never

select tidings.add_source('rf-none', 'pushwoosh') is not null
  and tidings.add_source('rf-mail', 'pushwoosh', 'Bearer b') is not null
  and tidings.add_source('rf-sms', 'arpoone', 't') is not null
  and tidings.add_source('rf-push', 'pushpushgo', 'key') is not null
  and tidings.add_source('rf-both', 'pushpushgo', 'key', '{"url_token": "t"}') is not null as added;
create temp view kept as
select r.*, s.name as source, (r.headers ->> 'n')::int as n
from tidings.rejected r join tidings.source s on s.id = r.source_id and s.name like 'rf-%';

-- A signature of {} by key, and one of another body.
select encode(tidings.hmac_sha1('{}', 'key'), 'hex') as signature, encode(tidings.hmac_sha1('[]', 'key'), 'hex') as other \gset

create temp table request (n int, source text, headers jsonb);
insert into request values
  (1, 'rf-none', '{}'),
  (2, 'rf-none', '{"authorization": "Bearer b", "url-token": "t"}'),
  (3, 'rf-mail', '{}'),
  (4, 'rf-mail', '{"authorization": "Bearer c"}'),
  (5, 'rf-sms', '{}'),
  (6, 'rf-sms', '{"url-token": "u"}'),
  (7, 'rf-push', '{}'),
  (8, 'rf-push', jsonb_build_object('x-ppg-signature', :'other')),
  (9, 'rf-push', jsonb_build_object('x-ppg-signature', left(:'signature', 16))),
  (10, 'rf-both', jsonb_build_object('x-ppg-signature', :'signature')),
  (11, 'rf-both', jsonb_build_object('x-ppg-signature', :'signature', 'url-token', 'u')),
  (12, 'rf-both', '{"url-token": "t"}'),
  (13, 'rf-both', jsonb_build_object('x-ppg-signature', :'other', 'url-token', 't'));
select i.verdict, i.detail, count(*)
from (select array_agg(source order by n) as sources, array_agg('{}'::bytea) as bodies,
    array_agg(headers || jsonb_build_object('n', n) order by n) as headers from request) r,
  tidings.ingest_batch(r.sources, r.bodies, r.headers) i
group by 1, 2;
select n, source, reason from kept order by n;
-- No part of a secret, nor of what was presented.
select count(*) from kept where reason like '%Bearer%' or reason ~ '\mkey\M' or reason like '%' || left(:'signature', 16) || '%';
-- The public function says whether, and no more.
select source, tidings.verify(source, '{}', '{}') from request group by 1 order by 1;

-- After a replay the reason is that of now.
select tidings.rotate_secret('rf-none', 'Bearer b', '0');
select verdict, detail, inserted from tidings.replay_rejected('rf-none') order by ordinal;
select n, verdict, reason from kept where source = 'rf-none' order by n;

select count(tidings.drop_source(name)) from tidings.source where name like 'rf-%';
