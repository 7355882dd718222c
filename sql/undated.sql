-- Events that have an identity but no time.
--
-- An event is recognized as a duplicate in its partition because it always has the same
-- time. An event without a time gets the time of its first arrival, which is stored here.
-- The row that is inserted first counts, and every later delivery reads it, even while
-- the transaction that inserted it is still open.

create table undated (
  event_id ulid not null,
  source_id int not null,
  occurred_at timestamptz not null,
  primary key (event_id, source_id)
);
comment on table undated is
  'When an event without a time first arrived: this is its occurred_at, however often it is delivered. A row is kept as long as its event.';
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
  'Internal: deletes the rows of tidings.undated that are older than this and whose event has been removed.';

revoke all on function _forget_undated(timestamptz) from public;
