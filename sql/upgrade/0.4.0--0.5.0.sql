-- ALTER EXTENSION tidings UPDATE from 0.4.0.

-- The same check as at CREATE EXTENSION, where it concerns the schema.
do $$
declare
  owner constant regrole := (select e.extowner from pg_catalog.pg_extension e where e.extname = 'tidings');
  is_superuser constant boolean := (select r.rolsuper from pg_catalog.pg_roles r where r.oid = owner);
begin
  if owner <> (select r.oid from pg_catalog.pg_roles r where r.rolname = current_user) then
    raise exception using
      errcode = 'insufficient_privilege',
      message = pg_catalog.format('extension tidings belongs to role %s', owner),
      detail = 'The new objects would belong to you, and their functions would run with your rights rather than the owner''s.',
      hint = pg_catalog.format(
        case when is_superuser then 'First run SET ROLE %1$s.'
          else 'First run ALTER ROLE %1$s SUPERUSER and SET ROLE %1$s; afterwards ALTER ROLE %1$s NOSUPERUSER.' end,
        owner);
  end if;
end
$$;

-- Transactions that are ingesting finish first. One that waits for this lock fails, because a
-- function that it is about to call is gone, and is retried by the worker: its ids were
-- announced by the rule of 0.4.0, which readers no longer follow.
lock table only event in access exclusive mode;

-- take ulid_out from ulid.sql
-- take ulid_send from ulid.sql
-- take ulid_eq from ulid.sql
-- take ulid_ne from ulid.sql
-- take ulid_lt from ulid.sql
-- take ulid_le from ulid.sql
-- take ulid_ge from ulid.sql
-- take ulid_gt from ulid.sql
-- take ulid_cmp from ulid.sql
-- take ulid_hash from ulid.sql
-- take ulid_hash_extended from ulid.sql
-- take ulid_sortsupport from ulid.sql

drop function _log_newest();
-- include log_head.sql
drop function _log_enter();
drop function _log_start(ulid);
drop function _log_id();
drop function _log_horizon();
drop function _clock_ms();  -- readers were allowed to call it
drop function _log_keep(ulid);
-- take _clock_ms from log.sql
-- take _log_below from log.sql
-- take _log_end from log.sql
-- take _log_begin from log.sql
-- take _log_next from log.sql
-- take _log_above from log.sql
do $$ begin perform tidings.rebuild_log(); end $$;
-- The greatest position of removed events.
insert into log_head (last_id, first_id, events)
select m.newest, m.newest, 0
from log_mark m
where m.newest > coalesce((select max(h.last_id) from log_head h), '00000000000000000000000000');
alter extension tidings drop table log_mark;
drop table log_mark;
-- take log_end from log.sql
-- take log_horizon from log.sql
-- take _bound_idle from log.sql
-- take tick from log.sql
-- take wake from log.sql
-- take _log_page from read.sql
-- take _require_max_events from read.sql
-- take _require_kinds from read.sql
-- take _require_no_policies from read.sql
-- take read_log from read.sql

alter table message
  add column consent_requested_at timestamptz,
  add column consent_asked_at timestamptz,
  add column delivered_at timestamptz,
  add column delivered_event_id ulid;
alter table consent
  add column expired_at timestamptz,
  add column asked_at timestamptz;
alter table request_summary
  add column failed_at timestamptz,
  add column failed_event_id ulid;
-- take _outcome from consent.sql
alter table stream add column event_at timestamptz;
update stream set event_at = updated_at;
-- Sources that can be changed.
alter table source add column first_name text;
update source set first_name = name;
create table former_name (
  name text primary key,
  source_id int not null,
  renamed_at timestamptz not null default now()
);
create table dropped_source (
  id int primary key,
  name text not null,
  provider text not null,
  first_name text not null,
  dropped_at timestamptz not null default now()
);
select pg_catalog.pg_extension_config_dump('tidings.former_name', '');
select pg_catalog.pg_extension_config_dump('tidings.dropped_source', '');
alter table source_secret enable row level security;
alter table rejected enable row level security;
-- take _addressed from source.sql
-- include gap.sql

