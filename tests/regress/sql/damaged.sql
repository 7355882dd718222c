-- One damaged item costs no other: each kind of damage, in an array, in a wrapper and in lines,
-- through tidings.ingest. The good items are stored, and the damaged one is kept in
-- tidings.rejected, with its place, its reason and its bytes.

\set SHOW_CONTEXT never
set timezone to 'UTC';
set datestyle to 'ISO, YMD';

select tidings.add_source('dm-sms', 'arpoone', 't') is not null
  and tidings.add_source('dm-mail', 'pushwoosh', 'Bearer b') is not null
  and tidings.add_source('dm-push', 'pushpushgo', options => '{"allow_unauthenticated": true}') is not null
  and tidings.add_source('dm-chat', 'ppoppo') is not null as added;
create temp view kept as
select r.*, s.name as source from tidings.rejected r join tidings.source s on s.id = r.source_id and s.name like 'dm-%';
create temp view stored as
select s.name as source, e.* from tidings.event e join tidings.source s on s.id = e.source_id and s.name like 'dm-%';
set tidings.headers = '{"authorization": "Bearer b", "url-token": "t"}';

-- An item of each provider; what is damaged is in "extra".
create function pg_temp.item(provider text, n text, extra bytea) returns bytea language sql as $$
  select convert_to(replace(case provider
    when 'ppoppo' then '{"event_id": "01JABCDEF000000000000#", "event_type": "RECIPIENT_DELIVERED", "extra": '
    when 'pushwoosh' then '{"event_name": "Push Sent", "hwid": "#", "timestamp": 1723799271, "extra": '
    when 'arpoone' then '{"MessageId": "#", "Status": "DELIVERED", "ReportDateTime": "2024-10-01T11:34:56Z", "CustomPayload": '
    when 'pushpushgo' then '{"kind": "transaction:message:delivered", "messageId": "#", "subscriberId": "p", "ts": 1723799271000, "extra": '
  end, '#', n), 'UTF8') || extra || '}'::bytea
$$;
create function pg_temp.body(form text, items bytea[]) returns bytea language sql as $$
  select case form
    when 'array' then '['::bytea || string_agg(i, ','::bytea order by n) || ']'::bytea
    when 'pretty' then E'[\n  '::bytea || string_agg(i, E',\n  '::bytea order by n) || E'\n]\n'::bytea
    when 'wrapper' then '{"batch": 7, "events": ['::bytea || string_agg(i, ', '::bytea order by n) || '], "next": "n"}'::bytea
    when 'lines' then string_agg(i, E'\n'::bytea order by n)
  end
  from unnest(items) with ordinality i (i, n)
$$;
create temp table damage (n, what, extra) as values
  (1, 'a byte that is no UTF-8', '"a\377b"'::bytea),
  (2, 'a character that was cut', '"a\303"'),
  (3, 'a surrogate in UTF-8', '"\355\240\200"'),
  (4, 'a line break in a string', E'"a\nb"'),
  (5, 'a tab in a string', E'"a\tb"'),
  (6, 'a NUL in a string', '"a\000b"'),
  (7, 'an escape that JSON has not', '"\\x41"'),
  (8, 'NaN', 'NaN'),
  (9, 'words of another language', 'True, "b": None'),
  (10, 'single quotes', $$'it'$$),
  (11, 'a comma too much', '1,'),
  (12, 'a comma too few', '1 "b": 2'),
  (13, 'no colon', '"a" "b" 1'),
  (14, 'quotes that are not escaped', '"{"abc": "123"}"'),
  (15, 'the same, as the page has them', '"{\\"abc\\": "123"}"'),
  (16, 'one quote that is not escaped', '"5" screen"'),
  (17, 'an item as text that is not escaped', '"},{"MessageId": "no", "event_name": "no"},{"'),
  (18, 'a quote too few', '"abc'),
  (19, 'a bracket too few', '{"a": 1'),
  (20, 'a bracket too many', '1}'),
  (21, 'the wrong bracket', '[1}'),
  (22, 'brackets that do not nest', '[{"a": 1]}');

