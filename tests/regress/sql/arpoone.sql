-- Arpoone: SMS webhooks, arrays of up to 1000 states, in no order. Arpoone API, "SMS
-- Webhooks".

\set SHOW_CONTEXT never
set timezone to 'UTC';
set datestyle to 'ISO, YMD';

-- The page's structure, with its three states.
\set pending '{"Msisdn": "351913462111", "Status": "PENDING", "MessageId": "0a6e3a5c-6d0c-4c9a-9d4e-0f5a3f1c2b4d", "OrganizationId": "7b1f3c1e-52f1-4b86-8f5c-2a6d1e0c9b3a", "ReportDescription": "Accepted by the network", "ReportDateTime": "2024-10-01T11:34:56Z", "TotalSegments": 1, "CustomPayload": "{\\"abc\\": \\"123\\"}"}'
\set delivered '{"Msisdn": "351913462111", "Status": "DELIVERED", "MessageId": "0a6e3a5c-6d0c-4c9a-9d4e-0f5a3f1c2b4d", "OrganizationId": "7b1f3c1e-52f1-4b86-8f5c-2a6d1e0c9b3a", "ReportDescription": "Delivered to handset", "ReportDateTime": "2024-10-01T11:34:58Z", "TotalSegments": 1, "CustomPayload": "{\\"abc\\": \\"123\\"}"}'
\set not_delivered '{"Msisdn": "351913462112", "Status": "NOT_DELIVERED", "MessageId": "9c0b6a5e-5a43-4f6b-8a0e-3c8d2b1f7e60", "OrganizationId": "7b1f3c1e-52f1-4b86-8f5c-2a6d1e0c9b3a", "ReportDescription": "Unknown subscriber", "ReportDateTime": "2024-10-01T11:35:00Z", "TotalSegments": 2, "CustomPayload": null}'
\set batch '[' :pending ',' :delivered ',' :not_delivered ']'
select ordinal, provider_kind, kind, channel, message_id, recipient, occurred_at, reason, error
from tidings.normalize('arpoone', :'batch'::jsonb);
select payload from tidings.normalize('arpoone', :'pending'::jsonb);

-- A state that this version does not know is "other".
select provider_kind, kind
from unnest(array['DELIVERED', 'Not_Delivered', 'pending', 'EXPIRED', '-']) with ordinality s (status, n),
  tidings.normalize('arpoone', jsonb_build_object('MessageId', 'm', 'Status', status, 'ReportDateTime', '2024-10-01T11:34:56Z'))
order by n;

-- Field names are read in any case; one object will do; only three fields must be there.
select ordinal, kind, message_id, recipient, error
from tidings.normalize('arpoone', '{"messageId": "m", "status": "DELIVERED", "reportDateTime": "2024-10-01T11:34:56Z", "msisdn": 351913462111}'::jsonb);

-- The page does not say how ReportDateTime is written. Without an offset it is UTC here,
-- and in a source the time of its option "timezone".
select written, occurred_at, error
from unnest(array['2024-10-01T11:34:56Z', '2024-10-01T12:34:56+01:00', '2024-10-01T11:34:56', '2024-10-01 11:34:56',
    '2024-10-01T11:34:56.1', '2024-10-01T11:34:56.1234567Z', '2024-10-01T11:34:56.999999999Z', '2024-10-01', '01/10/2024 11:34:56', 'now', ''
  ]) with ordinality t (written, n),
  tidings.normalize('arpoone', jsonb_build_object('MessageId', 'm', 'Status', 'PENDING', 'ReportDateTime', written))
order by n;

-- What is no state, and why.
select ordinal, error
from tidings.normalize('arpoone', '[
  {"Status": "DELIVERED", "ReportDateTime": "2024-10-01T11:34:56Z"},
  {"MessageId": "m", "ReportDateTime": "2024-10-01T11:34:56Z"},
  {"MessageId": "m", "Status": "DELIVERED"},
  {"MessageId": {"id": "m"}, "Status": "DELIVERED", "ReportDateTime": "2024-10-01T11:34:56Z"},
  []
]'::jsonb);