-- Its rows have one more column.
drop function _normalize(text, text, text, bytea);
-- take _normalize from normalize.sql
grant execute on function _normalize(text, text, text, bytea) to public;
-- take _unmet from normalize.sql
-- take _custom_id from normalize.sql
-- take _summary from normalize.sql
-- take _asks_consent from normalize.sql
-- take _asked_at from normalize.sql
-- take _status_of from message.sql

-- State is folded from what ingest has inserted, rather than from positions.
drop function _add_to_state(ulid, ulid);
-- take _greater from state.sql
-- take _greatest from state.sql
-- take _fact from state.sql
-- take _grant from message.sql
-- take _add_to_message from message.sql
-- take _add_to_consent from consent.sql
-- take _add_to_subscriber from subscriber.sql
-- take _add_to_request_summary from request.sql
-- take _add_stored_to_state from state.sql
-- take _require_name from source.sql
-- take _check_secret from source.sql
-- take _set_secret from source.sql
-- take _lock_source from source.sql
-- take _guard_source from source.sql
create trigger guard before insert or update on source
  for each row execute function _guard_source();
alter table source enable always trigger guard;
-- take set_source_options from source.sql
-- take rename_source from source.sql
-- take webhook_paths from source.sql
drop function rotate_secret(text, text, interval);
-- take rotate_secret from source.sql
-- take _accepted from source.sql
-- take _policy from source.sql
-- take source_policy from provider.sql
-- Upkeep failed with these.
update retention set
  keep_events = case when keep_events <= '1000 years' then keep_events end,
  keep_rejected = case when keep_rejected <= '1000 years' then keep_rejected end;
alter table retention add constraint keep_at_most_1000_years check (greatest(keep_events, keep_rejected) <= '1000 years');
alter table event replica identity full;
do $$
declare
  partition regclass;
begin
  for partition in select i.inhrelid from pg_catalog.pg_inherits i where i.inhparent = 'event'::regclass loop
    execute pg_catalog.format('alter table %s replica identity full', partition);
  end loop;
end
$$;
-- Some have made these casts themselves.
do $$
declare
  source regtype;
begin
  foreach source in array '{text, varchar}'::regtype[] loop
    if exists (select from pg_catalog.pg_cast c where c.castsource = source and c.casttarget = 'ulid'::regtype) then
      execute pg_catalog.format('alter extension tidings add cast (%s as ulid)', source);
    else
      execute pg_catalog.format('create cast (%s as ulid) with inout as implicit', source);
    end if;
  end loop;
end
$$;
revoke all on function
  _addressed(text), _require_name(text), _check_secret(text, text, text), _set_secret(int, text, text, interval), _lock_source(text),
  _guard_source(), set_source_options(text, jsonb), rename_source(text, text), webhook_paths(text), rotate_secret(text, text, interval, text), _accepted(int)
from public;

-- take _require_batch from ingest.sql
-- take _refusal from store.sql
-- take _reached from store.sql
-- take _batch from store.sql
-- take _store from store.sql
-- take _count_duplicates from store.sql
-- take _store_undated from store.sql
-- take _keep_refusals from ingest.sql
-- take _move_cursors from ingest.sql
drop function _ingest(text[], bytea[], jsonb[], boolean[]);  -- it returns an array now
-- take _ingest from ingest.sql
-- take ingest_batch from ingest.sql

-- New partitions have fewer indexes; those that exist keep theirs. The default partition
-- contains few events, as a rule. The index on messages reads the table once and is nearly
-- empty.
-- take _lookup from event.sql
drop index event_default_message_id_idx, event_default_recipient_idx, event_default_request_id_idx;
create index event_default__lookup_idx on event_default (_lookup(coalesce(request_id, message_id), recipient))
  where coalesce(request_id, message_id) is not null;
create index event_default_recipient_idx on event_default (recipient)
  where recipient is not null and (kind not like 'message.%' or coalesce(request_id, message_id) is null);
