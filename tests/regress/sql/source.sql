-- Sources: where events come from, and what they must prove.

\set SHOW_CONTEXT never

-- One of each provider, with the options that it takes.
select tidings.add_source('chat', 'ppoppo', 'jwt-1',
    '{"endpoint": "https://api.ppoppo.com/ext", "send_request_id": "01JABCDE000000000000000000", "overlap": 30}') is not null
  and tidings.add_source('chat-by-env', 'ppoppo', null, '{"token_env": "PPOPPO_TOKEN"}') is not null
  and tidings.add_source('mail', 'pushwoosh', 'Bearer s3cret') is not null
  and tidings.add_source('sms.pt', 'arpoone', 'sms-t0ken', '{"timezone": "Europe/Lisbon"}') is not null
  and tidings.add_source('push_1', 'pushpushgo', '5d411352784425000bd02a15', '{"url_token": "push-t0ken"}') is not null
  and tidings.add_source('open', 'arpoone', options => '{"allow_unauthenticated": true}') is not null
  and tidings.add_source('closed', 'arpoone') is not null as added;

-- The table of sources shows no secret: options.url_token is one.
select name, provider, options, enabled from tidings.source order by id;
select count(*) from tidings.source s
where s::text ~ 'jwt-1|s3cret|sms-t0ken|5d411352784425000bd02a15|push-t0ken';

-- What cannot be added, and why.
select tidings.add_source('mail', 'pushwoosh');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.add_source('x', 'pushwosh');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.add_source('x', null);
select tidings.add_source('x', 'pushwoosh', options => '{"timezone": "UTC"}');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.add_source('x', 'ppoppo', options => '{"timezone": "UTC", "endpoint": "https://a"}');
select tidings.add_source('x', 'arpoone', options => '{"timezone": "Lisbon"}');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.add_source('x', 'ppoppo', options => '{"endpoint": "api.ppoppo.com"}');
select tidings.add_source('x', 'ppoppo', options => '{"overlap": -1}');
select tidings.add_source('x', 'ppoppo', options => '{"overlap": "30"}');
select tidings.add_source('x', 'ppoppo', options => '{"token_env": null}');
select tidings.add_source('x', 'ppoppo', options => '{"client_id": "c", "issuer": "https://a", "token_url": "https://a/token"}');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.add_source('x', 'ppoppo', options => '{"scope": "chat.read"}');
select tidings.add_source('x', 'ppoppo', options => '{"stream": "channels", "send_request_id": "r"}');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.add_source('x', 'ppoppo', options => '{"channel_ids": ["c"]}');
select tidings.add_source('x', 'arpoone', options => '{"url_token": ""}');
select tidings.add_source('x', 'arpoone', options => '{"allow_unauthenticated": "yes"}');
select tidings.add_source('x', 'arpoone', options => '["url_token"]');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.add_source('x', 'arpoone', '');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.add_source(name, 'arpoone') from (values ('')) v (name);
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.add_source(null, 'arpoone');
select tidings.add_source('a/b', 'arpoone');
select tidings.add_source('-a', 'arpoone');
select tidings.add_source('a b', 'arpoone');
select tidings.add_source('é', 'arpoone');
select tidings.add_source(E'a\n', 'arpoone');
select tidings.add_source(repeat('a', 64), 'arpoone');
-- Nothing of it was left behind.
select count(*) as sources, (select count(*) from tidings.source_secret) as secrets from tidings.source;
select tidings.add_source(repeat('a', 63), 'arpoone') is not null as longest;
select tidings.drop_source(repeat('a', 63));

-- What a request must carry. Headers have names in lower case; the URL's token is
-- "url-token".
select source, headers, tidings.verify(source, 'x', headers) as accepted
from (values
    (1, 'chat', '{}'::jsonb),
    (2, 'mail', '{}'), (3, 'mail', '{"authorization": "Bearer s3cret"}'), (4, 'mail', '{"authorization": "Bearer x"}'),
    (5, 'sms.pt', '{}'), (6, 'sms.pt', '{"url-token": "sms-t0ken"}'), (7, 'sms.pt', '{"url-token": "x"}'),
    (8, 'push_1', '{"url-token": "push-t0ken"}'),
    (9, 'push_1', '{"url-token": "push-t0ken", "x-ppg-signature": "89b8c91d9d5a0d8b5c2ea06d8ad3e4a1f7f6a3b1"}'),
    (10, 'open', '{}'), (11, 'closed', '{}'), (12, 'closed', '{"url-token": ""}')) v (n, source, headers)
