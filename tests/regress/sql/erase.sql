-- tidings.erase_recipient: a person is gone from events, state and what was rejected, and
-- nobody else.

\set SHOW_CONTEXT never
set timezone to 'UTC';
set datestyle to 'ISO, YMD';

select tidings.add_source('er-chat', 'ppoppo') is not null
  and tidings.add_source('er-mail', 'pushwoosh', options => '{"allow_unauthenticated": true}') is not null
  and tidings.add_source('er-push', 'pushpushgo', options => '{"allow_unauthenticated": true}') is not null as added;
create function pg_temp.said(n int, at text, word text, request text, recipient text) returns jsonb language sql as $$
  select jsonb_strip_nulls(jsonb_build_object('event_id', '01JABCDEF000000000000E0' || lpad(n::text, 3, '0'), 'event_type', word, 'occurred_at', at,
    'send_request_id', request, 'recipient', nullif(jsonb_build_object('ppnum', recipient), '{"ppnum": null}'),
    'summary', case word when 'REQUEST_COMPLETED' then '{"delivered": 1, "failed": 0}'::jsonb end))
$$;

-- Two people in one request, one of them alone in another; consent, a subscriber.
select inserted, rejected, detail from tidings.ingest('er-chat', convert_to(jsonb_build_array(
  pg_temp.said(1, '2024-10-01T10:00:00Z', 'RECIPIENT_DELIVERED', 'er-q1', 'ana@ex/ample.com'),
  pg_temp.said(2, '2024-10-01T11:00:00Z', 'RECIPIENT_DELIVERED', 'er-q1', 'bob@example.com'),
  pg_temp.said(3, '2024-10-01T12:00:00Z', 'RECIPIENT_FAILED', 'er-q2', 'ana@ex/ample.com'),
  pg_temp.said(4, '2024-10-01T13:00:00Z', 'REQUEST_COMPLETED', 'er-q1', null),
  pg_temp.said(5, '2024-10-01T14:00:00Z', 'CONSENT_GRANTED', null, 'ana@ex/ample.com'),
  pg_temp.said(6, '2024-10-01T14:00:00Z', 'CONSENT_GRANTED', null, 'bob@example.com'))::text, 'UTF8'));
select inserted, detail from tidings.ingest('er-push', '{"kind": "subscriber:update", "ppgId": "ana@ex/ample.com"}');
-- Rejected: as it is, in the escapes of JSON, in a body that is no JSON and no text; and
-- of somebody else.
select body, (tidings.ingest('er-mail', body)).verdict
from (values (1, '{"x": "ana@ex/ample.com"}'::bytea), (2, '{"x": "\\u0061na\\u0040ex\\/ample\\u002Ecom"}'), (3, '\xff00616e614065782f616d706c652e636f6dfe'),
  (4, '{"x": "bob@example.com"}'), (5, '{"x": "ana@exXample.com"}'), (6, '{"x": "\\u0061\\u006e"}')) r (n, body) order by n;

create temp view left_of as
select 'event' as what, coalesce(recipient, '-') as recipient, count(*) from tidings.event e where e.source_id in (select id from tidings.source where name like 'er-%') group by 2
union all select 'message', recipient, count(*) from tidings.message where source_id in (select id from tidings.source where name like 'er-%') group by 2
union all select 'consent', recipient, count(*) from tidings.consent where source_id in (select id from tidings.source where name like 'er-%') group by 2
union all select 'subscriber', recipient, count(*) from tidings.subscriber where source_id in (select id from tidings.source where name like 'er-%') group by 2
order by 1, 2;
select * from left_of;
select request_id, first_event_at, last_event_at, completed_at, summary from tidings.request_summary where request_id like 'er-%' order by 1;

begin;
set local standard_conforming_strings = off; -- of no consequence
set local escape_string_warning = off;
select * from tidings.erase_recipient('ana@ex/ample.com');
rollback;
select count(*) from tidings.event where recipient = 'ana@ex/ample.com';

