-- Ppoppo: events of a gRPC stream, dialed by the worker, which passes them on as a JSON
-- array with the field names of the .proto. Ppoppo Docs, "Event Streaming".

\set SHOW_CONTEXT never
set timezone to 'UTC';
set datestyle to 'ISO, YMD';

-- Every documented type, and what it becomes.
select ordinal, provider_kind, kind, request_id, recipient, message_id, error_code, channel
from tidings.normalize('ppoppo', '[
  {"event_id": "01JABCDEF00000000000000001", "send_request_id": "01JABCDE000000000000000000", "event_type": "RECIPIENT_DELIVERED",
   "recipient": {"ppnum": "12300000001", "message_id": "m-1"}, "occurred_at": "2024-10-19T10:00:00Z"},
  {"event_id": "01JABCDEF00000000000000002", "send_request_id": "01JABCDE000000000000000000", "event_type": "RECIPIENT_FAILED",
   "recipient": {"ppnum": "12300000004", "error_code": "UNREACHABLE"}, "occurred_at": "2024-10-19T10:00:00Z"},
  {"event_id": "01JABCDEF00000000000000003", "send_request_id": "01JABCDE000000000000000000", "event_type": "RECIPIENT_PENDING_CONSENT",
   "recipient": {"ppnum": "12300000002"}, "occurred_at": "2024-10-19T10:00:00Z"},
  {"event_id": "01JABCDEF00000000000000004", "send_request_id": "01JABCDE000000000000000000", "event_type": "CONSENT_GRANTED",
   "recipient": {"ppnum": "12300000002"}, "occurred_at": "2024-10-19T10:00:00Z"},
  {"event_id": "01JABCDEF00000000000000005", "send_request_id": "01JABCDE000000000000000000", "event_type": "CONSENT_DENIED",
   "recipient": {"ppnum": "12300000003"}, "occurred_at": "2024-10-19T10:00:00Z"},
  {"event_id": "01JABCDEF00000000000000006", "send_request_id": "01JABCDE000000000000000000", "event_type": "REQUEST_COMPLETED",
   "summary": {"delivered": 1, "failed": 1}, "occurred_at": "2024-10-19T10:00:00Z"},
  {"event_id": "01JABCDEF00000000000000007", "send_request_id": "01JABCDE000000000000000000", "event_type": "POLL_RESPONSE_RECEIVED",
   "recipient": {"ppnum": "12300000001"}, "occurred_at": "2024-10-19T10:00:00Z"}
]'::jsonb);

-- Its event_id is a ULID and is kept as it is; the payload is the item as sent.
select event_id, occurred_at, payload, error
from tidings.normalize('ppoppo', '{"event_id": "01jabcdef00000000000000006", "event_type": "REQUEST_COMPLETED",
  "summary": {"delivered": 1, "failed": 1}, "occurred_at": "2024-10-19T10:00:00.123456789+09:00", "new_field": [1]}'::jsonb);

-- Where the page is silent, anything reasonable is read: protobuf's own JSON names, the
-- prefix of its style guide, a type that is newer than this version (by name or by
-- number), a type that is 0 and therefore absent, neither recipient nor summary.
select ordinal, event_id, provider_kind, kind, request_id, recipient, message_id, error_code, error
from tidings.normalize('ppoppo', '[
  {"eventId": "01JABCDEF00000000000000001", "sendRequestId": "r", "eventType": "RECIPIENT_FAILED",
   "recipient": {"ppnum": "12300000001", "messageId": "m-1", "errorCode": "E1"}, "occurredAt": "2024-10-19T10:00:00Z"},
  {"event_id": "01JABCDEF00000000000000002", "event_type": "SEND_REQUEST_EVENT_TYPE_CONSENT_GRANTED", "occurred_at": "2024-10-19T10:00:00Z"},
  {"event_id": "01JABCDEF00000000000000003", "event_type": "RECIPIENT_READ", "occurred_at": "2024-10-19T10:00:00Z"},
  {"event_id": "01JABCDEF00000000000000004", "event_type": 99, "occurred_at": "2024-10-19T10:00:00Z"},
  {"event_id": "01JABCDEF00000000000000005", "occurred_at": "2024-10-19T10:00:00Z"},
  {"event_id": "01JABCDEF00000000000000006", "event_type": "CONSENT_DENIED", "recipient": null, "summary": null, "occurred_at": "2024-10-19T10:00:00Z"}
]'::jsonb);

