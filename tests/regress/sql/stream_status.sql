-- What the worker reports of the streams that it dials, and where a stream goes on.

\set SHOW_CONTEXT never

select tidings.add_source('chat', 'ppoppo', 'jwt') is not null
  and tidings.add_source('sms', 'arpoone', 'token', '{"url_token": "t"}') is not null
  and tidings.add_source('open', 'arpoone', options => '{"allow_unauthenticated": true}') is not null
  and tidings.add_source('shut', 'pushpushgo') is not null as added;

-- What each source demands, and what providers there are.
select * from tidings.source_policy order by name;
select tidings.rotate_secret('sms', 'token-2');
select name, secrets, url_tokens, accepts from tidings.source_policy where name = 'sms';
select * from tidings.providers() where name in ('ppoppo', 'pushwoosh', 'arpoone', 'pushpushgo') order by name;

-- A stream's way.
select source, state, since is not null as since, worker, failures, last_error, next_try_at is not null as next_try from tidings.stream_status;
select tidings.report_stream('chat', 'connecting', 'host:1');
select source, state, since is not null as since, worker, connected_at is not null as connected, failures, last_error from tidings.stream_status;
select tidings.report_stream('chat', 'connected', 'host:1');
select source, state, connected_at = since as connected_since, failures, last_error from tidings.stream_status;
select inserted from tidings.ingest('chat', '[{"event_id": "01JABCDEF00000000000000003", "event_type": "CONSENT_GRANTED"}]');
select tidings.report_stream('chat', 'waiting', 'host:1', 2, 'the endpoint is away', now() + interval '1 hour');
select state, cursor, last_event_at is not null as event, failures, last_error, last_error_at = reported_at as just_now, next_try_at > now() as later from tidings.stream_status;
-- The last error stays to be read, and the time at which it was connected.
select tidings.report_stream('chat', 'connected', 'host:2');
select state, worker, failures, last_error, last_error_at < connected_at as earlier, connected_at = since as connected_since, next_try_at from tidings.stream_status;
-- Said again it is still the same state.
select tidings.report_stream('chat', 'connected', 'host:2');
select since < reported_at as is_the_same, connected_at = since as connected_since from tidings.stream_status;
-- A worker that has gone without a word.
update tidings.stream_state set reported_at = now() - interval '3 minutes';
select state from tidings.stream_status;
-- No stream, no report; no such state.
select tidings.report_stream('sms', 'connected', 'host:1'), tidings.report_stream('nobody', 'connected', 'host:1');
select count(*) from tidings.stream_state;
select tidings.report_stream('chat', 'dreaming', 'host:1');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.report_stream('chat', 'connected', null);
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.report_stream('chat', 'connected', 'host:1', null);
\echo SQLSTATE :LAST_ERROR_SQLSTATE
-- It waits for no standby, nor do those who hold and release.
begin;
select tidings.report_stream('chat', 'connected', 'host:2');
show synchronous_commit;
rollback;
begin;
select count(*) from tidings.hold_streams('aaaaaaaa-0000-4000-8000-000000000000', 'host:2', '{chat}', '10 s');
show synchronous_commit;
rollback;
begin;
select tidings.release_streams('aaaaaaaa-0000-4000-8000-000000000000');
show synchronous_commit;
rollback;

-- The cursor is moved while nothing can move it back: the source is disabled, and that is committed.
select tidings.set_stream_cursor('chat', null);
select tidings.set_stream_cursor('chat', '');
begin;
select tidings.set_source_enabled('chat', false);
select tidings.set_stream_cursor('chat', null);
rollback;
select tidings.set_source_enabled('chat', false);
select state from tidings.stream_status;
select tidings.set_stream_cursor('chat', '');
select tidings.set_stream_cursor('chat', 'evt_1');
select tidings.stream_cursor('chat');
select tidings.set_stream_cursor('chat', null);
select tidings.stream_cursor('chat');
select tidings.set_stream_cursor('chat', 'evt_2');
select tidings.set_source_enabled('chat', true);
select tidings.stream_cursor('chat');
select tidings.set_stream_cursor('sms', null);
select tidings.set_stream_cursor('nobody', null);

select tidings.drop_source(name) from tidings.source where name in ('chat', 'sms', 'open', 'shut') order by name;
select count(*) from tidings.stream_state;
