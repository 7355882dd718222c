-- How partitions are cut, and how long what is kept.

create table retention (
  one_row boolean primary key default true check (one_row),
  partition_width text not null default 'week' check (partition_width in ('week', 'month')),
  partitions_ahead int not null default 4 check (partitions_ahead between 1 and 100),
  keep_events interval check (keep_events > '0'),
  keep_rejected interval default '30 days' check (keep_rejected > '0')
);
comment on table retention is
  'How tidings.maintain cuts tidings.event, and how long it keeps what. One row: change it by UPDATE.';
comment on column retention.one_row is 'There is one row.';
comment on column retention.partition_width is 'week (from Monday) or month, in UTC. Partitions that exist keep theirs.';
comment on column retention.partitions_ahead is 'How many partitions there are after the current one; and for as many before it one is made as soon as the default partition holds an event of theirs.';
comment on column retention.keep_events is 'Events that occurred longer ago are removed, a partition at a time; null keeps them for ever.';
comment on column retention.keep_rejected is 'What was rejected longer ago is removed; null leaves it to the bound of tidings.rejected.';

-- A dump brings a row, and the script of its restoration has made one already.
create function _replace_retention() returns trigger
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  delete from tidings.retention;
  return new;
end
$$;
comment on function _replace_retention() is 'Internal: the row that is inserted takes the place of the one that is there.';
create trigger replace before insert on retention
  for each row execute function _replace_retention();

insert into retention default values;
select pg_catalog.pg_extension_config_dump('tidings.retention', '');

revoke all on function _replace_retention() from public;