-- For each damage: what was stored of the items 1, 2 and 4, of which 2 is damaged, and what was rejected.
create function pg_temp.outcome(source text, provider text, form text, n int, extra bytea) returns text language plpgsql as $$
declare
  r tidings.receipt;
  names text[];
  bad bytea;
  answer text;
begin
  select array_agg(upper(lpad(to_hex(n * 16 + i), 3, '0')) || left(upper(form), 1) || case provider when 'ppoppo' then 'X' else '' end order by i) into names from generate_series(1, 4) i;
  bad := pg_temp.item(provider, names[2], extra);
  r := tidings.ingest(source, pg_temp.body(form, array[
    pg_temp.item(provider, names[1], '{"list": [{"a": 1}, {"b": "}, {"}]}'), bad,
    pg_temp.item(provider, names[3], 'null'), pg_temp.item(provider, names[4], '"\\"}, {\\""')]),
    current_setting('tidings.headers')::jsonb);
  select string_agg(i::text, ',' order by i) into answer from generate_subscripts(names, 1) i
  where exists (select from stored e where e.source = outcome.source and e.payload::text like '%' || names[i] || '"%');
  select format('%s: %s; item %s, %s bytes%s: %s', r.verdict, answer, string_agg(k.ordinal::text, ','), string_agg(octet_length(k.body)::text, ','),
    case when bool_and(k.body = bad) then ', it' end, string_agg(k.reason, '; '))
  into answer from kept k where k.source = outcome.source;
  delete from tidings.rejected k using tidings.source s where s.id = k.source_id and s.name = outcome.source;
  return answer;
end $$;
select d.n, d.what, o.outcome, string_agg(o.form, ', ' order by o.form) as forms
from damage d,
  lateral (select f.form, pg_temp.outcome('dm-sms', 'arpoone', f.form, d.n, d.extra) as outcome
           from unnest(array['array', 'pretty', 'lines']) f (form)) o
group by 1, 2, 3 order by d.n, o.outcome collate "C";
select d.n, d.what, o.outcome, string_agg(o.form, ', ' order by o.form) as forms
from damage d,
  lateral (select f.form, pg_temp.outcome('dm-mail', 'pushwoosh', f.form, d.n, d.extra) as outcome
           from unnest(array['array', 'wrapper', 'lines']) f (form)) o
group by 1, 2, 3 order by d.n, o.outcome collate "C";
select o.source, count(distinct d.n) as kinds, count(*) as bodies, count(*) filter (where o.outcome like 'accepted: 1,3,4;%') as all_good
from damage d,
  lateral (select s.source, pg_temp.outcome(s.source, s.provider, f.form, d.n, d.extra) as outcome
           from (values ('dm-push', 'pushpushgo'), ('dm-chat', 'ppoppo')) s (source, provider), unnest(array['array', 'pretty', 'lines']) f (form)) o
group by 1 order by 1;

