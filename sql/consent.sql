-- Consent: whether each recipient allows messages, by the last event.

create table consent (
  recipient text not null,
  source_id int not null,
  provider text not null,
  status text not null,
  status_at timestamptz not null,
  status_event_id ulid not null,
  requested_at timestamptz,
  granted_at timestamptz,
  denied_at timestamptz,
  primary key (recipient, source_id)
);
comment on table consent is 'Whether a recipient allows messages of an app, by the last event in the order of (occurred_at, event_id).';
comment on column consent.recipient is 'The recipient.';
comment on column consent.source_id is 'tidings.source.id: the app.';
comment on column consent.provider is 'The provider.';
comment on column consent.status is 'consent.requested, consent.granted or consent.denied.';
comment on column consent.status_at is 'When the status was reached, by the provider''s clock.';
comment on column consent.status_event_id is 'tidings.event.event_id of the event that reported it.';
comment on column consent.requested_at is 'When consent was last requested.';
comment on column consent.granted_at is 'When consent was last granted.';
comment on column consent.denied_at is 'When consent was last denied.';

create function _add_to_consent(first_id ulid, last_id ulid) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  insert into tidings.consent as c (
    recipient, source_id, provider, status_at, status_event_id, status, requested_at, granted_at, denied_at
  )
  select t.recipient, t.source_id, t.provider, (t.status).at, (t.status).event_id, (t.status).value,
    t.requested_at, t.granted_at, t.denied_at
  from (
    select
      e.recipient, e.source_id, min(e.provider) as provider,
      (array_agg(e.status order by e.status desc))[1] as status,
      max(e.occurred_at) filter (where e.kind = 'consent.requested') as requested_at,
      max(e.occurred_at) filter (where e.kind = 'consent.granted') as granted_at,
      max(e.occurred_at) filter (where e.kind = 'consent.denied') as denied_at
    from (
      select e.recipient, e.source_id, e.provider, e.kind, e.occurred_at,
        row(e.occurred_at, e.event_id, e.kind)::tidings._latest as status
      from tidings.event e
      where e.id between first_id and last_id and e.kind like 'consent.%' and e.recipient is not null
    ) e
    group by e.recipient, e.source_id
  ) t
  order by t.recipient, t.source_id
  on conflict (recipient, source_id) do update set
    (status_at, status_event_id, status) = (
      select (b.status).at, (b.status).event_id, (b.status).value
      from (select greatest(
        row(c.status_at, c.status_event_id, c.status)::tidings._latest,
        row(excluded.status_at, excluded.status_event_id, excluded.status)::tidings._latest
      ) as status) b
    ),
    requested_at = greatest(c.requested_at, excluded.requested_at),
    granted_at = greatest(c.granted_at, excluded.granted_at),
    denied_at = greatest(c.denied_at, excluded.denied_at);
end
$$;
comment on function _add_to_consent(ulid, ulid) is 'Internal: adds the events of these positions to tidings.consent.';

select pg_catalog.pg_extension_config_dump('tidings.consent', '');

revoke all on function _add_to_consent(ulid, ulid) from public;