-- Without a time, it is the ULID's. An id that is no ULID is hashed, with that time.
select ordinal, event_id, occurred_at, error
from tidings.normalize('ppoppo', '[
  {"event_id": "01JABCDEF00000000000000001", "event_type": "CONSENT_GRANTED"},
  {"event_id": "evt_01JABCDEF00000000000000001", "event_type": "CONSENT_GRANTED", "occurred_at": "2024-10-19T10:00:00Z"}
]'::jsonb);

-- What is no event, and why.
select ordinal, error
from tidings.normalize('ppoppo', '[
  {"event_type": "CONSENT_GRANTED", "occurred_at": "2024-10-19T10:00:00Z"},
  {"event_id": "", "event_type": "CONSENT_GRANTED", "occurred_at": "2024-10-19T10:00:00Z"},
  {"event_id": "evt_1", "event_type": "CONSENT_GRANTED"},
  {"event_id": "01JABCDEF00000000000000001", "event_type": "CONSENT_GRANTED", "occurred_at": "yesterday"},
  {"event_id": "01JABCDEF00000000000000001", "event_type": "CONSENT_GRANTED", "occurred_at": "1969-12-31T23:59:59Z"},
  {"event_id": ["01JABCDEF00000000000000001"], "event_type": "CONSENT_GRANTED"},
  "01JABCDEF00000000000000001",
  null
]'::jsonb);

-- A field of an unexpected type costs no event: its column has it as JSON.
select ordinal, provider_kind, kind, request_id, recipient, message_id, occurred_at, error
from tidings.normalize('ppoppo', '[
  {"event_id": "01JABCDEF00000000000000001", "event_type": {}, "recipient": {"ppnum": [], "message_id": "m"}},
  {"event_id": "01JABCDEF00000000000000001", "event_type": "RECIPIENT_DELIVERED", "recipient": "12300000001", "send_request_id": {}}
]'::jsonb);

-- Stored, once. The connection was ours, so that no header proves anything.
select tidings.add_source('ppoppo', 'ppoppo', 'token', '{"endpoint": "https://api.ppoppo.com/ext"}') is not null as added;
select verdict, inserted, duplicate, rejected, detail
from tidings.ingest('ppoppo', '[
  {"event_id": "01JABCDEF00000000000000001", "event_type": "RECIPIENT_PENDING_CONSENT",
   "recipient": {"ppnum": "12300000002"}, "occurred_at": "2024-10-19T10:00:00Z"},
  {"event_id": "01JABCDEF00000000000000002", "event_type": "CONSENT_GRANTED",
   "recipient": {"ppnum": "12300000002"}, "occurred_at": "2024-10-19T10:00:05Z"},
  {"event_type": "CONSENT_GRANTED"}
]');
-- The stream replays after a reconnect, with what is new; a ULID is the same in lower case.
select verdict, inserted, duplicate, rejected, detail
from tidings.ingest('ppoppo', '[
  {"event_id": "01jabcdef00000000000000002", "event_type": "CONSENT_GRANTED",
   "recipient": {"ppnum": "12300000002"}, "occurred_at": "2024-10-19T10:00:05+00:00"},
  {"event_id": "01JABCDEF00000000000000003", "event_type": "RECIPIENT_DELIVERED",
   "recipient": {"ppnum": "12300000002", "message_id": "m-2"}, "occurred_at": "2024-10-19T10:00:06Z"}
]');
select e.event_id, e.provider, e.kind, e.provider_kind, e.recipient, e.message_id, e.occurred_at
from tidings.event e join tidings.source s on s.id = e.source_id
where s.name = 'ppoppo' order by e.id;
select tidings.stream_cursor('ppoppo');
select tidings.drop_source('ppoppo');