order by n;
select signature as x_ppg_signature, token as url_token,
  tidings.verify('push_1', 'x', jsonb_strip_nulls(jsonb_build_object('x-ppg-signature', signature, 'url-token', token))) as accepted
from (values (encode(tidings.hmac_sha1('x', '5d411352784425000bd02a15'), 'hex'))) h (signature),
  (values (1, 'push-t0ken'), (2, 'x'), (3, null)) t (n, token)
order by n;
-- Nothing that is no header proves anything.
select count(*), bool_or(tidings.verify(source, body, headers)) as accepted
from unnest(array['mail', 'sms.pt', 'push_1', 'closed']) source, unnest(array['', 'x', null]::bytea[]) body,
  unnest(array['null', '[]', '"Bearer s3cret"', '7', '["authorization", "Bearer s3cret"]', '{"authorization": {"a": "Bearer s3cret"}}',
    '{"url-token": ["sms-t0ken"]}', '{"url-token": null}', '{"x-ppg-signature": 7}', null]::jsonb[]) headers;
select tidings.verify('nope', '', '{}');
\echo SQLSTATE :LAST_ERROR_SQLSTATE

-- A push whose URL names no source (gRPC) finds it by what it carries, among the enabled
-- ones of its provider.
select tidings.find_source('pushwoosh', '{"authorization": "Bearer s3cret"}') as mail,
  tidings.find_source('pushwoosh', '{"authorization": "Bearer other"}') as none,
  tidings.find_source('pushwoosh', '{}') as nothing_shown,
  tidings.find_source('arpoone', '{"url-token": "sms-t0ken"}') as sms,
  tidings.find_source('nope', '{}') as no_provider;

-- The bearer token of a source that is dialed, and of no other.
select name, tidings.stream_secret(name) from tidings.source order by id;
select tidings.stream_secret('nope');
\echo SQLSTATE :LAST_ERROR_SQLSTATE

-- Rotation with an overlap: both are accepted, then one.
select tidings.rotate_secret('mail', 'Bearer n3w', '1 hour');
select secret, tidings.verify('mail', 'x', jsonb_build_object('authorization', secret)) as accepted
from (values (1, 'Bearer s3cret'), (2, 'Bearer n3w')) v (n, secret) order by n;
select tidings.rotate_secret('mail', 'Bearer n3wer', '1 microsecond');
select secret, tidings.verify('mail', 'x', jsonb_build_object('authorization', secret)) as accepted
from (values (1, 'Bearer s3cret'), (2, 'Bearer n3w'), (3, 'Bearer n3wer')) v (n, secret) order by n;
-- A later rotation never makes an old secret live longer than it was told.
select tidings.add_source('sms.es', 'arpoone', 'first') is not null as added;
select tidings.rotate_secret('sms.es', 'second', '1 hour');
select tidings.rotate_secret('sms.es', 'third', '1 day');
select value, case when expires_at < now() + interval '2 hours' then 'in an hour' when expires_at is not null then 'in a day' else 'never' end as expires
from tidings.source_secret x join tidings.source s on s.id = x.source_id where s.name = 'sms.es' order by value;
select tidings.drop_source('sms.es');
-- Without an overlap, the old one ends at once, and is forgotten.
select tidings.rotate_secret('mail', 'Bearer last', '0');
select secret, tidings.verify('mail', 'x', jsonb_build_object('authorization', secret)) as accepted
from (values (1, 'Bearer s3cret'), (2, 'Bearer n3w'), (3, 'Bearer n3wer'), (4, 'Bearer last')) v (n, secret) order by n;
select value, expires_at from tidings.source_secret x join tidings.source s on s.id = x.source_id where s.name = 'mail';
-- Back to a secret that is on its way out.
select tidings.rotate_secret('chat', 'jwt-2');
select tidings.rotate_secret('chat', 'jwt-1');
select tidings.stream_secret('chat');
select value, expires_at - x.created_at between '23 hours' and '25 hours' as a_day_left
from tidings.source_secret x join tidings.source s on s.id = x.source_id where s.name = 'chat' order by value;
-- A source that had no secret gets one.
select tidings.rotate_secret('open', 'now closed', '0');
select tidings.verify('open', 'x', '{}') as without, tidings.verify('open', 'x', '{"url-token": "now closed"}') as with;
select tidings.rotate_secret('nope', 'x');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.rotate_secret('mail', '');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.rotate_secret('mail', null);
select tidings.rotate_secret('mail', 'x', '-1 second');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.rotate_secret('mail', 'x', null);

