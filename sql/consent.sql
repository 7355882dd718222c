-- Consent: whether each recipient allows messages, by the last that is known.
--
-- A recipient may be asked by several send requests, and the answers arrive in any order. What
-- is known is therefore ordered by the time of asking first, so that what comes of an older
-- request never overrules a newer one; of one request, an outcome overrules the asking,
-- whatever the clocks say.
--
-- Not every provider says that a recipient consented. A message that was held until the
-- recipient consents, and has been delivered, means so too. That is not known from one event,
-- but from the row of the message, which collects both.

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
  expired_at timestamptz,
  asked_at timestamptz,
  primary key (recipient, source_id)
);
comment on table consent is 'Whether a recipient allows messages of an app, by the last that is known. That is what was asked last (asked_at); of what was asked at one time, an outcome before the asking, and of several outcomes the last in the order of (occurred_at, event_id).';
comment on column consent.recipient is 'The recipient.';
comment on column consent.source_id is 'tidings.source.id: the app.';
comment on column consent.provider is 'The provider.';
comment on column consent.status is 'consent.requested, consent.granted, consent.denied or consent.expired. A message that was held and has been delivered grants consent.';
comment on column consent.status_at is 'When the status was reached, by the provider''s clock.';
comment on column consent.status_event_id is 'tidings.event.event_id of the event that reported it.';
comment on column consent.requested_at is 'When consent was last requested.';
comment on column consent.granted_at is 'When consent was last granted.';
comment on column consent.denied_at is 'When consent was last denied.';
comment on column consent.expired_at is 'When a request for consent last expired without an answer.';
comment on column consent.asked_at is 'When the send request whose outcome is the status added the recipient, or the time of the event if the provider does not say; null in a row of version 0.4.0.';

create type _outcome as (
  asked_at timestamptz,
  is_resolved boolean,
  at timestamptz,
  event_id ulid,
  status text
);
comment on type _outcome is 'Internal: what is known of a consent; the fields are in the order in which two of them are compared.';
comment on column _outcome.asked_at is 'consent.asked_at.';
comment on column _outcome.is_resolved is 'Whether the status is another than consent.requested.';
comment on column _outcome.at is 'consent.status_at.';
comment on column _outcome.event_id is 'consent.status_event_id.';
comment on column _outcome.status is 'consent.status.';

-- This comes after the messages, whose rows say which of them grant a consent. Whoever adds one
-- of the events that do so has locked the message until the transaction ends, and the row that
-- it gets back is the newest. So of two concurrent batches, the one that got the message last
-- sees both events.
create function _add_to_consent(facts _fact[], grants _grant[]) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  insert into tidings.consent as c (
    recipient, source_id, provider, asked_at, status_at, status_event_id, status, requested_at, granted_at, denied_at, expired_at
  )
  select t.recipient, t.source_id, t.provider, (t.outcome).asked_at, (t.outcome).at, (t.outcome).event_id, (t.outcome).status,
    t.requested_at, t.granted_at, t.denied_at, t.expired_at
  from (
    select
      k.recipient, k.source_id, min(k.provider) as provider,
      tidings._greatest(k.outcome) as outcome,
      max((k.outcome).at) filter (where (k.outcome).status = 'consent.requested') as requested_at,
      max((k.outcome).at) filter (where (k.outcome).status = 'consent.granted') as granted_at,
      max((k.outcome).at) filter (where (k.outcome).status = 'consent.denied') as denied_at,
      max((k.outcome).at) filter (where (k.outcome).status = 'consent.expired') as expired_at
    from (
      select f.recipient, f.source_id, f.provider,
        row(f.asked_at, f.kind <> 'consent.requested', f.occurred_at, f.event_id, f.kind)::tidings._outcome as outcome
      from unnest(facts) f
      where f.kind like 'consent.%' and f.recipient is not null
      union all
      select g.recipient, g.source_id, g.provider,
        row(g.asked_at, true, g.at, g.event_id, 'consent.granted')::tidings._outcome
      from unnest(grants) g
    ) k
    group by k.recipient, k.source_id
  ) t
  order by t.recipient, t.source_id
  on conflict (recipient, source_id) do update set
    (asked_at, status_at, status_event_id, status) = (
      select
        case when x.is_later then excluded.asked_at else c.asked_at end,
        case when x.is_later then excluded.status_at else c.status_at end,
        case when x.is_later then excluded.status_event_id else c.status_event_id end,
        case when x.is_later then excluded.status else c.status end
      from (
        select
          row(excluded.asked_at, excluded.status <> 'consent.requested', excluded.status_at, excluded.status_event_id)
          -- A row of 0.4.0 does not say when the recipient was asked.
          > row(coalesce(c.asked_at, least(c.status_at, excluded.asked_at)), c.status <> 'consent.requested', c.status_at, c.status_event_id) as is_later
      ) x
    ),
    requested_at = greatest(c.requested_at, excluded.requested_at),
    granted_at = greatest(c.granted_at, excluded.granted_at),
    denied_at = greatest(c.denied_at, excluded.denied_at),
    expired_at = greatest(c.expired_at, excluded.expired_at);
end
$$;
comment on function _add_to_consent(_fact[], _grant[]) is 'Internal: adds these facts to tidings.consent, and what messages grant.';

select pg_catalog.pg_extension_config_dump('tidings.consent', '');

revoke all on function _add_to_consent(_fact[], _grant[]) from public;