drop index message_message_id_idx;
create index message_message_id_idx on message (message_id) where message_id <> message_key;
alter table message set (fillfactor = 80);
-- include lookup.sql

-- take _event_key from rejected.sql
-- take erase_recipient from rejected.sql

-- Requests that the worker refuses, and who sent them.
alter table rejected add column peer inet;
alter table rejected drop constraint rejected_verdict_check;
alter table rejected add constraint rejected_verdict_check
  check (verdict in ('unauthorized', 'malformed', 'item', 'refused'));
-- A client of 0.4.0 could send headers of these names.
update rejected set headers = headers - '{peer-address,body-as-sent,spooled}'::text[]
where jsonb_typeof(headers) = 'object' and headers ?| '{peer-address,body-as-sent,spooled}';
-- take _peer_address from normalize.sql
-- take _check_options from normalize.sql
-- take report_refusal from rejected.sql
-- take verify from source.sql
-- take stream_cursor from source.sql
-- take stream_secret from source.sql
-- take find_source from source.sql
drop function _verify(text, text[], text[], boolean, bytea, text);

-- Functions whose messages or comments are worded anew.
-- take _notify_source from source.sql
-- take _source from source.sql
-- take _require_secret from source.sql
-- take add_source from source.sql
-- take drop_source from source.sql
-- take hold_streams from lease.sql
-- take _fenced from lease.sql
-- take release_streams from lease.sql
-- take report_stream from stream.sql
-- take _raise_enabled from stream.sql
-- take set_stream_cursor from stream.sql
-- take rebuild_state from state.sql
-- take _require_log_access from log.sql
drop function _trim_rejected(text[]);
-- take _trim_rejected from ingest.sql
-- take events_after from read.sql
-- take create_consumer from consumer.sql
-- take _lock_consumer from consumer.sql
-- take _live_session from consumer.sql
-- take _session_start from consumer.sql
-- take _is_this_session from consumer.sql
-- take _note_id from consumer.sql
-- take _noted_id from consumer.sql
-- take _set_polled from consumer.sql
-- take poll from consumer.sql
-- take ack from consumer.sql
-- take seek from consumer.sql
-- take _missing_partitions from partition.sql
-- take _build_partition from partition.sql
-- take _holders from partition.sql
revoke all on function _holders(regclass[], timestamptz) from public;
-- take _lock_event from partition.sql
-- take _move_rows from partition.sql
-- take _attach_partitions from partition.sql
-- take _publish_rows from partition.sql
revoke all on function _publish_rows(_partition[]) from public;
-- take _delete_expired from maintain.sql
-- take _maintain from maintain.sql
-- Items are replayed with damage in them.
-- take _join_items from rejected.sql
-- take _replay_batch from rejected.sql
-- take replay_rejected from rejected.sql
-- take grant_reader from grants.sql
-- take grant_worker from grants.sql
-- take request from request.sql
-- take stream_status from stream.sql
-- take _log_holder from lag.sql
-- take _log_tail from lag.sql
-- take _unacknowledged from lag.sql
-- take _worker_lag from lag.sql
-- take lag from lag.sql

-- Refused requests that came through a spool, and therefore were answered 200, have a bound of
-- their own.
alter table rejected add column spool_bytes bigint;
drop index rejected_source_idx;
create index rejected_source_idx on rejected (source_id, verdict, id) where spool_bytes is null;
create index rejected_spooled_idx on rejected (source_id, id desc) where spool_bytes is not null;
-- take _without_secrets from ingest.sql
-- take _spool_bytes from ingest.sql
-- take _kept_body from ingest.sql
-- take _trim_rejected_before from maintain.sql
-- take _expired_spooled from maintain.sql
-- take _discard_spooled from maintain.sql
revoke all on function _spool_bytes(jsonb), _kept_body(bytea, bigint), _expired_spooled(timestamptz), _discard_spooled(ulid[]) from public;
-- Whether requests are taken, while none is stored.
-- take probe_ingest from ingest.sql
revoke all on function probe_ingest() from public;

