-- How a body becomes rows: one after the other, each with its payload as jsonb.

\set SHOW_CONTEXT never
\set VERBOSITY terse

-- The payload is what the server makes of the item's text, byte by byte: the stored forms
-- are compared, not their meanings.
create temp table value (json text);
insert into value
select sign || whole || fraction || exponent
from unnest(array['', '-']) sign,
  unnest(array['0', '1', '10', '99', '100', '1000', '9999', '10000', '10001', '99990000', '123456789', '100000000', '12345678901234567890', repeat('9', 41), '1' || repeat('0', 64), repeat('7', 257)]) whole,
  unnest(array['', '.0', '.5', '.50', '.05', '.0001', '.00001', '.10000', '.12345678', '.0000000000000001', '.' || repeat('0', 70) || '1', '.' || repeat('3', 63), '.' || repeat('3', 64), '.' || repeat('3', 70)]) fraction,
  unnest(array['', 'e0', 'E1', 'e+3', 'e-1', 'e-3', 'E-4', 'e-5', 'e9', 'e-12', 'e40', 'e-40', 'E-70', 'e-300', 'e-700']) exponent;
insert into value values
  ('null'), ('true'), ('false'), ('""'), ('"x"'), ('[]'), ('{}'), ('[[]]'), ('[{}]'), ('{"":{}}'), ('{"":[]}'), ('[1,"a",null,true,false,[1],{"a":1}]'),
  ('"\ud83d\ude00 \"\\\/\b\f\n\r\t\u0001\u001f\u007f\u00e9\uffff"'), ('"é 👋 \u2028"'), ('[ 1 , 2 ]'), (E'{ "a" :\t1 ,\n"b" : 2\r}'),
  ('{"bb":1,"a":2,"ab":3,"b":4,"":5}'), ('{"a":1,"b":2,"a":3}'), ('{"a":1,"\u0061":2,"a":3,"\u0062":4,"b":5}'), ('{"é":1,"zz":2,"z":3,"\u00e9":4}'),
  ('{"a":{"a":{"a":{"a":1}}},"b":[[[[1.5]]]]}'), ('{"a":1.5,"b":"x","c":2.5,"d":"xyz","e":[3],"f":"y","g":{"h":"z"}}');
-- An entry of 32 has an offset in the place of its length.
insert into value
select format('[%s]', string_agg(v, ',')) from generate_series(0, 130) n, lateral (select case i % 4 when 0 then '"x"' when 1 then i::text when 2 then '[]' else 'null' end from generate_series(1, n) i) v (v) group by n
union all
select format('{%s}', string_agg(format('"%s":%s', left(md5((n * i)::text), 1 + i % 7), i), ',')) from generate_series(0, 130) n, generate_series(1, n) i group by n
union all
select repeat('[', d) || '1' || repeat(']', d) from generate_series(1, 120) d
union all
select repeat('{"b":', d) || '1' || repeat(',"a":"x"}', d) from generate_series(1, 120) d
union all
select format('{"%s":"%s","s":"%s"}', repeat('n', n), repeat('v', n), repeat('\n', n)) from unnest(array[1, 2, 3, 4, 5, 125, 126, 127, 128, 300, 70000]) n;
-- They stand in one another, and between others.
insert into value
select format('{"a":%s,"bcd":[%s,%s],"e":%s}', v.json, v.json, w.json, w.json)
from (select json, row_number() over (order by md5(json)) n from value where length(json) < 2000) v
join (select json, row_number() over (order by md5(json || 'x')) n from value where length(json) < 2000) w using (n);

select count(*) > 10000 as many, count(*) filter (where n.payload is null) as without,
  count(*) filter (where not record_image_eq(row(n.payload), row(v.json::jsonb))) as differ
from value v, lateral tidings._normalize('arpoone', 's', '{}', convert_to('[' || v.json || ']', 'UTF8')) n;
select left(v.json, 80) as json, left(n.payload::text, 80) as payload
from value v, lateral tidings._normalize('arpoone', 's', '{}', convert_to('[' || v.json || ']', 'UTF8')) n
where n.payload is null or not record_image_eq(row(n.payload), row(v.json::jsonb))
order by length(v.json), 1 limit 10;
-- All of them in one body, in which each is found after the one before it.
with v as materialized (select json, row_number() over (order by json) as ordinal from value limit 50000)
select count(*) = (select count(*) from v) as all_found, bool_and(record_image_eq(row(n.payload), row(v.json::jsonb))) as same
from (select convert_to(format('[%s]', string_agg(json, ',' order by ordinal)), 'UTF8') as body from v) b,
  lateral tidings._normalize('arpoone', 's', '{}', b.body) n join v on v.ordinal = n.ordinal;

-- An item that jsonb cannot hold has no payload, and the items beside it are not affected.
select n.ordinal, n.payload is null as without, n.error
from tidings._normalize('arpoone', 's', '{}', convert_to(format('[{"a":0.%s}, {"a":"\u0000"}, {"a":1}]', repeat('1', 1001)), 'UTF8')) n;

-- Rows come one at a time: who wants three of 100,000 reads no more than three.
create temp sequence reached;
select (tidings._normalize('arpoone', 's', '{}', convert_to('[' || repeat('{},', 99999) || '{}]', 'UTF8'))).ordinal, nextval('reached')
limit 3;

-- A statement can be cancelled inside of an item: otherwise the sequence, which is advanced
-- once the item is there, would have moved on.
create temp table huge as
select what, convert_to(format('[%s]', json), 'UTF8') as body
from (values
  ('elements', format('[%s0]', repeat('0,', 900000))),
  ('texts', format('["%s"]', repeat('\u00e9', 4000000))),
  ('members', (select format('{%s}', string_agg(format('"%s":0', md5(i::text)), ',')) from generate_series(1, 300000) i)),
  ('levels', format('{"EventType":"e","MessageId":"m","EventDetails":%s"%s"%s}', repeat('{"b":', 120), repeat('x', 20 << 20), repeat(',"a":0}', 120)))
) v (what, json);
alter sequence reached restart;
set statement_timeout = '2ms';
select tidings._normalize('arpoone', 's', '{}', body), nextval('reached') from huge where what = 'elements';
select tidings._normalize('arpoone', 's', '{}', body), nextval('reached') from huge where what = 'texts';
select tidings._normalize('arpoone', 's', '{}', body), nextval('reached') from huge where what = 'members';
select tidings._normalize('arpoone', 's', '{}', body), nextval('reached') from huge where what = 'levels';
reset statement_timeout;
select is_called from reached;
-- Left alone, each is an item.
select what, n.ordinal, n.payload is not null as stored, n.error
from huge, lateral tidings._normalize('arpoone', 's', '{}', body) n order by what;
