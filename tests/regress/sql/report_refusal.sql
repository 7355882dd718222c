-- What the worker refuses before it is verified: kept within the bound of its verdict, and
-- replayed like a request that was unauthorized.

\set SHOW_CONTEXT never
set timezone to 'UTC';
set datestyle to 'ISO, YMD';

select tidings.add_source('rr-sms', 'arpoone', 't') is not null
  and tidings.add_source('rr-mail', 'pushwoosh', 'Bearer b') is not null as added;
create temp view kept as
select s.name as source, r.* from tidings.rejected r join tidings.source s on s.id = r.source_id and s.name like 'rr-%';

select tidings.report_refusal('rr-sms', '2026-01-02 03:04:05Z', 'answered 415 (unsupported_encoding)',
  '{"url-token": "t", "peer-address": "192.0.2.7"}', '\x1f8b', 2);
select tidings.report_refusal('rr-sms', '2026-01-02 03:04:06Z', 'answered 413 (too_large)',
  '{"url-token": "t", "peer-address": "nobody"}', convert_to(repeat('x', 70000), 'UTF8'), 9000000000);
select tidings.report_refusal('rr-sms', null, null, null, null, null);
select source, verdict, reason, ordinal, headers, octet_length(body) as bytes, body_bytes, peer, received_at > '2026-01-02 03:04:07Z' as now
from kept order by id;
select tidings.report_refusal('rr-nope', now(), 'x', '{}', '', 0);
\echo SQLSTATE :LAST_ERROR_SQLSTATE

-- The bound is that of the verdict: other rows stay.
select verdict from tidings.ingest('rr-sms', '[]', '{"url-token": "u"}');
select count(*) from (select tidings.report_refusal('rr-sms', now(), 'flood', '{}', '', 0) from generate_series(1, 1100)) x;
select verdict, count(*), count(*) filter (where reason = 'flood') as flood from kept group by 1 order by 1;
delete from tidings.rejected;

-- Whole bodies are verified and stored once what had them refused is gone; of the others only
-- the beginning is known.
\set report '[{"MessageId": "rr1", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T11:34:56Z"}]'
select tidings.report_refusal('rr-sms', '2026-01-02 03:04:05.678Z', 'answered 404 (not_found)', '{"url-token": "t"}', :'report', length(:'report')),
  tidings.report_refusal('rr-sms', '2026-01-02 03:04:05.678Z', 'answered 404 (not_found)', '{"url-token": "guess"}', :'report', length(:'report')),
  tidings.report_refusal('rr-sms', '2026-01-02 03:04:05.678Z', 'answered 415 (unsupported_encoding)', '{"url-token": "t"}', 'x', 1),
  tidings.report_refusal('rr-sms', '2026-01-02 03:04:05.678Z', 'answered 413 (too_large)', '{"url-token": "t"}', '[', 2000000);
select * from tidings.replay_rejected('rr-sms') order by ordinal;
select verdict, reason, headers, body_bytes from kept order by id;
select message_id, received_at from tidings.event e join tidings.source s on s.id = e.source_id and s.name = 'rr-sms';

-- A recipient is erased with what was refused.
select tidings.report_refusal('rr-mail', now(), 'answered 404 (not_found)', '{"peer-address": "192.0.2.7"}', '{"hwid": "erase-me-rr"}', 23);
select rows from tidings.erase_recipient('erase-me-rr') where object = 'tidings.rejected';
select count(*) from kept where source = 'rr-mail';

-- The bytes as sent of a compressed body are proof if they are this very body; they are not
-- kept once nothing verifies them again.
select tidings.add_source('rr-push', 'pushpushgo', 'key') is not null as added;
\set sent '\\x78da8b8e0500011500b9'
select encode(tidings.hmac_sha1(:'sent', 'key'), 'hex') as signature \gset
select b.body, tidings.verify('rr-push', convert_to(b.body, 'UTF8'), jsonb_build_object('x-ppg-signature', :'signature',
  'content-encoding', c.coding, 'body-as-sent', encode(:'sent', 'base64')))
from (values (1, '[]', 'deflate'), (2, '[]', 'gzip'), (3, '[ ]', 'deflate')) c (n, body, coding), lateral (select c.body) b
order by c.n;
select tidings.verify('rr-push', '[]', jsonb_build_object('x-ppg-signature', :'signature'));
delete from tidings.rejected;

select count(tidings.drop_source(name)) from tidings.source where name like 'rr-%';