-- comments ulid.sql
-- comments normalize.sql
-- comments source.sql
-- comments provider.sql
-- comments schema.sql
-- comments event.sql
-- comments undated.sql
-- comments lease.sql
-- comments stream.sql
-- comments receipt.sql
-- comments state.sql
-- comments message.sql
-- comments consent.sql
-- comments subscriber.sql
-- comments request.sql
-- comments log.sql
-- comments store.sql
-- comments ingest.sql
-- comments read.sql
-- comments consumer.sql
-- comments lag.sql
-- comments retention.sql
-- comments partition.sql
-- comments maintain.sql
-- comments rejected.sql
-- comments grants.sql
revoke all on function
  _log_newest(), _merge_log(), rebuild_log(), _clock_ms(),
  _log_below(ulid), _log_end(), _log_begin(), _log_next(), _log_above(ulid),
  log_end(), log_horizon(), _bound_idle(), tick(), wake(),
  _log_page(ulid, ulid, bigint), _require_max_events(int), _require_kinds(text[]), _require_no_policies(),
  read_log(ulid, int, text, text[]), _session_start(), _note_id(ulid), _noted_id(), _set_polled(text, ulid)
from public;
revoke all on function
  _unmet(text, text[], text[], boolean, text[], bytea, text), _peer_address(text),
  report_refusal(text, timestamptz, text, jsonb, bytea, bigint), _custom_id(text, text), _summary(text, text),
  _asks_consent(text), _asked_at(text, text), _status_of(text),
  _greater(anyelement, anyelement), _greatest(anyelement), _fact(event),
  _add_to_message(_fact[]), _add_to_consent(_fact[], _grant[]), _add_to_subscriber(_fact[]), _add_to_request_summary(_fact[]),
  _add_stored_to_state(text),
  _trim_rejected(int, text), _require_batch(text[], bytea[], jsonb[]), _store(text[], bytea[], jsonb[], boolean[], int[], timestamptz),
  _count_duplicates(_batch), _store_undated(_batch), _keep_refusals(_refusal[], bytea[], jsonb[]), _move_cursors(_reached[], timestamptz),
  _ingest(text[], bytea[], jsonb[], boolean[]), _join_items(text, text, bytea, int)
from public;

revoke all on function _worker_lag() from public;

-- Stored events of providers that ask for consent are read again: some kinds were unknown, or
-- meant less. Their state follows from the events as in rebuild_state, and what it has from
-- events that retention removed stays. An event that is added twice changes nothing, because
-- these providers report no opens and clicks, which alone are counted.
update event e set kind = n.kind
from (
  select x.event_id, x.occurred_at, x.source_id, n.kind
  from event x
  cross join lateral tidings.normalize(x.provider, x.payload) n
  where _asks_consent(x.provider) and x.kind in ('other', 'message.failed') and n.kind <> x.kind
) n
where e.event_id = n.event_id and e.occurred_at = n.occurred_at and e.source_id = n.source_id;
update consent c set asked_at = coalesce(_asked_at(e.provider, e.payload::text), e.occurred_at)
from event e
where e.event_id = c.status_event_id and e.occurred_at = c.status_at and e.source_id = c.source_id;
do $$
declare
  of_provider text;
begin
  for of_provider in select p.name from tidings.providers() p where tidings._asks_consent(p.name) loop
    perform tidings._add_stored_to_state(of_provider);
  end loop;
end
$$;

-- Rights by default. What shows secrets is revoked from everybody. From a role that is granted
-- rights in all new objects (ALTER DEFAULT PRIVILEGES), and none by grant_reader or grant_worker,
-- everything is revoked, and so is what PUBLIC was granted in tables.
do $$
declare
  held record;
