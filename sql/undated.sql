-- Events that can be told apart but carry no time.
--
-- An event meets itself in its partition because it always carries the same time. One
-- that carries none gets the time of its first receipt, which is remembered here: the
-- row that is inserted first stands, and whoever comes later reads it, also while the
-- first one's transaction is still open.

create table undated (
  event_id ulid not null,
  source_id int not null,
  occurred_at timestamptz not null,
  primary key (event_id, source_id)
);
comment on table undated is
  'When events that carry no time were received first: that is their occurred_at, however often they come. Kept as long as the event.';
comment on column undated.event_id is 'tidings.event.event_id.';
comment on column undated.source_id is 'tidings.source.id.';
comment on column undated.occurred_at is 'tidings.event.occurred_at.';
select pg_catalog.pg_extension_config_dump('tidings.undated', '');

create function _forget_undated(before timestamptz) returns bigint
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  forgotten bigint;
begin
  with gone as (
    select u.event_id, u.source_id
    from tidings.undated u
    where u.occurred_at < before
      and not exists (
        select from tidings.event e
        where e.event_id = u.event_id and e.occurred_at = u.occurred_at and e.source_id = u.source_id)
    for update of u skip locked
  )
  delete from tidings.undated u using gone g where u.event_id = g.event_id and u.source_id = g.source_id;
  get diagnostics forgotten = row_count;
  return forgotten;
end
$$;
comment on function _forget_undated(timestamptz) is
  'Internal: deletes from tidings.undated what is older than this and whose event is gone.';

revoke all on function _forget_undated(timestamptz) from public;