-- A secret may be longer than what an index holds, as a JWT is; also one of another script.
select string_agg(md5(n::text), '' order by n) || '\x00\é' as long, string_agg(md5((-n)::text), '' order by n) as longer
from generate_series(1, 300) n \gset
select tidings.add_source('long', 'pushwoosh', :'long', jsonb_build_object('url_token', :'longer')) is not null as added;
select tidings.rotate_secret('long', :'longer'), tidings.rotate_secret('long', :'long'), tidings.rotate_secret('long', '\x00');
-- As the dump of a version brings it that had no digest.
insert into tidings.source_secret (source_id, kind, value, expires_at)
select id, 'secret', 'from a dump', now() + interval '1 hour' from tidings.source where name = 'long';
-- Or as a subscription to it does.
set session_replication_role = replica;
insert into tidings.source_secret (source_id, kind, value, expires_at)
select id, 'secret', 'from a publication', now() + interval '1 hour' from tidings.source where name = 'long';
reset session_replication_role;
select kind, length(value), expires_at is null as is_current, digest = sha256(convert_to(value, 'UTF8')) as digested
from tidings.source_secret x join tidings.source s on s.id = x.source_id where s.name = 'long' order by kind, length;
select tidings.verify('long', 'x', jsonb_build_object('authorization', :'long'::text, 'url-token', :'longer'::text)) as accepted,
  tidings.verify('long', 'x', jsonb_build_object('authorization', :'long'::text)) as without;
select tidings.drop_source('long');

-- Stopped: its requests are told so, and nothing is kept; find_source passes it by.
select tidings.set_source_enabled('sms.pt', false);
\set state '[{"MessageId": "m", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T11:34:56Z"}]'
select verdict, inserted, duplicate, rejected, detail from tidings.ingest('sms.pt', :'state', '{"url-token": "sms-t0ken"}');
select tidings.find_source('arpoone', '{"url-token": "sms-t0ken"}'), tidings.verify('sms.pt', 'x', '{"url-token": "sms-t0ken"}');
select tidings.set_source_enabled('sms.pt', true);
select verdict, inserted, duplicate, rejected, detail from tidings.ingest('sms.pt', :'state', '{"url-token": "sms-t0ken"}');
select tidings.set_source_enabled('nope', true);
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.set_source_enabled('mail', null);
\echo SQLSTATE :LAST_ERROR_SQLSTATE

-- Dropped: its secrets, its cursor and what was rejected of it go; its events stay.
select id as sms from tidings.source where name = 'sms.pt' \gset
select verdict from tidings.ingest('sms.pt', '7', '{"url-token": "sms-t0ken"}');
select tidings.drop_source('sms.pt');
select (select count(*) from tidings.event where source_id = :sms) as events,
  (select count(*) from tidings.rejected where source_id = :sms) as rejected,
  (select count(*) from tidings.source_secret where source_id = :sms) as secrets;
select verdict, detail from tidings.ingest('sms.pt', :'state', '{"url-token": "sms-t0ken"}');
select tidings.drop_source('sms.pt');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
-- Added again, it goes on: the same event is a duplicate. See change_source.
select tidings.add_source('sms.pt', 'arpoone', 'sms-t0ken') = :sms as same;
select verdict, inserted, duplicate from tidings.ingest('sms.pt', :'state', '{"url-token": "sms-t0ken"}');
select count(*) from tidings.event where source_id = :sms;

-- Every change is told to workers, in the transaction that makes it.
\o results/told.txt
listen tidings_source;
begin;
select tidings.add_source('told', 'arpoone');
select tidings.rotate_secret('told', 't');
commit;
select tidings.set_source_enabled('told', false);
select tidings.drop_source('told');
begin;
select tidings.add_source('told', 'arpoone');
rollback;
-- But where the queue of notifications is half full.
begin;
alter function pg_catalog.pg_notification_queue_usage() rename to regress_queue_usage;
create function pg_catalog.pg_notification_queue_usage() returns float8 language sql as 'select 0.5::float8';
discard plans;
select tidings.add_source('told', 'ppoppo');
select tidings.hold_streams('aaaaaaaa-0000-4000-8000-000000000000', 'host', '{told}', '10 s');
select tidings.release_streams('aaaaaaaa-0000-4000-8000-000000000000');
drop function pg_catalog.pg_notification_queue_usage();
alter function pg_catalog.regress_queue_usage() rename to pg_notification_queue_usage;
commit;
unlisten tidings_source;
\o
\! grep -c 'Asynchronous notification "tidings_source"' results/told.txt; rm results/told.txt

select tidings.drop_source(name) from tidings.source order by id;
select count(*) from tidings.source_secret;