begin
  for held in
    with owner as (
      select n.nspowner, n.nspacl from pg_catalog.pg_namespace n where n.nspname = 'tidings'
    ),
    by_default as (
      select a.grantee
      from owner, pg_catalog.pg_default_acl d, lateral pg_catalog.aclexplode(d.defaclacl) a
      where d.defaclrole = owner.nspowner and d.defaclnamespace in (0, 'tidings'::regnamespace)
      except
      select a.grantee from owner, lateral pg_catalog.aclexplode(owner.nspacl) a
    ),
    member as (
      select d.classid, d.objid
      from pg_catalog.pg_depend d, pg_catalog.pg_extension e
      where e.extname = 'tidings' and d.refclassid = 'pg_catalog.pg_extension'::regclass and d.refobjid = e.oid and d.deptype = 'e'
      union
      select 'pg_catalog.pg_class'::regclass, i.inhrelid from pg_catalog.pg_inherits i where i.inhparent = 'event'::regclass
    ),
    object as (
      select case c.relkind when 'S' then 'sequence' else 'table' end as kind, c.oid::regclass::text as name, c.relacl as acl,
        c.oid in ('source_secret'::regclass, 'rejected'::regclass, '_policy'::regclass) as is_secret
      from member m
      join pg_catalog.pg_class c on m.classid = 'pg_catalog.pg_class'::regclass and c.oid = m.objid and c.relkind in ('r', 'p', 'v', 'S')
      union all
      select 'routine', p.oid::regprocedure::text, p.proacl, p.oid = 'stream_secret(text)'::regprocedure
      from member m
      join pg_catalog.pg_proc p on m.classid = 'pg_catalog.pg_proc'::regclass and p.oid = m.objid
    )
    select distinct o.kind, o.name, a.grantee
    from owner, object o, lateral pg_catalog.aclexplode(o.acl) a
    where a.grantee <> owner.nspowner
      and (a.grantee <> 0 or o.kind <> 'routine')
      and (o.is_secret or a.grantee = 0 or a.grantee in (select d.grantee from by_default d))
  loop
    execute pg_catalog.format('revoke all on %s %s from %s', held.kind, held.name,
      case when held.grantee = 0 then 'public' else held.grantee::regrole::text end);
  end loop;
end
$$;

-- That took the other rights in these objects for initial ones, which a dump leaves out. What is
-- initial is what a new installation gives: as in the update to 0.4.0.
with touched as (
  select i.classoid, i.objoid, p.proowner as owner,
    case
      when p.pronamespace <> 'tidings'::regnamespace then null  -- min and max
      when p.proname ~ '^(ulid_|gen_ulid$|hmac_sha1$|verify_hmac_sha1$)'
        or p.proname in ('normalize', '_normalize', '_raise_malformed', 'providers', '_is_dialed')
      then pg_catalog.acldefault('f', p.proowner)
      else array[pg_catalog.makeaclitem(p.proowner, p.proowner, 'EXECUTE', false)]
    end as initial
  from pg_catalog.pg_init_privs i
  join pg_catalog.pg_proc p on i.classoid = 'pg_catalog.pg_proc'::regclass and p.oid = i.objoid
  where p.pronamespace = 'tidings'::regnamespace or p.oid in ('pg_catalog.min(ulid)'::regprocedure, 'pg_catalog.max(ulid)'::regprocedure)
  union all
  select i.classoid, i.objoid, c.relowner, null
  from pg_catalog.pg_init_privs i
  join pg_catalog.pg_class c on i.classoid = 'pg_catalog.pg_class'::regclass and c.oid = i.objoid
  where c.relnamespace = 'tidings'::regnamespace
),
mended as (
  update pg_catalog.pg_init_privs i set initprivs = t.initial
  from touched t
  where i.classoid = t.classoid and i.objoid = t.objoid and t.initial is not null
  returning i.classoid, i.objoid, t.owner
),
removed as (
  delete from pg_catalog.pg_init_privs i using touched t
  where i.classoid = t.classoid and i.objoid = t.objoid and t.initial is null
  returning i.classoid, i.objoid, null::oid
)
delete from pg_catalog.pg_shdepend s
using (select * from mended union all select * from removed) i
where s.deptype = 'i'
  and s.dbid = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
  and s.classid = i.classoid and s.objid = i.objoid and s.refobjid is distinct from i.owner;
