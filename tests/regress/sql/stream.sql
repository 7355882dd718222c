-- The cursor of a stream that the worker dials and resumes: the provider's id of the last
-- event that was stored, in the order of arrival, kept in the transaction that stores it.

\set SHOW_CONTEXT never

select tidings.add_source('chat', 'ppoppo', 'jwt') is not null and tidings.add_source('other-chat', 'ppoppo') is not null
  and tidings.add_source('sms', 'arpoone', options => '{"allow_unauthenticated": true}') is not null as added;

-- At its start there is none.
select tidings.stream_cursor('chat');

-- It is the last in arrival, not the greatest: concurrent producers may emit a smaller
-- ULID later.
select inserted, duplicate, rejected from tidings.ingest('chat', '[
  {"event_id": "01JABCDEF00000000000000003", "event_type": "CONSENT_GRANTED"},
  {"event_id": "01JABCDEF00000000000000001", "event_type": "CONSENT_GRANTED"}]');
select tidings.stream_cursor('chat');
select inserted, duplicate, rejected from tidings.ingest_batch('{chat,other-chat,chat}', array[
    '[{"event_id": "01JABCDEF00000000000000009", "event_type": "CONSENT_GRANTED"}, {"event_id": "01JABCDEF00000000000000007", "event_type": "CONSENT_GRANTED"}]',
    '[{"event_id": "01JABCDEF00000000000000008", "event_type": "CONSENT_GRANTED"}]',
    '[{"event_id": "01JABCDEF00000000000000002", "event_type": "CONSENT_GRANTED"}]'
  ]::bytea[], array['{}', '{}', '{}']::jsonb[]);
select tidings.stream_cursor('chat'), tidings.stream_cursor('other-chat');

-- It is the provider's text as it came, in its case, and whether it is a ULID or not.
select inserted from tidings.ingest('chat', '[{"eventId": "01jabcdef0000000000000000a", "event_type": "CONSENT_GRANTED"}]');
select tidings.stream_cursor('chat');
select inserted from tidings.ingest('chat', '[{"event_id": "evt_11", "event_type": "CONSENT_GRANTED", "occurred_at": "2024-10-19T10:00:00Z"}]');
select tidings.stream_cursor('chat');

-- It passes what is no event, or the stream would stop there for ever; and repetitions.
select inserted, duplicate, rejected, detail from tidings.ingest('chat', '[
  {"event_id": "01JABCDEF0000000000000000B", "event_type": "CONSENT_GRANTED"},
  {"event_id": "01JABCDEF0000000000000000C", "event_type": "CONSENT_GRANTED", "occurred_at": "soon"}]');
select tidings.stream_cursor('chat');
select inserted, duplicate, rejected from tidings.ingest('chat', '[{"event_id": "01JABCDEF0000000000000000B", "event_type": "CONSENT_GRANTED"}]');
select tidings.stream_cursor('chat');

-- What carries no id leaves it where it was.
select inserted, rejected from tidings.ingest('chat', '[{"event_id": "01JABCDEF0000000000000000D", "event_type": "CONSENT_GRANTED"}, {"event_type": "CONSENT_GRANTED"}, 7]');
select tidings.stream_cursor('chat');
select inserted, rejected from tidings.ingest('chat', '[{"event_type": "CONSENT_GRANTED"}, {"event_id": ""}, {"event_id": null}, {"event_id": {"a": 1}}, {"event_id": []}]');
select inserted, rejected from tidings.ingest('chat', '[]');
select verdict from tidings.ingest('chat', 'not JSON');
select tidings.stream_cursor('chat');

-- It goes the way of its transaction.
begin;
select inserted from tidings.ingest('chat', '[{"event_id": "01JABCDEF0000000000000000E", "event_type": "CONSENT_GRANTED"}]');
select tidings.stream_cursor('chat');
rollback;
select tidings.stream_cursor('chat');

-- A stopped source's stays; a dropped one's goes with it.
select tidings.set_source_enabled('chat', false);
select verdict from tidings.ingest('chat', '[{"event_id": "01JABCDEF0000000000000000F", "event_type": "CONSENT_GRANTED"}]');
select tidings.stream_cursor('chat');
select tidings.drop_source('chat');
select count(*) from tidings.stream where source_id not in (select id from tidings.source);
select tidings.add_source('chat', 'ppoppo', 'jwt') is not null as added;
select tidings.stream_cursor('chat');

-- A webhook has none.
select inserted from tidings.ingest('sms', '{"MessageId": "m", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:34:56Z", "event_id": "x"}');
select tidings.stream_cursor('sms');
select tidings.stream_cursor('nope');
\echo SQLSTATE :LAST_ERROR_SQLSTATE

select tidings.drop_source('chat'), tidings.drop_source('other-chat'), tidings.drop_source('sms');
