-- PushPushGo: webhooks of one object, signed with HMAC-SHA1 under the ProjectId.
-- PushPushGo help, "Webhooks".

\set SHOW_CONTEXT never
set timezone to 'UTC';
set datestyle to 'ISO, YMD';

-- The page's samples, one of each kind.
create temp table sample (n, body) as values
  (1, '{"kind": "subscriber:update", "projectId": "5d411352784425000bd02a15", "customId": "c1", "ppgId": "p1"}'),
  (2, '{"kind": "subscriber:subscribe", "projectId": "5d411352784425000bd02a15", "customId": "c1", "ppgId": "p1"}'),
  (3, '{"kind": "subscriber:unsubscribe", "projectId": "5d411352784425000bd02a15", "customId": "c1", "ppgId": "p1"}'),
  (4, '{"kind": "transaction:message:delivered", "projectId": "5d411352784425000bd02a15", "subscriberId": "p1", "messageId": "m1", "provider": "fcm_v1", "ts": "2024-10-01T11:34:56.000Z"}'),
  (5, '{"kind": "transaction:message:clicked", "projectId": "5d411352784425000bd02a15", "subscriberId": "p1", "clickAction": 1, "messageId": "m1", "provider": "fcm_v1", "ts": "2024-10-01T11:35:00.250Z"}'),
  (6, '{"kind": "transaction:message:rejected", "projectId": "5d411352784425000bd02a15", "subscriberId": "p1", "reason": "unsubscribed", "messageId": "m2", "provider": "vapid", "ts": "2024-10-01T11:36:00.000Z"}'),
  (7, '{"kind": "transaction:message:error", "projectId": "5d411352784425000bd02a15", "subscriberId": "p1", "error": "bad token", "payload": {"code": 410}, "messageId": "m3", "provider": "vapid", "ts": "2024-10-01T11:37:00.000Z"}');
select provider_kind, kind, channel, recipient, message_id, reason, occurred_at
from sample, tidings.normalize('pushpushgo', body::jsonb) order by n;

-- A kind that this version does not know is "other".
select provider_kind, kind, error
from unnest(array['subscriber:merge', 'transaction:message:sent', 'x']) with ordinality k (kind_, n),
  tidings.normalize('pushpushgo', jsonb_build_object('kind', kind_, 'ts', '2024-10-01T11:34:56Z'))
order by n;

-- Times are ISO 8601, or milliseconds as in the provider's other product; clickAction is
-- a number, or a text with one; a customId that is not defined is absent, null or empty.
select ordinal, occurred_at, event_id, payload ->> 'clickAction' as click_action
from tidings.normalize('pushpushgo', '[
  {"kind": "transaction:message:clicked", "messageId": "m", "subscriberId": "p", "clickAction": 0, "ts": "2024-10-01T11:34:56.789Z"},
  {"kind": "transaction:message:clicked", "messageId": "m", "subscriberId": "p", "clickAction": "0", "ts": 1727782496789},
  {"kind": "transaction:message:clicked", "messageId": "m", "subscriberId": "p", "clickAction": 3, "ts": "1727782496789"},
  {"kind": "subscriber:subscribe", "customId": null, "ppgId": "p"}
]'::jsonb);

-- What is no event, and why.
select ordinal, error
from tidings.normalize('pushpushgo', '[
  {"projectId": "5d411352784425000bd02a15"},
  {"kind": 1e2, "ts": "then"},
  {"kind": {}, "ts": "2024-10-01T11:34:56Z"},
  {"kind": "transaction:message:delivered", "messageId": "m"},
  {"kind": "transaction:message:delivered", "messageId": "m", "ts": ""},
  {"kind": "transaction:message:delivered", "messageId": "m", "ts": ["2024-10-01T11:34:56Z"]},
  true
]'::jsonb);

-- A field of an unexpected type costs no event: its column has it as JSON.
select kind, message_id, recipient, reason, error
from tidings.normalize('pushpushgo', '{"kind": "transaction:message:error", "messageId": ["m"], "subscriberId": 7, "error": {"code": 1}, "ts": "2024-10-01T11:34:56Z"}'::jsonb);

