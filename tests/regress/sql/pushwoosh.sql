-- Pushwoosh: event streaming by HTTP, or by gRPC, whose messages the worker passes on as
-- JSON. Pushwoosh Docs, "Event streaming integration".

\set SHOW_CONTEXT never
set timezone to 'UTC';
set datestyle to 'ISO, YMD';

-- The page's own sample.
\set sample '{"event_name": "Email Opened", "message_code": "E682-E6D92B9A-53E24868", "campaign_id": 961048, "platform": "Email", "payload": "Welcome to Headway! 👋", "application_code": "32E5A-9B411", "hwid": "irun4716@gmail.com", "user_id": "1894410", "timestamp": 1723799271, "journey_title": "", "journey_point_title": "5_Welcome_ID_new"}'
\x on
select * from tidings.normalize('pushwoosh', :'sample'::bytea);
\x off

-- "The list of events may change over time": a name is read by its words, the last that
-- says something first. What says nothing known is "other", and keeps its name.
select provider_kind, kind
from unnest(array['Push Sent', 'Push Delivered', 'Push Opened', 'Email Sent', 'Email Delivered', 'Email Opened',
    'Email Clicked', 'Email Link Clicked', 'Email Bounced', 'Email Soft Bounced', 'Email Hard Bounce', 'Email Complained',
    'Email Spam Complaint', 'Email Unsubscribed', 'Email Rejected', 'Email Dropped', 'SMS Sent', 'SMS Delivered',
    'SMS Delivery Failed', 'SMS Undelivered', 'SMS Not Delivered', 'WhatsApp Read', 'WhatsApp Queued', 'Message Expired',
    'Message Accepted', 'email_opened', 'PUSH-SENT', 'Live Activity Started', 'Unopenable', '開封']) with ordinality w (word, n),
  tidings.normalize('pushwoosh', jsonb_build_object('event_name', word, 'timestamp', 1723799271))
order by n;

-- The page's platforms, as channels.
select string_agg(platform, ', ' order by n) as platforms, channel
from unnest(array['iOS', 'Android', 'macOS', 'Windows', 'Amazon', 'Safari', 'Chrome', 'Firefox', 'Internet Explorer', 'Baidu',
    'Huawei', 'Email', 'SMS', 'Line', 'Xiaomi', 'WhatsApp', 'Pigeon']) with ordinality p (platform, n),
  tidings.normalize('pushwoosh', jsonb_build_object('event_name', 'Push Sent', 'timestamp', 1, 'platform', platform))
group by channel order by min(n);

-- A batch has no documented form: an object, an array, a wrapped array, objects one
-- after another.
\set a '{"event_name": "Push Sent", "hwid": "a", "timestamp": 1723799271}'
\set b '{"event_name": "Push Sent", "hwid": "b", "timestamp": 1723799272}'
select form, string_agg(recipient, ', ' order by ordinal) as recipients, count(error) as errors
from (values
    (1, 'object', :'a'),
    (2, 'array', '[' || :'a' || ',' || :'b' || ']'),
    (3, 'wrapped', '{"events": [' || :'a' || ',' || :'b' || ']}'),
    (4, 'lines', :'a' || E'\n' || :'b' || E'\r\n'),
    (5, 'one after another', :'a' || :'b'),
    (6, 'arrays one after another', '[' || :'a' || '][' || :'b' || ']'),
    (7, 'with a byte order mark', U&'\FEFF' || :'a'),
    (8, 'empty array', '[]'),
    (9, 'empty wrapper', '{"events": []}')
  ) f (n, form, body)
left join lateral tidings.normalize('pushwoosh', convert_to(body, 'UTF8')) on true
group by n, form order by n;

-- Numbers may be texts, times may be seconds, milliseconds
-- or ISO 8601, ids may be above 2^53; fields may be absent. Live activity events carry
-- little.
select ordinal, kind, occurred_at, message_id, recipient, campaign, error
from tidings.normalize('pushwoosh', '[
  {"event_name": "Push Sent", "timestamp": "1723799271", "message_id": 12345678901234567890, "user_id": 7, "campaign_id": "961048"},
  {"event_name": "Push Sent", "timestamp": 1723799271123, "hwid": null, "user_id": "u"},
  {"event_name": "Push Sent", "timestamp": 1723799271.5, "message_code": "", "message_id": "m"},
  {"event_name": "Push Sent", "timestamp": "2024-08-16T09:07:51Z"},
  {"event_name": "Live Activity Updated", "timestamp": 1723799271, "live_activity_id": "l-1"}
]'::bytea);

