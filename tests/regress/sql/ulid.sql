-- tidings.ulid: what it reads, what it writes, what it becomes.

\set SHOW_CONTEXT never
set timezone to 'UTC';
set datestyle to 'ISO, YMD';

-- Vectors: github.com/ulid/javascript, github.com/oklog/ulid, github.com/dylanhart/ulid-rs.
create temp table vector (text, ms, hex) as values
  ('01ARYZ6S41TSV4RRFFQ69G5FAV', 1469918176385, '01563df36481d6764c61efb99302bd5b'),
  ('01JQ4T23H220KM7X0B3V1109DQ', 1742844530210, '0195c9a10e22102743f40b1ec21025b7'),
  ('01JQ4T8BHJR0A5YKX7SVTVX0YN', 1742844735026, '0195c9a42e32c0145f4fa7cef5be83d5'),
  ('01JQ4T8X6CA54VSH0AANN0SWCX', 1742844753100, '0195c9a474cc5149bcc40a556a0cf19d'),
  ('01ARYZ6S410000000000000000', 1469918176385, '01563df3648100000000000000000000'),
  ('0000XSNJG0MQJHBF4QX1EFD6Y3',    1000000000, '00003b9aca00a5e515bc97e85cf69bc3'),
  ('21850M2GA1850M2GA1850M2GA1',  71748523475265, '41414141414141414141414141414141'),
  ('2D9RW50MA499CMAGHM6DD42DTP',  84998347575620, '4d4e385051444a59454234335a413756'),
  ('00000000000000000000000000',             0, '00000000000000000000000000000000'),
  ('7ZZZZZZZZZZZZZZZZZZZZZZZZZ', 281474976710655, 'ffffffffffffffffffffffffffffffff');

select text::tidings.ulid as ulid,
  text::tidings.ulid::text = text as text,
  text::tidings.ulid::bytea = decode(hex, 'hex') as bytes,
  text::tidings.ulid::uuid = hex::uuid as uuid,
  extract(epoch from text::tidings.ulid::timestamptz) * 1000 = ms as time,
  decode(hex, 'hex')::tidings.ulid = text::tidings.ulid as from_bytes,
  hex::uuid::tidings.ulid = text::tidings.ulid as from_uuid,
  tidings.ulid_send(text::tidings.ulid) = uuid_send(hex::uuid) as sent
from vector;

-- Either case is read, upper case is written.
select lower(text)::tidings.ulid = text::tidings.ulid as same, lower(text)::tidings.ulid
from vector
where lower(text) <> text;

-- Nothing else is. A text that is too great for 128 bits:
select '80000000000000000000000000'::tidings.ulid;
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select '80000000000000000000000001'::tidings.ulid;
select 'ZZZZZZZZZZZZZZZZZZZZZZZZZZ'::tidings.ulid;
-- one too short, too long, or empty:
select '2D9RW50MA499CMAGHM6DD42DT'::tidings.ulid;
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select '2D9RW50MA499CMAGHM6DD42DTPP'::tidings.ulid;
select ''::tidings.ulid;
select ' 01ARYZ6S41TSV4RRFFQ69G5FAV'::tidings.ulid;
-- letters that look like digits, hyphens, other characters:
select '2D9RW50IA499CMAGHM6DD42DTP'::tidings.ulid;
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select '2D9RW50LA499CMAGHM6DD42DTP'::tidings.ulid;
select '2D9RW50oA499CMAGHM6DD42DTP'::tidings.ulid;
select '2D9RW50uA499CMAGHM6DD42DTP'::tidings.ulid;
select '2D9RW50[A499CMAGHM6DD42DTP'::tidings.ulid;
select '2D9RW50-A499CMAGHM6DD42DTP'::tidings.ulid;
select '2D9RW50éA499CMAGHM6DD42DTP'::tidings.ulid;
select '01ARYZ6S41TSV4RRFFQ69G5FA '::tidings.ulid;