-- Identity of a message event: kind, message, subscriber, time, click. What else it says
-- does not matter. A subscriber event has none: no id, no time.
select what, event_id, event_id = first_value(event_id) over (order by n) as as_first
from (values
    (1, 'a click', '{"kind": "transaction:message:clicked", "messageId": "m", "subscriberId": "p", "clickAction": 1, "ts": "2024-10-01T11:34:56Z"}'::jsonb),
    (2, 'sent again', '{"ts": "2024-10-01T13:34:56+02:00", "kind": "transaction:message:clicked", "messageId": "m", "subscriberId": "p", "clickAction": "1", "provider": "x"}'),
    (3, 'on another button', '{"kind": "transaction:message:clicked", "messageId": "m", "subscriberId": "p", "clickAction": 2, "ts": "2024-10-01T11:34:56Z"}'),
    (4, 'of another message', '{"kind": "transaction:message:clicked", "messageId": "n", "subscriberId": "p", "clickAction": 1, "ts": "2024-10-01T11:34:56Z"}'),
    (5, 'by another subscriber', '{"kind": "transaction:message:clicked", "messageId": "m", "subscriberId": "q", "clickAction": 1, "ts": "2024-10-01T11:34:56Z"}'),
    (6, 'at another time', '{"kind": "transaction:message:clicked", "messageId": "m", "subscriberId": "p", "clickAction": 1, "ts": "2024-10-01T11:34:56.001Z"}'),
    (7, 'another kind', '{"kind": "transaction:message:delivered", "messageId": "m", "subscriberId": "p", "clickAction": 1, "ts": "2024-10-01T11:34:56Z"}'),
    (8, 'of a subscriber', '{"kind": "subscriber:subscribe", "ppgId": "p"}')) v (n, what, body),
  tidings.normalize('pushpushgo', body)
order by n;

-- Stored. The signature is that of the bytes: a space more, and it is wrong.
select tidings.add_source('pushpushgo', 'pushpushgo', '5d411352784425000bd02a15') is not null as added;
create function pg_temp.signed(body text, form text default 'hex') returns jsonb language sql as $$
  select jsonb_build_object('x-ppg-signature', encode(tidings.hmac_sha1(convert_to(body, 'UTF8'), '5d411352784425000bd02a15'), form))
$$;
select n, r.verdict, r.inserted, r.duplicate, r.rejected, r.detail
from sample, lateral tidings.ingest('pushpushgo', convert_to(body, 'UTF8'), pg_temp.signed(body)) r order by n;
-- Again: the provider retries. Message events meet themselves; of a subscriber event
-- nothing tells a retry from another one, and it is never dropped.
select n, r.verdict, r.inserted, r.duplicate
from sample, lateral tidings.ingest('pushpushgo', convert_to(body, 'UTF8'), pg_temp.signed(body, 'base64')) r order by n;
select r.verdict, r.detail
from sample, lateral tidings.ingest('pushpushgo', convert_to(body || ' ', 'UTF8'), pg_temp.signed(body)) r where n = 4;
select headers, r.verdict
from sample, (values (1, '{}'::jsonb), (2, '{"x-ppg-signature": ""}'), (3, '{"x-ppg-signature": null}'),
    (4, '{"x-ppg-signature": "da39a3ee5e6b4b0d3255bfef95601890afd80709"}')) h (i, headers),
  lateral tidings.ingest('pushpushgo', convert_to(body, 'UTF8'), headers) r
where n = 4 order by i;
select e.kind, e.message_id, e.recipient, e.reason, e.occurred_at, count(*)
from tidings.event e join tidings.source s on s.id = e.source_id
where s.name = 'pushpushgo' and e.provider_kind like 'transaction:%'
group by 1, 2, 3, 4, 5 order by e.occurred_at;
-- A subscriber event's time is that of its receipt, and its identity too.
select e.kind, count(*), bool_and(e.occurred_at = e.received_at) as at_receipt, bool_and(e.event_id = e.id) as as_received
from tidings.event e join tidings.source s on s.id = e.source_id
where s.name = 'pushpushgo' and e.provider_kind like 'subscriber:%'
group by 1 order by 1;
select tidings.drop_source('pushpushgo');

-- The ProjectId stands in every site's script. A token in the URL on top proves more.
select tidings.add_source('pushpushgo', 'pushpushgo', '5d411352784425000bd02a15', '{"url_token": "t"}') is not null as added;
select headers, r.verdict
from sample, (values (1, '{}'::jsonb), (2, '{"url-token": "t"}'), (3, '{"url-token": "u"}')) h (i, headers),
  lateral tidings.ingest('pushpushgo', convert_to(body, 'UTF8'), headers || pg_temp.signed(body)) r
where n = 4 order by i;
select tidings.drop_source('pushpushgo');