select * from tidings.erase_recipient('ana@ex/ample.com');
select * from left_of;
-- What a request came to is what the events that are left say.
select request_id, first_event_at, last_event_at, completed_at, summary from tidings.request_summary where request_id like 'er-%' order by 1;
select body from tidings.rejected r join tidings.source s on s.id = r.source_id and s.name = 'er-mail' order by r.id;
-- The state is what the events add up to, as before.
create temp table message as table tidings.message;
create temp table consent as table tidings.consent;
create temp table subscriber as table tidings.subscriber;
create temp table request_summary as table tidings.request_summary;
select count(*) > 0 as rebuilt from tidings.rebuild_state();
select
  (select jsonb_agg(to_jsonb(m) order by to_jsonb(m)) from message m) is not distinct from (select jsonb_agg(to_jsonb(m) order by to_jsonb(m)) from tidings.message m) as message,
  (select jsonb_agg(to_jsonb(m) order by to_jsonb(m)) from consent m) is not distinct from (select jsonb_agg(to_jsonb(m) order by to_jsonb(m)) from tidings.consent m) as consent,
  (select jsonb_agg(to_jsonb(m) order by to_jsonb(m)) from subscriber m) is not distinct from (select jsonb_agg(to_jsonb(m) order by to_jsonb(m)) from tidings.subscriber m) as subscriber,
  (select jsonb_agg(to_jsonb(m) order by to_jsonb(m)) from request_summary m) is not distinct from (select jsonb_agg(to_jsonb(m) order by to_jsonb(m)) from tidings.request_summary m) as request_summary;
-- Again: nobody is left.
select sum(rows) from tidings.erase_recipient('ana@ex/ample.com');
-- What is sent again is stored again.
select inserted, duplicate from tidings.ingest('er-chat', convert_to(jsonb_build_array(
  pg_temp.said(1, '2024-10-01T10:00:00Z', 'RECIPIENT_DELIVERED', 'er-q1', 'ana@ex/ample.com'))::text, 'UTF8'));
select object, rows from tidings.erase_recipient('ana@ex/ample.com') where rows > 0;

-- Every character is meant as it is written, and found however JSON may write it.
select t.said, t.body, encode(convert_to(t.body, 'UTF8'), 'escape') ~ tidings._json_pattern(t.said) as found
from (values
  ('.*', '{"x": "ab"}'), ('.*', '{"x": ".*"}'), ('a|b', '{"x": "b"}'), ('(x)[1]{2}^$?+', '"(x)[1]{2}^$?+"'),
  ('+55 11', '"+55 11"'), ('+55 11', '"\u002b55\u002011"'), ('+55 11', '"+5511"'),
  ('José', '"José"'), ('José', '"Jos\u00e9"'), ('José', '"Jos\u00E9"'), ('José', '"Jose"'),
  ('😀x', '"😀x"'), ('😀x', '"\ud83d\ude00x"'), ('😀x', '"\uD83D\uDE00\u0078"'), ('😀x', '"😁x"'),
  ('a\b', '"a\\b"'), ('a\b', '"a\u005cb"'), ('a\b', '"a\b"'), ('a"b', '"a\"b"'), ('a/b', '"a\/b"'),
  (E'a\tb', '"a\tb"'), (E'a\nb', '"a\u000Ab"'), ('101', '{"x": 5101}'), ('101', '{"x": 110}')) t (said, body);

select tidings.erase_recipient('');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.erase_recipient(null);
-- A position is not given twice, although its event is gone.
select inserted from tidings.ingest('er-chat', convert_to(jsonb_build_array(
  pg_temp.said(7, '2024-10-01T10:00:00Z', 'RECIPIENT_DELIVERED', 'er-q1', 'rui'))::text, 'UTF8'));
select max(id) as newest from tidings.event \gset
select rows from tidings.erase_recipient('rui') where object = 'tidings.event';
select max(last_id) = :'newest' as noted from tidings.log_head;
select inserted from tidings.ingest('er-chat', '{"event_id": "01JABCDEF00000000000000009", "event_type": "RECIPIENT_DELIVERED"}');
select max(e.id) > :'newest' as above from tidings.event e;
select count(tidings.drop_source(name)) from tidings.source where name like 'er-%';
