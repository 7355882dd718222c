-- Subscribers: their status, and your own id of them.

create table subscriber (
  recipient text not null,
  source_id int not null,
  provider text not null,
  status text,
  status_at timestamptz,
  status_event_id ulid,
  custom_id text,
  custom_id_at timestamptz,
  custom_id_event_id ulid,
  first_event_at timestamptz not null,
  last_event_at timestamptz not null,
  primary key (recipient, source_id)
);
create index subscriber_custom_id_idx on subscriber using hash (custom_id);  -- it may be of any length
comment on table subscriber is 'The state of each subscriber, by its subscriber events.';
comment on column subscriber.recipient is 'The subscriber''s id.';
comment on column subscriber.source_id is 'tidings.source.id.';
comment on column subscriber.provider is 'The provider.';
comment on column subscriber.status is 'subscriber.subscribed or subscriber.unsubscribed, whichever came last; null if there were only updates.';
comment on column subscriber.status_at is 'When the status was reached.';
comment on column subscriber.status_event_id is 'tidings.event.event_id of the event that reported it.';
comment on column subscriber.custom_id is 'Your own id of the subscriber, from the last event that carries one.';
comment on column subscriber.custom_id_at is 'Time of that event.';
comment on column subscriber.custom_id_event_id is 'tidings.event.event_id of that event.';
comment on column subscriber.first_event_at is 'The time of its first event.';
comment on column subscriber.last_event_at is 'The time of its last event.';

create function _add_to_subscriber(facts _fact[]) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  insert into tidings.subscriber as b (
    recipient, source_id, provider, status_at, status_event_id, status,
    custom_id_at, custom_id_event_id, custom_id, first_event_at, last_event_at
  )
  select t.recipient, t.source_id, t.provider, (t.status).at, (t.status).event_id, (t.status).value,
    (t.custom_id).at, (t.custom_id).event_id, (t.custom_id).value, t.first_event_at, t.last_event_at
  from (
    select
      f.recipient, f.source_id, min(f.provider) as provider,
      tidings._greatest(row(f.occurred_at, f.event_id, f.kind)::tidings._latest)
        filter (where f.kind in ('subscriber.subscribed', 'subscriber.unsubscribed')) as status,
      tidings._greatest(row(f.occurred_at, f.event_id, f.custom_id)::tidings._latest)
        filter (where f.custom_id is not null) as custom_id,
      min(f.occurred_at) as first_event_at, max(f.occurred_at) as last_event_at
    from unnest(facts) f
    where f.kind like 'subscriber.%' and f.recipient is not null
    group by f.recipient, f.source_id
    offset 0  -- else the two would be computed once for each of their fields
  ) t
  order by t.recipient, t.source_id
  on conflict (recipient, source_id) do update set
    (status_at, status_event_id, status) = (
      select (x.status).at, (x.status).event_id, (x.status).value
      from (select greatest(
        case when b.status is not null then row(b.status_at, b.status_event_id, b.status)::tidings._latest end,
        case when excluded.status is not null then
          row(excluded.status_at, excluded.status_event_id, excluded.status)::tidings._latest
        end
      ) as status) x
    ),
    (custom_id_at, custom_id_event_id, custom_id) = (
      select (x.custom_id).at, (x.custom_id).event_id, (x.custom_id).value
      from (select greatest(
        case when b.custom_id is not null then row(b.custom_id_at, b.custom_id_event_id, b.custom_id)::tidings._latest end,
        case when excluded.custom_id is not null then
          row(excluded.custom_id_at, excluded.custom_id_event_id, excluded.custom_id)::tidings._latest
        end
      ) as custom_id) x
    ),
    first_event_at = least(b.first_event_at, excluded.first_event_at),
    last_event_at = greatest(b.last_event_at, excluded.last_event_at);
end
$$;
comment on function _add_to_subscriber(_fact[]) is 'Internal: adds these facts to tidings.subscriber.';

select pg_catalog.pg_extension_config_dump('tidings.subscriber', '');

revoke all on function _add_to_subscriber(_fact[]) from public;