-- What a body lost at its end, in its middle, and around its items.
select b.what, r.verdict, r.inserted, r.rejected, r.detail
from (values
    (1, 'an array without its end', '[{"MessageId": "e1", "Status": "S"},{"MessageId": "e2", "Status": "S"}'::bytea),
    (2, 'cut inside of an item', '[{"MessageId": "e3", "Status": "S"},{"MessageId": "e4", "Sta'),
    (3, 'a comma at the end', '[{"MessageId": "e5", "Status": "S"},]'),
    (4, 'no comma between items', '[{"MessageId": "e6", "Status": "S"} {"MessageId": "e7", "Status": "S"}]'),
    (5, 'two commas', '[{"MessageId": "e8", "Status": "S"},,{"MessageId": "e9", "Status": "S"}]'),
    (6, 'no array around the items', '{"MessageId": "e10", "Status": "S"},{"MessageId": "e11", "Status": "S"}'),
    (7, 'arrays that were joined', '[{"MessageId": "e12", "Status": "S"}],[{"MessageId": "e13", "Status": "S"}]'),
    (8, 'an array that ends twice', '[{"MessageId": "e14", "Status": "S"}],{"MessageId": "e15", "Status": "S"}]'),
    (9, 'something after it', '[{"MessageId": "e16", "Status": "S"}] ok'),
    (10, 'a line of something', E'{"MessageId": "e17", "Status": "S"}\nok\n{"MessageId": "e18", "Status": "S"}'),
    (11, 'a byte order mark', '\xefbbbf'::bytea || '[{"MessageId": "e19", "Status": "S"},{"MessageId": "e20", "Status": NaN}]'),
    (12, 'UTF-16', '\xfffe5b007b007d005d00'),
    (13, 'UTF-16 without a mark', '\x5b007b007d005d00'),
    (14, 'UTF-32', '\x0000005b0000005d')) b (n, what, body),
  lateral tidings.ingest('dm-sms', b.body, current_setting('tidings.headers')::jsonb) r
order by b.n;

-- An object inside of a damaged item is no item: if nothing tells which of the two it is, it is rejected.
create temp table answered as
select b.n, b.what, r.verdict, r.inserted, r.rejected
from (values
    (1, 'no end of an array inside', '[{"event_name": "a", "list": [{"event_name": "inner 1"},{"event_name": "inner 2"},{"event_name": "b"}]'::bytea),
    (2, 'no beginning of an array inside', '[{"event_name": "c"},{"event_name": "inner 3"},{"event_name": "inner 4"}], "x": 1},{"event_name": "d"}]'),
    (3, 'an end too much inside', '[{"event_name": "e", "list": [{"event_name": "inner 5"}]},{"event_name": "inner 6"}], "x": 1},{"event_name": "f"}]'),
    (4, 'the end of the item too early', '[{"event_name": "g"},{"event_name": "h"}, "hwid": "h"},{"event_name": "i"}]'),
    (5, 'an event with an array, not a wrapper', '{"list": [{"event_name": "inner 7"},{"event_name": "inner 8", "x": "5" y"}], "event_name": "j"}'),
    (6, 'a wrapper without its end', '{"events": [{"event_name": "k"},{"event_name": "l"}')) b (n, what, body)
cross join lateral tidings.ingest('dm-mail', b.body, current_setting('tidings.headers')::jsonb || jsonb_build_object('receipt-id', tidings.ulid_at(make_timestamptz(2026, 1, 1, 0, 0, b.n, 'UTC')))) r;
select b.what, b.verdict, b.inserted, b.rejected, convert_from(k.body, 'UTF8') as body
from answered b
left join kept k on k.source = 'dm-mail' and k.received_at = make_timestamptz(2026, 1, 1, 0, 0, b.n, 'UTC')
order by b.n, k.ordinal;
select payload ->> 'event_name' as event from stored where source = 'dm-mail' and payload ->> 'event_name' <> 'Push Sent' order by id;

-- The same request again stores nothing: equal items are counted as before.
\set twice '[{"event_name": "Push Opened", "hwid": "r"}, {"event_name": "Push Opened", "hwid": "r", "x": NaN}, {"event_name": "Push Opened", "hwid": "r"}]'
select verdict, inserted, duplicate, rejected, detail from tidings.ingest('dm-mail', :'twice', current_setting('tidings.headers')::jsonb);
select verdict, inserted, duplicate, rejected, detail from tidings.ingest('dm-mail', :'twice', current_setting('tidings.headers')::jsonb);
-- So it is without the damage.
select verdict, inserted, duplicate, rejected from tidings.ingest('dm-mail', replace(:'twice', 'NaN', '1')::bytea, current_setting('tidings.headers')::jsonb);