-- A field of an unexpected type costs no event: its column has it as JSON.
select kind, recipient, reason, payload - 'MessageId' as payload, error
from tidings.normalize('arpoone', '{"MessageId": "m", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T11:34:56Z", "Msisdn": {}, "ReportDescription": [1]}'::jsonb);

-- Identity: message, status, time and description; the time is what it means, not how it
-- is written, and what else the item says does not matter.
select what, event_id, event_id = first_value(event_id) over (order by n) as as_first
from (values
    (1, 'a state', '{"MessageId": "m", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:34:56Z", "ReportDescription": "d"}'::jsonb),
    (2, 'with another offset', '{"MessageId": "m", "Status": "PENDING", "ReportDateTime": "2024-10-01T12:34:56.000+01:00", "ReportDescription": "d"}'),
    (3, 'with more fields', '{"MessageId": "m", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:34:56Z", "ReportDescription": "d", "TotalSegments": 3}'),
    (4, 'at another time', '{"MessageId": "m", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:34:57Z", "ReportDescription": "d"}'),
    (5, 'another status', '{"MessageId": "m", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T11:34:56Z", "ReportDescription": "d"}'),
    (6, 'another message', '{"MessageId": "n", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:34:56Z", "ReportDescription": "d"}'),
    (7, 'another description', '{"MessageId": "m", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:34:56Z", "ReportDescription": "e"}'),
    (8, 'no description', '{"MessageId": "m", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:34:56Z"}')) v (n, what, body),
  tidings.normalize('arpoone', body)
order by n;

-- Stored. Arpoone has no scheme of its own: the secret is the token in the URL.
select tidings.add_source('arpoone', 'arpoone', 'url-secret', '{"timezone": "Europe/Lisbon"}') is not null as added;
select verdict, inserted, duplicate, rejected, detail from tidings.ingest('arpoone', convert_to(:'batch', 'UTF8'), '{"url-token": "url-secret"}');
-- The webhook is retried until it is answered 200, and may come in other pieces.
select verdict, inserted, duplicate, rejected, detail
from tidings.ingest('arpoone', convert_to('[' || :'delivered' || ',' || :'delivered' || ']', 'UTF8'), '{"url-token": "url-secret"}');
select header, verdict
from (values (1, '{}'::jsonb), (2, '{"url-token": ""}'), (3, '{"url-token": "url-secret2"}'), (4, '{"url-token": "url-secre"}'),
    (5, '{"authorization": "url-secret"}')) h (n, header),
  tidings.ingest('arpoone', convert_to(:'batch', 'UTF8'), header)
order by n;
-- A time without an offset is Lisbon's here: an hour ahead of UTC in summer, none in winter.
select verdict, inserted, duplicate, rejected, detail
from tidings.ingest('arpoone', '[
  {"MessageId": "summer", "Status": "DELIVERED", "ReportDateTime": "2024-07-01T12:00:00"},
  {"MessageId": "winter", "Status": "DELIVERED", "ReportDateTime": "2024-12-01T12:00:00"},
  {"MessageId": "offset", "Status": "DELIVERED", "ReportDateTime": "2024-07-01T12:00:00Z"}]', '{"url-token": "url-secret"}');
select e.event_id, e.kind, e.message_id, e.recipient, e.reason, e.occurred_at
from tidings.event e join tidings.source s on s.id = e.source_id
where s.name = 'arpoone' order by e.id;
-- A full request of 1000.
select verdict, inserted, duplicate, rejected, detail
from (select jsonb_agg(jsonb_build_object('MessageId', n, 'Status', 'PENDING', 'ReportDateTime', '2024-10-01T11:34:56Z')) as body
      from generate_series(1, 1000) n) b,
  tidings.ingest('arpoone', convert_to(body::text, 'UTF8'), '{"url-token": "url-secret"}');
select tidings.drop_source('arpoone');