-- Every character at every place: 32 digits and their lower case are read, no other.
-- The first place takes no more than 7.
create function pg_temp.reads(text) returns boolean language plpgsql as
$$ begin perform $1::tidings.ulid; return true; exception when invalid_text_representation then return false; end $$;
select place = 1 as first_place, string_agg(distinct chr(code) collate "C", '' order by chr(code) collate "C") as read
from generate_series(1, 26) place, generate_series(1, 126) code
where pg_temp.reads(overlay('01ARYZ6S41TSV4RRFFQ69G5FAV' placing chr(code) from place))
group by 1 order by 1 desc;

-- Bytes: sixteen of them.
select '\x00'::bytea::tidings.ulid;
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select '\x01563df36481d6764c61efb99302bd5b00'::bytea::tidings.ulid;

-- No cast is implicit.
select '01ARYZ6S41TSV4RRFFQ69G5FAV'::tidings.ulid = gen_random_uuid();
select '01ARYZ6S41TSV4RRFFQ69G5FAV'::tidings.ulid = '01ARYZ6S41TSV4RRFFQ69G5FAV'::text;
-- A literal needs none.
select '01ARYZ6S41TSV4RRFFQ69G5FAV'::tidings.ulid = '01aryz6s41tsv4rrffq69g5fav' as equal;

-- Time: a ULID says in which millisecond it was made.
select '01ARYZ6S41TSV4RRFFQ69G5FAV'::tidings.ulid::timestamptz;

-- ulid_at is the smallest ULID of a millisecond, for scans over a range of time.
select tidings.ulid_at('2016-07-30 22:36:16.385Z'),
  tidings.ulid_at('2016-07-30 22:36:16.385999Z') = tidings.ulid_at('2016-07-30 22:36:16.385Z') as finer_is_cut,
  '2016-07-30 22:36:16.385Z'::timestamptz::tidings.ulid as by_cast;
select text from vector
where text::tidings.ulid >= tidings.ulid_at('2025-03-24 19:30Z')
  and text::tidings.ulid < tidings.ulid_at('2025-03-24 19:32:30Z');
select tidings.ulid_at('1970-01-01Z'), tidings.ulid_at('10889-08-02 05:31:50.655Z');
select tidings.ulid_at('1969-12-31 23:59:59.999999Z');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
select tidings.ulid_at('10889-08-02 05:31:50.656Z');
select tidings.ulid_at('infinity');
select tidings.ulid_at('-infinity');

-- Nothing comes of nothing.
select null::tidings.ulid is null and tidings.ulid_at(null) is null and null::bytea::tidings.ulid is null as null;

-- Order is that of the bytes, which is that of the text in upper case.
select bool_and((a.text::tidings.ulid < b.text::tidings.ulid) = (a.text collate "C" < b.text)) as lt,
  bool_and((a.text::tidings.ulid <= b.text::tidings.ulid) = (a.text collate "C" <= b.text)) as le,
  bool_and((a.text::tidings.ulid = b.text::tidings.ulid) = (a.text = b.text)) as eq,
  bool_and((a.text::tidings.ulid <> b.text::tidings.ulid) = (a.text <> b.text)) as ne,
  bool_and((a.text::tidings.ulid >= b.text::tidings.ulid) = (a.text collate "C" >= b.text)) as ge,
  bool_and((a.text::tidings.ulid > b.text::tidings.ulid) = (a.text collate "C" > b.text)) as gt,
  count(*)
from vector a, vector b;
select min(text::tidings.ulid), max(text::tidings.ulid), count(distinct text::tidings.ulid) from vector;
select min(id), max(id) from (select null::tidings.ulid as id) none;

-- gen_ulid: now, and each greater than the one before, in one session.
create temp table made as select n, tidings.gen_ulid() as id from generate_series(1, 10000) n;
select count(*), count(distinct id), bool_and(id > before) as growing,
  min(id) >= tidings.ulid_at(now() - interval '1 minute') and max(id)::timestamptz <= clock_timestamp() as now
from (select id, lag(id) over (order by n) as before from made) m;
-- So it does over the end of a transaction that is rolled back.
begin;
select tidings.gen_ulid() as made_before \gset
rollback;
select tidings.gen_ulid() > :'made_before' as growing;