-- tidings.normalize says the same.
select ordinal, kind, message_id, error
from tidings.normalize('arpoone', '[{"MessageId": "n1", "Status": "DELIVERED"}, {"MessageId": "n2", "Status": "\377"}, {"MessageId": "n3", "Status": "PENDING"}]'::bytea);

-- Replay. A damaged item stays as it is, whatever stands beside it, and so do equal ones; what 0.4.0 refused as a whole comes in.
delete from tidings.rejected r using tidings.source s where s.id = r.source_id and s.name like 'dm-%';
create function pg_temp.reject(id text, source text, verdict text, body bytea, ordinal int) returns void language sql as $$
  insert into tidings.rejected (id, received_at, source_id, verdict, reason, ordinal, headers, body, body_bytes)
  values (rpad(id, 26, '0')::tidings.ulid, '2026-01-02 03:04:05.678901Z', (tidings._source(source)).id, verdict, 'not known yet', ordinal, null, body, octet_length(body))
$$;
select pg_temp.reject('01KDYF0A01', 'dm-sms', 'malformed', '[{"MessageId": "p1", "Status": "S"},{"MessageId": "p2", "Status": "\377"},{"MessageId": "p3", "Status": "S"}]', null),
  pg_temp.reject('01KDYF0A02', 'dm-sms', 'item', '{"MessageId": "p4", "Status": "5" x"}', 1),
  pg_temp.reject('01KDYF0A03', 'dm-sms', 'item', '{"MessageId": "p4", "Status": "5" x"}', 2),
  pg_temp.reject('01KDYF0A04', 'dm-sms', 'item', '{"MessageId": "p5", "Status": "S"}', 3),
  pg_temp.reject('01KDYF0A05', 'dm-sms', 'item', '{"MessageId": "p6", "Status": "\377"}', 1),
  pg_temp.reject('01KDYF0A06', 'dm-sms', 'item', '{"MessageId": "p6", "Status": "\377"}', 2),
  pg_temp.reject('01KDYF0A07', 'dm-sms', 'item', '', 4),
  pg_temp.reject('01KDYF0A08', 'dm-sms', 'item', ']', 5);
select * from tidings.replay_rejected('dm-sms');
select verdict, reason, ordinal, encode(body, 'escape') as body from kept order by id;
select count(*) from tidings.replay_rejected('dm-sms') r where r.inserted > 0;
select count(*) from kept;
select message_id from stored where message_id like 'p_' order by 1;

-- What was in doubt when it arrived is in doubt when it is replayed.
delete from tidings.rejected r using tidings.source s where s.id = r.source_id and s.name like 'dm-%';
select b.what, r.verdict, r.inserted, r.rejected
from (values
    (1, 'a bracket behind a line', E'{"event_name": "q1"}\n{"event_name": "q2"}]'::bytea),
    (2, 'two items on a damaged line', E'{"event_name": "q3"}\n{"event_name": "q4"},{"event_name": "q5", "hwid": "abc}'),
    (3, 'a wrapper without its end', '{"events": [{"event_name": "q6", "list": [1, 2]}')) b (n, what, body)
cross join lateral tidings.ingest('dm-mail', b.body, current_setting('tidings.headers')::jsonb) r
order by b.n;
select verdict, inserted, duplicate, rejected from tidings.replay_rejected('dm-mail');
select encode(body, 'escape') as body, reason from kept where source = 'dm-mail' order by id;
select payload ->> 'event_name' as event from stored where source = 'dm-mail' and payload ->> 'event_name' like 'q_' order by 1;

-- Somebody is erased from what is no text as well.
select pg_temp.reject('01KDYF0A09', 'dm-sms', 'item', '{"Msisdn": "351913462111", "x": "\377\000'::bytea, 1);
select rows from tidings.erase_recipient('351913462111') where object = 'tidings.rejected';

select count(tidings.drop_source(name)) from tidings.source where name like 'dm-%';
