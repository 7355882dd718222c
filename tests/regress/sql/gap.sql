-- Where events may be missing: tidings.gap.

\set SHOW_CONTEXT never
set timezone to 'UTC';
set datestyle to 'ISO, YMD';

select tidings.add_source('gap-chat', 'ppoppo') is not null and tidings.add_source('gap-sms', 'arpoone', 't0ken') is not null as added;
create temp view gaps as
select source, cause, from_cursor, to_cursor, from_at, case when to_at > found_at - interval '1 minute' then 'now' else to_at::text end as to_at, detail, closed_at is not null as closed, closed_by
from tidings.gap where source like 'gap-%' order by id;

-- A first dial. In one transaction the stream cursor moves to where the stream goes on.
select tidings.report_gap('gap-chat', 'started_at_live_edge', detail => 'no cursor', resume_after => '01JABCDEF00000000000000000') as gap \gset
select * from gaps;
select tidings.stream_cursor('gap-chat');
select source, cursor, last_event_at, open_gaps from tidings.stream_status where source = 'gap-chat';
-- As long as no event arrives, it is one outage.
select tidings.report_gap('gap-chat', 'cursor_expired', detail => 'the cursor has expired', resume_after => '01JABCDEG00000000000000000') = :gap as the_same;
select * from gaps;
select tidings.stream_cursor('gap-chat');

-- The first event ends it: the first in arrival, not the greatest, whether it is new or
-- not, and not an answer to a question of ours. Later ones change nothing.
select inserted from tidings.ingest('gap-chat', '{"reconciled": true, "send_request_id": "gap-q1", "recipient": {"ppnum": "12300000001", "status": "PENDING", "created_at": "2024-10-19T10:00:00Z"}}');
select to_cursor from gaps;
select inserted, rejected from tidings.ingest_batch('{gap-chat,gap-chat}', array[
  '[{"event_id": "01JABCDEH00000000000000002", "event_type": "RECIPIENT_DELIVERED", "send_request_id": "gap-q1", "recipient": {"ppnum": "12300000001"}, "occurred_at": "2024-10-20T10:00:00Z"},
    {"event_id": "01JABCDEH00000000000000001", "event_type": "RECIPIENT_PENDING_CONSENT", "send_request_id": "gap-q2", "recipient": {"ppnum": "12300000002"}, "occurred_at": "2024-10-20T09:00:00Z"}]',
  '[{"event_id": "01JABCDEH00000000000000003", "event_type": "REQUEST_COMPLETED", "send_request_id": "gap-q1", "summary": {"delivered": 1, "failed": 0}, "occurred_at": "2024-10-20T11:00:00Z"}]']::bytea[],
  '{"{}","{}"}');
select * from gaps;
select inserted from tidings.ingest('gap-chat', '{"event_id": "01JABCDEH00000000000000004", "event_type": "REQUEST_COMPLETED", "send_request_id": "gap-q3", "summary": {"delivered": 2, "failed": 0}, "occurred_at": "2024-10-20T12:00:00Z"}');
select to_cursor, to_at from gaps;
select source, cursor, last_event_at is not null as events, open_gaps from tidings.stream_status where source = 'gap-chat';
select name, open_gaps from tidings.lag where name like 'gap-%' order by name;

-- The next outage is another gap. It begins at the stream cursor, unless the worker says
-- where.
select tidings.report_gap('gap-chat', 'cursor_expired', resume_after => '01JABCDEJ00000000000000000') > :gap as another;
select cause, from_cursor, from_at, to_cursor, to_at from gaps;

-- Under a lease that is no longer valid nothing is changed.
select epoch from tidings.hold_streams('aaaaaaaa-0000-4000-8000-000000000000', 'host 1', '{gap-chat}', '10 s') \gset
select tidings.report_gap('gap-chat', 'cursor_expired', detail => 'by another', resume_after => 'x', lease_epoch => :epoch + 1);
select tidings.stream_cursor('gap-chat'), count(*), count(*) filter (where detail = 'by another') from gaps;
select tidings.report_gap('gap-chat', 'cursor_expired', detail => 'by the holder', lease_epoch => :epoch) > :gap as by_the_holder;
select tidings.stream_cursor('gap-chat'), count(*), count(*) filter (where detail = 'by the holder') from gaps;
select tidings.release_streams('aaaaaaaa-0000-4000-8000-000000000000');

-- What to ask the provider for: what has not ended, or has unfinished recipients, or
-- differs from its summary. q1 is complete, but lies in the first gap, which has no beginning.
select * from tidings.requests_to_reconcile('gap-chat');
select * from tidings.requests_to_reconcile('gap-chat', after_request => 'gap-q1', max_requests => 1);
select * from tidings.requests_to_reconcile('gap-chat', after_request => 'gap-q3');
select tidings.close_gap(:gap, 'the provider was asked: 1 recovered');
select tidings.close_gap(:gap);
select count(tidings.close_gap(id)) from tidings.gap where source = 'gap-chat' and closed_at is null;
select closed, replace(closed_by, session_user, 'me') as closed_by from gaps;
select request_id from tidings.requests_to_reconcile('gap-chat');
select request_id from tidings.requests_to_reconcile('gap-chat', since => '2024-10-20T11:00:00Z');
select request_id from tidings.requests_to_reconcile('gap-chat', since => '2024-10-20T11:00:00.000001Z');
select tidings.request_finals('gap-chat', 'gap-q1'), tidings.request_finals('gap-chat', 'gap-q2'), tidings.request_finals('gap-chat', 'nope');
select open_gaps from tidings.stream_status where source = 'gap-chat';
-- A difference is a reason for 30 days.
select inserted from tidings.ingest('gap-chat', '{"reconciled": true, "send_request_id": "gap-q4", "summary": {"status": "COMPLETED", "total_recipients": 1, "delivered": 1}}');
select inserted from tidings.ingest('gap-chat', '{"reconciled": true, "send_request_id": "gap-q5", "summary": {"status": "COMPLETED", "total_recipients": 1, "delivered": 1}}',
  jsonb_build_object('receipt-id', tidings.ulid_at(now() - interval '40 days')::text));
