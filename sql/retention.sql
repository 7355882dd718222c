-- The width of partitions, and how long rows are kept.

create table retention (
  one_row boolean primary key default true check (one_row),
  partition_width text not null default 'week' check (partition_width in ('week', 'month')),
  partitions_ahead int not null default 4 check (partitions_ahead between 1 and 100),
  keep_events interval check (keep_events > '0'),
  keep_rejected interval default '30 days' check (keep_rejected > '0'),
  -- Time from which there is no timestamp before now.
  constraint keep_at_most_1000_years check (greatest(keep_events, keep_rejected) <= '1000 years')
);
comment on table retention is
  'Settings of tidings.maintain: how it partitions tidings.event, and how long it keeps rows. There is one row: change it by UPDATE.';
comment on column retention.one_row is 'Ensures that there is one row.';
comment on column retention.partition_width is 'Width of new partitions: week (from Monday) or month, in UTC. Existing partitions keep their width.';
comment on column retention.partitions_ahead is 'Number of partitions that are created ahead of the current one. For as many ranges before the current one, a partition is created as soon as the default partition contains an event of that range.';
comment on column retention.keep_events is 'Events that occurred longer ago are removed, one partition at a time; null keeps all events. At most 1000 years.';
comment on column retention.keep_rejected is 'Rows of tidings.rejected that arrived longer ago are removed; null removes only rows beyond the bounds of the table. If the request of a removed row came through a spool, a gap is written (spool_discarded).';

-- A dump contains a row, and CREATE EXTENSION in its restoration has already inserted
-- one.
create function _replace_retention() returns trigger
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  delete from tidings.retention;
  return new;
end
$$;
comment on function _replace_retention() is 'Internal: replaces the existing row by the one that is inserted.';
create trigger replace before insert on retention
  for each row execute function _replace_retention();

insert into retention default values;
select pg_catalog.pg_extension_config_dump('tidings.retention', '');

revoke all on function _replace_retention() from public;
