-- What sqlsmith is shown instead of the server's whole catalog, so that most of what it
-- writes reaches the extension. It reads "pg_proc" without a schema, and its search_path
-- finds this schema first.
create schema smith;

-- Functions that return sets or nothing are of no use to it; these are functions as any other.
do $$
declare
  f record;
begin
  for f in
    select p.oid, p.proname,
      (select string_agg(format('a%s %s', n, format_type(t, null)), ', ' order by n)
       from unnest(p.proargtypes) with ordinality a (t, n)) as parameters,
      (select string_agg('$' || n, ', ') from generate_series(1, p.pronargs) n) as arguments
    from pg_catalog.pg_proc p
    where p.pronamespace = 'tidings'::regnamespace and (p.proretset or p.prorettype = 'void'::regtype)
      and not 'internal'::regtype = any (p.proargtypes)
  loop
    execute format(
      'create function smith.%I(%s) returns jsonb language plpgsql as
       ''begin return (select jsonb_agg(to_jsonb(r)) from tidings.%I(%s) r); end''',
      f.proname, f.parameters, f.proname, f.arguments);
  end loop;
end
$$;

-- Beside ours, the functions that make one argument of another. All that are left out
-- are those that reach files, sessions or settings, none of which is immutable.
create view smith.pg_proc as
select p.*
from pg_catalog.pg_proc p
where not 'internal'::regtype = any (p.proargtypes)
  and (
    p.pronamespace in ('tidings'::regnamespace, 'smith'::regnamespace)
    or p.provolatile = 'i'
       and p.prorettype in ('text'::regtype, 'bytea'::regtype, 'jsonb'::regtype, 'interval'::regtype, 'timestamptz'::regtype, 'uuid'::regtype, 'integer'::regtype)
       and p.proargtypes::oid[] <@ array['text'::regtype, 'bytea'::regtype, 'jsonb'::regtype, 'interval'::regtype, 'timestamptz'::regtype, 'uuid'::regtype, 'integer'::regtype, 'boolean'::regtype]::oid[]
  );

-- Requests as the providers send them, cut, joined and mangled ..
create table smith.request as
select s.name as source, s.provider, b.body, h.headers, o.options, g.signature
from tidings.source s
cross join lateral (
  select jsonb_agg(e.payload) as items
  from (select e.payload, row_number() over () as n from tidings.event e where e.source_id = s.id limit 60) e
  group by e.n % 20
) p
cross join lateral (values
  (convert_to(p.items::text, 'UTF8')),
  (convert_to((p.items -> 0)::text, 'UTF8')),
  (substr(convert_to(p.items::text, 'UTF8'), 1, 100)),
  (convert_to(replace(p.items::text, '"', '"\u0000'), 'UTF8')),
  ('\xff00c328'::bytea), (''::bytea), ('[]'::bytea), (null)
) b (body)
cross join lateral (values
  ('{}'::jsonb), (jsonb_build_object('url-token', 'arpoone-dev-token', 'authorization', 'Bearer pushwoosh-dev-token')), ('[1]'), (null)
) h (headers)
cross join lateral (values ('{}'::jsonb), ('{"timezone": "Europe/Lisbon"}'), ('{"unknown": 1}')) o (options)
cross join lateral (values ('sha1=76f0823ba5b77649859f8d91fe352b24750dff62'), ('')) g (signature);

-- .. and many at a time.
create table smith.batch as
select array_agg(source) as sources, array_agg(body) as bodies, array_agg(headers) as headers,
  array_agg(r % 2 = 0) as verified
from (select r.*, row_number() over () as r from smith.request r) r
group by r % 100;

create table smith.value as
select e.id, e.event_id, e.source_id, e.recipient, e.received_at, e.payload, i.every, k.kinds
from (select * from tidings.event limit 200) e
cross join lateral (values (interval '1 day'), ('-1 year'), ('0'), (null)) i (every)
cross join lateral (values (array['message.delivered']), (array[null]), ('{}'), (null)) k (kinds);

select tidings.create_consumer('sqlsmith');