select request_id from tidings.requests_to_reconcile('gap-chat') where request_id > 'gap-q3';
select request_id from tidings.requests_to_reconcile('gap-chat', since => now() - interval '41 days') where request_id > 'gap-q3';

-- Requests that were lost: one gap for each way in which they were.
select tidings.report_gap('gap-sms', 'provider_gave_up', from_at => '2024-10-20T10:00:00Z', to_at => '2024-10-20T10:05:00Z', detail => '503 too_busy: 3 requests') as gap \gset
select tidings.report_gap('gap-sms', 'provider_gave_up', from_at => '2024-10-20T09:00:00Z', to_at => '2024-10-20T09:05:00Z', detail => '503 too_busy: 4 requests') = :gap as the_same;
select tidings.report_gap('gap-sms', 'provider_gave_up', from_at => '2024-10-20T11:00:00Z', to_at => '2024-10-20T11:05:00Z', detail => '413 too_large: 1 request') = :gap as the_same;
select tidings.report_gap('gap-sms', 'spool_discarded') = :gap as the_same;
select * from gaps where source = 'gap-sms';
-- What was reported again since is not closed by who has not seen that.
select reported_at from tidings.gap where id = :gap \gset
select tidings.report_gap('gap-sms', 'provider_gave_up', from_at => '2024-10-20T10:00:00Z', to_at => '2024-10-20T10:05:00Z', detail => '503 too_busy: 4 requests') = :gap as the_same;
select tidings.close_gap(:gap, 'too early', :'reported_at');
select reported_at from tidings.gap where id = :gap \gset
select tidings.close_gap(:gap, reported_at => :'reported_at');
select tidings.report_gap('gap-sms', 'provider_gave_up', from_at => '2024-10-21T10:00:00Z', to_at => '2024-10-21T10:05:00Z', detail => '503 too_busy: 1 request') > :gap as another;
-- None of them ends with an event, and none has anything to do with a stream.
select verdict, inserted from tidings.ingest('gap-sms', '{"MessageId": "gap-m", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T11:34:56Z"}', '{"url-token": "t0ken"}');
select cause, from_at, to_at, to_cursor, detail, closed from gaps where source = 'gap-sms';

-- A cursor that leaps over events; not one that goes back.
select tidings.set_source_enabled('gap-chat', false);
select tidings.set_stream_cursor('gap-chat', '01JABCDEK00000000000000000');
select tidings.set_stream_cursor('gap-chat', '01JABCDEK00000000000000000');
select tidings.set_stream_cursor('gap-chat', '01JABCDEJ00000000000000000');
select tidings.set_stream_cursor('gap-chat', 'evt_1');
select cause, from_cursor, to_cursor, from_at, to_at, replace(detail, session_user, 'me') as detail from gaps where source = 'gap-chat' and not closed;
-- From the live edge, and with what the dial says of it that is one gap.
select tidings.set_stream_cursor('gap-chat', null);
select tidings.set_source_enabled('gap-chat', true);
select tidings.report_gap('gap-chat', 'started_at_live_edge', detail => 'no cursor', resume_after => '01JABCDEM00000000000000000') = max(id) as the_same from tidings.gap;
select cause, from_cursor, to_cursor, from_at, to_at, detail from gaps where source = 'gap-chat' and not closed offset 2;
select inserted from tidings.ingest('gap-chat', '{"event_id": "01JABCDEN00000000000000000", "event_type": "RECIPIENT_DELIVERED"}');
select cause, from_cursor, to_cursor, to_at from gaps where source = 'gap-chat' and not closed offset 2;

-- What cannot be.
select tidings.report_gap('nope', 'cursor_expired');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.report_gap('gap-chat', 'bad luck');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.report_gap('gap-chat', null);
select tidings.report_gap('gap-chat', 'moved_by_hand');
select tidings.report_gap('gap-chat', 'cursor_expired', resume_after => '');
select tidings.report_gap('gap-sms', 'cursor_expired');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.close_gap(-1);
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.close_gap(null);
select tidings.requests_to_reconcile('nope');
select tidings.requests_to_reconcile('gap-chat', max_requests => -1);
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.request_finals('nope', 'gap-q1');

-- The rows of a source stay when it goes.
select tidings.drop_source('gap-chat'), tidings.drop_source('gap-sms');
select source, count(*), bool_and(closed) as closed, count(*) filter (where closed_by = 'the source was dropped') as dropped from gaps group by 1 order by 1;
