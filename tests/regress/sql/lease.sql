-- Which worker follows which stream, and what becomes of one that does not know yet that
-- it is another one.

\set SHOW_CONTEXT never
set timezone to 'UTC';
set datestyle to 'ISO, YMD';

select tidings.add_source('chat', 'ppoppo', 'jwt') is not null and tidings.add_source('talk', 'ppoppo', 'jwt') is not null
  and tidings.add_source('sms', 'arpoone', options => '{"allow_unauthenticated": true}') is not null as added;
\set a '''aaaaaaaa-0000-4000-8000-000000000000'''
\set b '''bbbbbbbb-0000-4000-8000-000000000000'''
create function granted(event_id text) returns bytea language sql as $$
  select convert_to(jsonb_build_array(jsonb_build_object('event_id', event_id, 'event_type', 'CONSENT_GRANTED'))::text, 'UTF8')
$$;

-- The first to ask has them; what is no stream, or not there, is left out.
select source, epoch is not null as held, wait > '9 s' and wait <= '10 s' as in_time
from tidings.hold_streams(:a, 'host 1', '{chat,sms,nobody}', '10 s') order by source;
select source, epoch is not null as held, wait > '9 s' and wait <= '10 s' as in_time
from tidings.hold_streams(:b, 'host 2', '{chat,talk}', '10 s') order by source;
select epoch as epoch_a from tidings.hold_streams(:a, 'host 1', '{chat}', '1 h') \gset
select source, lease_expires_at > clock_timestamp() + interval '59 min' as renewed from tidings.stream_status where source in ('chat', 'talk') order by source;

-- What was read under a lease carries its epoch.
select verdict, inserted, detail from tidings.ingest('chat', granted('01JABCDEF00000000000000001'), jsonb_build_object('lease-epoch', :'epoch_a'));
select verdict, inserted, detail from tidings.ingest('chat', granted('01JABCDEF00000000000000002'), jsonb_build_object('lease-epoch', :epoch_a));

-- Its time is over and nobody has taken the stream: it is still its.
update tidings.stream_lease set expires_at = now() - interval '1 s' where source_id = (select id from tidings.source where name = 'chat');
select verdict, inserted from tidings.ingest('chat', granted('01JABCDEF00000000000000003'), jsonb_build_object('lease-epoch', :'epoch_a'));
select epoch = :epoch_a as same from tidings.hold_streams(:a, 'host 1', '{chat}', '10 s');

-- Another one has taken it.
update tidings.stream_lease set expires_at = now() - interval '1 s' where source_id = (select id from tidings.source where name = 'chat');
select epoch as epoch_b, epoch > :epoch_a as greater from tidings.hold_streams(:b, 'host 2', '{chat}', '10 s') \gset
select :'greater' as greater, (select worker from tidings.stream_lease where source_id = (select id from tidings.source where name = 'chat'));
select epoch is null as lost from tidings.hold_streams(:a, 'host 1', '{chat}', '10 s');
select * from tidings.ingest_batch('{chat,sms,chat,chat}',
  array[granted('01JABCDEF00000000000000004'), '{"MessageId": "m", "Status": "PENDING", "ReportDateTime": "2024-10-01T11:34:56Z"}', granted('01JABCDEF00000000000000005'), granted('01JABCDEF00000000000000006')],
  array[jsonb_build_object('lease-epoch', :'epoch_a'), '{"lease-epoch": "1"}', jsonb_build_object('lease-epoch', :'epoch_b'), '{"lease-epoch": "x"}']);
select tidings.stream_cursor('chat'), (select count(*) from tidings.event where source_id = (select id from tidings.source where name = 'chat')) as stored;
select count(*) as kept from tidings.rejected;
-- Who is no worker needs no lease.
select verdict, inserted from tidings.ingest('chat', granted('01JABCDEF00000000000000007'));

-- Only who follows a stream reports on it.
select tidings.report_stream('chat', 'connected', 'host 2');
select tidings.report_stream('chat', 'ended', 'host 1');
select state, worker from tidings.stream_status where source = 'chat';

-- Given back, it is taken at once, by an epoch of its own.
select tidings.release_streams(:b);
select tidings.release_streams(:b);
select epoch > :epoch_b as taken from tidings.hold_streams(:a, 'host 1', '{chat}', '10 s');
select verdict from tidings.ingest('chat', granted('01JABCDEF00000000000000008'), jsonb_build_object('lease-epoch', :'epoch_b'));

-- To move the cursor ends the lease; a stopped source's is not held.
select epoch as epoch_a from tidings.hold_streams(:a, 'host 1', '{chat}', '10 s') \gset
select tidings.report_stream('chat', 'ended', 'host 1');
select tidings.set_source_enabled('chat', false);
select count(*) from tidings.hold_streams(:a, 'host 1', '{chat}', '10 s');
select tidings.set_stream_cursor('chat', '01JABCDEF00000000000000000');
select tidings.set_source_enabled('chat', true);
select verdict from tidings.ingest('chat', granted('01JABCDEF00000000000000009'), jsonb_build_object('lease-epoch', :'epoch_a'));
select tidings.stream_cursor('chat');

-- Its worker has gone, and the clock that it was given by was ahead of this one. A lease
-- that only has not ended yet is another thing.
update tidings.stream_lease set taken_at = now() + interval '36 h', renewed_at = now() + interval '36 h', expires_at = now() + interval '36 h 10 s';
select epoch > :epoch_a as taken, wait <= '10 s' as in_time from tidings.hold_streams(:b, 'host 2', '{chat}', '10 s');
update tidings.stream_lease set expires_at = now() + interval '1 day';
select epoch is null as anothers from tidings.hold_streams(:a, 'host 1', '{chat}', '10 s');
-- To renew it says when.
select id as chat from tidings.source where name = 'chat' \gset
select renewed_at as before from tidings.stream_lease where source_id = :chat \gset
select count(*) from tidings.hold_streams(:b, 'host 2', '{chat}', '10 s');
select renewed_at > :'before' as renewed, taken_at < renewed_at as not_taken_anew from tidings.stream_lease where source_id = :chat;
-- A clock that stepped back by less than a second takes it from nobody.
update tidings.stream_lease set renewed_at = now() + interval '900 ms', expires_at = now() + interval '1 day';
select epoch is null as anothers from tidings.hold_streams(:a, 'host 1', '{chat}', '10 s');

-- What makes no sense.
select * from tidings.hold_streams(null, 'host', '{chat}', '10 s');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select * from tidings.hold_streams(:a, 'host', '{chat}', '-1 s');
select * from tidings.hold_streams(:a, 'host', '{chat}', '1 month');
select * from tidings.hold_streams(:a, 'host', '{chat}', '300000 years');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select * from tidings.hold_streams(:a, 'host', null, '10 s');

select tidings.drop_source(name) from tidings.source where name in ('chat', 'talk', 'sms') order by name;
select count(*) from tidings.stream_lease;
drop function granted;
