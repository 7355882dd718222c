-- What came through a worker's spool was answered 200 before it was verified: if it is refused,
-- it is kept within a bound as large as the spool, and what is removed of it is a gap.

\set SHOW_CONTEXT never
set timezone to 'UTC';
set datestyle to 'ISO, YMD';

select tidings.add_source('sp-sms', 'arpoone', 'old') is not null
  and tidings.add_source('sp-mail', 'pushwoosh', 'Bearer b') is not null as added;
create temp view kept as
select s.name as source, r.* from tidings.rejected r join tidings.source s on s.id = r.source_id and s.name like 'sp-%';
create function pg_temp.post(numbers int4range, headers jsonb) returns table (verdict text, requests bigint, inserted bigint)
language sql as $$
  select r.verdict, count(*), sum(r.inserted)
  from (
    select array_agg('sp-sms'::text) as sources,
      array_agg(convert_to(format('[{"MessageId": "sp-%s", "Status": "DELIVERED", "ReportDateTime": "2026-01-02T03:04:05Z", "Msisdn": "1"}]', n), 'UTF8') order by n) as bodies,
      array_agg(headers) as headers
    from generate_series(lower(numbers), upper(numbers) - 1) n
  ) x, tidings.ingest_batch(x.sources, x.bodies, x.headers) r
  group by 1
$$;

-- The provider has a new secret. Of the requests that were refused at once, the newest 1000
-- are kept; of those that had been spooled, all.
select * from pg_temp.post('[1,1101)', '{"url-token": "new", "direct": "yes"}');
select * from pg_temp.post('[2001,3501)', '{"url-token": "new", "spooled": "1073741824"}');
select * from pg_temp.post('[3501,5001)', '{"url-token": "new", "spooled": "1073741824"}');
select * from pg_temp.post('[5001,6001)', '{"url-token": "new", "direct": "yes"}');
select spool_bytes, headers ? 'direct' as direct, headers ? 'spooled' as says_so, count(*), count(distinct convert_from(body, 'UTF8')) as bodies
from kept group by 1, 2, 3 order by 1;
-- Neither kind makes the other's bound dearer to look at: each has an index.
select count(*) from pg_index i join pg_class c on c.oid = i.indexrelid
where i.indrelid = 'tidings.rejected'::regclass and pg_get_expr(i.indpred, i.indrelid) ~ 'spool_bytes';

-- Nothing of it is lost on the way back.
select count(*) from tidings.replay_rejected('sp-sms');
select count(*) from tidings.event e join tidings.source s on s.id = e.source_id where s.name = 'sp-sms';
select tidings.rotate_secret('sp-sms', 'new');
select verdict, count(*), sum(inserted) as inserted, sum(duplicate) as duplicate from tidings.replay_rejected('sp-sms') group by 1;
select count(*), count(distinct e.message_id), count(*) filter (where substr(e.message_id, 4)::int between 2001 and 5000) as spooled
from tidings.event e join tidings.source s on s.id = e.source_id where s.name = 'sp-sms';
select count(*) from kept;

-- Items and bodies that cannot be read, too; whole, also where they are long.
select verdict, inserted, rejected from tidings.ingest('sp-sms', '[7, {"MessageId": "sp-good", "Status": "DELIVERED", "ReportDateTime": "2026-01-02T03:04:05Z"}]',
  '{"url-token": "new", "spooled": "1000000"}');
select verdict, rejected from tidings.ingest('sp-sms', convert_to('["' || repeat('x', 1 << 20) || '"]', 'UTF8'), '{"url-token": "new", "spooled": "1000000"}');
select verdict from tidings.ingest('sp-sms', convert_to(repeat('x', (1 << 20) + 5), 'UTF8'), '{"url-token": "new", "spooled": "1000000", "x": "y"}');
select verdict from tidings.ingest('sp-mail', convert_to(repeat(' ', (1 << 20) + 5), 'UTF8'), '{"authorization": "Bearer c", "spooled": "1000000"}');
select source, verdict, ordinal, headers, spool_bytes, body_bytes, octet_length(body) as kept_bytes from kept order by id;
-- After a replay what is left keeps its mark.
select tidings.rotate_secret('sp-mail', 'Bearer c');
select tidings.ingest('sp-mail', '[{"event_name": "Push Sent", "hwid": "h", "timestamp": 1723799271}, 8]', '{"authorization": "Bearer d", "spooled": "1000000"}') is not null as refused;
select tidings.rotate_secret('sp-mail', 'Bearer d');
select verdict, inserted, rejected from tidings.replay_rejected('sp-mail') order by ordinal;
select verdict, reason, spool_bytes, headers, octet_length(body) as kept_bytes from kept where source = 'sp-mail' order by id;

-- Only the worker's own word counts.
select r.verdict
from unnest('{0,-1,yes,"",99999999999999999999}'::text[]) word,
  tidings.ingest('sp-mail', 'direct', jsonb_build_object('authorization', 'Bearer d', 'spooled', word)) r;
select r.verdict
from unnest(array['"spooled"', '["spooled"]', null]::jsonb[]) headers, tidings.ingest('sp-mail', 'direct', headers) r;
select verdict, count(*), count(spool_bytes) from kept where source = 'sp-mail' and octet_length(body) = 6 group by 1 order by 1;

-- The bound: for each source as much as the spool holds, the newest. What goes beyond it is a gap.
select action, object, rows, detail from tidings.maintain() where action in ('discarded', 'trimmed');
select source, verdict, count(*) from kept where spool_bytes is not null group by 1, 2 order by 1, 2;
select source, cause, detail, closed_at is null as open, from_at <= to_at as is_when from tidings.gap where source like 'sp-%' order by source;
select * from pg_temp.post('[9001,9004)', jsonb_build_object('url-token', 'newer', 'spooled', '1000000', 'x', repeat('x', 400000)));
select action, rows from tidings.maintain() where action = 'discarded';
-- The gap grows, and its detail with it.
select source, cause, detail from tidings.gap where source like 'sp-%' order by source;
select verdict, count(*) from kept where source = 'sp-sms' group by 1 order by 1;

-- And the time for which rejected rows are kept.
select tidings.ingest('sp-mail', '"old"', jsonb_build_object('authorization', 'Bearer d', 'spooled', '1000000', 'receipt-id', tidings.ulid_at('2026-01-01 00:00Z'))) is not null as refused;
begin;
update tidings.retention set keep_rejected = null;
select count(*) from tidings.maintain() where action = 'discarded';
rollback;
begin;
update tidings.retention set keep_rejected = '1 second';
select action, rows from tidings._maintain('2026-01-02 00:00Z') where action in ('discarded', 'trimmed');
select source, cause, from_at, detail from tidings.gap where source = 'sp-mail';
rollback;

select tidings.drop_source('sp-sms'), tidings.drop_source('sp-mail');
select count(*) from tidings.rejected where spool_bytes is not null;