-- What is no event, and why.
select ordinal, error
from tidings.normalize('pushwoosh', '[
  {"timestamp": 1723799271},
  {"event_name": null, "timestamp": 1723799271},
  {"event_name": ["Push Sent"], "timestamp": 1723799271},
  {"event_name": "Push Sent"},
  {"event_name": "Push Sent", "timestamp": "yesterday"},
  {"event_name": "Push Sent", "timestamp": -1},
  {"event_name": "Push Sent", "timestamp": 1e9},
  {"event_name": "Push Sent", "timestamp": 99999999999999999999},
  7
]'::bytea);

-- A field of an unexpected type costs no event: its column has it as JSON.
select kind, message_id, recipient, campaign, channel, error
from tidings.normalize('pushwoosh', '{"event_name": "Push Sent", "timestamp": 1723799271, "message_code": [], "hwid": {}, "user_id": true, "campaign_id": [1], "platform": {}}'::bytea);

-- Identity. On gRPC it is the uuid, whatever else the message says the second time.
select count(distinct event_id) as events
from (values ('{"event_name": "Push Sent", "timestamp": 1723799271, "uuid": "u-1", "hwid": "a"}'::bytea),
             ('{"uuid": "u-1", "hwid": "a", "timestamp": 1723799271, "event_name": "Push Sent"}')) v (body),
  tidings.normalize('pushwoosh', body);
-- By HTTP it is the bytes of the item, and which of several equal ones it is.
select ordinal, event_id, event_id = first_value(event_id) over (order by ordinal) as as_first
from tidings.normalize('pushwoosh', ('[' || :'a' || ',' || :'a' || ',' || :'b' || ',' || :'a' || ']')::bytea);
-- The time stands in the id's first 48 bits; no id of HTTP is ever one of gRPC.
select event_id, event_id::timestamptz
from (values ('{"event_name": "Push Sent", "timestamp": 1723799271, "uuid": "u-1"}'::bytea), (:'sample')) v (body),
  tidings.normalize('pushwoosh', body);

-- Stored. The Authorization value is demanded as a whole.
select tidings.add_source('pushwoosh', 'pushwoosh', 'Bearer secret') is not null as added;
\set right '{"authorization": "Bearer secret", "content-type": "application/json"}'
select verdict, inserted, duplicate, rejected, detail from tidings.ingest('pushwoosh', :'sample'::bytea, :'right');
select verdict, inserted, duplicate, rejected, detail from tidings.ingest('pushwoosh', :'sample'::bytea, :'right');
select header, verdict
from (values
    (1, '{}'::jsonb), (2, '{"authorization": "Bearer"}'), (3, '{"authorization": "Bearer secret "}'), (4, '{"authorization": "bearer secret"}'),
    (5, '{"authorization": "secret"}'), (6, '{"authorization": ""}'), (7, '{"authorization": ["Bearer secret"]}'),
    (8, '{"Authorization": "Bearer secret"}'), (9, '{"url-token": "Bearer secret"}')) h (n, header),
  tidings.ingest('pushwoosh', :'sample'::bytea, header)
order by n;
-- Two equal items of one request are two events; the request sent again meets itself.
select verdict, inserted, duplicate, rejected, detail
from tidings.ingest('pushwoosh', ('[' || :'a' || ',' || :'a' || ',' || :'b' || ', {"event_name": "Push Sent", "timestamp": "soon"}]')::bytea, :'right');
select verdict, inserted, duplicate, rejected, detail
from tidings.ingest('pushwoosh', ('[' || :'a' || ',' || :'a' || ',' || :'b' || ', {"event_name": "Push Sent", "timestamp": "soon"}]')::bytea, :'right');
select e.event_id, e.kind, e.channel, e.recipient, e.campaign, e.occurred_at, e.payload ->> 'payload' as subject
from tidings.event e join tidings.source s on s.id = e.source_id
where s.name = 'pushwoosh' order by e.id;
-- Another source is another account: the same bytes are another event there.
select tidings.add_source('pushwoosh-2', 'pushwoosh', 'Basic eDp5') is not null as added;
select verdict, inserted, duplicate from tidings.ingest('pushwoosh-2', :'sample'::bytea, '{"authorization": "Basic eDp5"}');
select tidings.drop_source('pushwoosh'), tidings.drop_source('pushwoosh-2');
