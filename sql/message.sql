-- The state of messages: the greatest delivery status of each, and its counts.

create table message (
  message_key text not null,
  recipient text not null,
  source_id int not null,
  provider text not null,
  message_id text,
  request_id text,
  channel text,
  campaign text,
  status text,
  is_final boolean not null,
  status_at timestamptz,
  status_rank int,
  status_event_id ulid,
  error_code text,
  reason text,
  least_final text,
  greatest_final text,
  final_conflict boolean not null generated always as (coalesce(least_final <> greatest_final, false)) stored,
  first_event_at timestamptz not null,
  last_event_at timestamptz not null,
  opens int not null,
  first_opened_at timestamptz,
  clicks int not null,
  first_clicked_at timestamptz,
  consent_requested_at timestamptz,
  consent_asked_at timestamptz,
  delivered_at timestamptz,
  delivered_event_id ulid,
  primary key (message_key, recipient, source_id)
) with (fillfactor = 80);  -- room for the next status on the same page
-- Most providers name no send request, so that the key says the message id already.
create index message_message_id_idx on message (message_id) where message_id <> message_key;
create index message_recipient_idx on message (recipient) where recipient <> '';
create index message_unfinished_idx on message (first_event_at) where not is_final;
comment on table message is
  'The current status of each message to each recipient. The status is that of the event which is greatest by (is final, occurred_at, rank, event_id); opens and clicks are counted separately. A message that waits for the recipient''s consent is pending, and has failed once the consent was denied or has expired.';
comment on column message.message_key is 'What identifies the message at the provider: the send request if the provider names one, otherwise the message id.';
comment on column message.recipient is 'The recipient of the message; empty if the provider does not name one.';
comment on column message.source_id is 'tidings.source.id.';
comment on column message.provider is 'The provider: one of providers().';
comment on column message.message_id is 'The provider''s id of the message.';
comment on column message.request_id is 'The send request that the message belongs to.';
comment on column message.channel is 'sms, push, email, chat, or the provider''s word in lower case.';
comment on column message.campaign is 'The provider''s campaign.';
comment on column message.status is 'message.accepted < message.sent < message.pending < final: message.delivered, message.failed, message.rejected, message.expired, message.bounced. Null if only opens, clicks and the like are known.';
comment on column message.is_final is 'Whether the status is final.';
comment on column message.status_at is 'When the status was reached, by the provider''s clock.';
comment on column message.status_rank is 'The rank of the status, which is final from 4 on.';
comment on column message.status_event_id is 'tidings.event.event_id of the event that gave the status.';
comment on column message.error_code is 'The provider''s code of a failure, from the event that gave the status.';
comment on column message.reason is 'The provider''s explanation, from the event that gave the status.';
comment on column message.least_final is 'The first of the final statuses that were received, in the order of their names.';
comment on column message.greatest_final is 'The last of these final statuses.';
comment on column message.final_conflict is 'Whether two different final statuses were received, such as failed after delivered.';
comment on column message.first_event_at is 'The time of its first event.';
comment on column message.last_event_at is 'The time of its last event.';
comment on column message.opens is 'How often the message was opened.';
comment on column message.first_opened_at is 'When the message was first opened.';
comment on column message.clicks is 'How often the message was clicked.';
comment on column message.first_clicked_at is 'When the message was first clicked.';
comment on column message.consent_requested_at is 'When the recipient was last asked for consent to this message; null if the message was never held.';
comment on column message.consent_asked_at is 'For a provider that asks for consent: when the send request added the recipient, or the time of the event if the provider does not say; the last of its events of asking and delivery.';
comment on column message.delivered_at is 'For a provider that asks for consent: when the message was last reported as delivered.';
comment on column message.delivered_event_id is 'tidings.event.event_id of the event that reported it.';

-- Composite values compare field by field, and the greater of two counts.
create type _status as (
  is_final boolean,
  at timestamptz,
  rank int,
  event_id ulid,
  status text,
  error_code text,
  reason text
);
comment on type _status is 'Internal: a delivery status; the fields are in the order in which two statuses are compared.';
comment on column _status.is_final is 'message.is_final.';
comment on column _status.at is 'message.status_at.';
comment on column _status.rank is 'message.status_rank.';
comment on column _status.event_id is 'message.status_event_id.';
comment on column _status.status is 'message.status.';
comment on column _status.error_code is 'message.error_code.';
comment on column _status.reason is 'message.reason.';

-- The function is not strict and has no search_path of its own, so that it is inlined.
create function _rank(kind text) returns int
  language sql immutable parallel safe
as $$
  select case kind
    when 'message.accepted' then 1
    when 'message.sent' then 2
    when 'message.pending' then 3
    when 'message.delivered' then 4
    when 'message.failed' then 5
    when 'message.rejected' then 6
    when 'message.expired' then 7
    when 'message.bounced' then 8
  end
$$;
comment on function _rank(text) is
  'Internal: the rank of a delivery status, which is final from 4 on; null for a kind that is not a delivery status.';

-- What is known of the consent to a message counts as its status: it waits, or has failed.
-- This function is inlined, too.
create function _status_of(kind text) returns text
  language sql immutable parallel safe
as $$
  select case kind
    when 'consent.requested' then 'message.pending'
    when 'consent.denied' then 'message.failed'
    when 'consent.expired' then 'message.failed'
    else kind
  end
$$;
comment on function _status_of(text) is 'Internal: the delivery status that an event of this kind gives its message.';

create type _grant as (
  recipient text,
  source_id int,
  provider text,
  asked_at timestamptz,
  at timestamptz,
  event_id ulid
);
comment on type _grant is 'Internal: a message that was held until the recipient consents, and has been delivered.';
comment on column _grant.recipient is 'message.recipient.';
comment on column _grant.source_id is 'message.source_id.';
comment on column _grant.provider is 'message.provider.';
comment on column _grant.asked_at is 'message.consent_asked_at.';
comment on column _grant.at is 'message.delivered_at.';
comment on column _grant.event_id is 'message.delivered_event_id.';

create function _add_to_message(facts _fact[]) returns _grant[]
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  grants tidings._grant[];
begin
  with merged as (
    insert into tidings.message as m (
      message_key, recipient, source_id, provider, message_id, request_id, channel, campaign,
      is_final, status_at, status_rank, status_event_id, status, error_code, reason, least_final, greatest_final,
      first_event_at, last_event_at, opens, first_opened_at, clicks, first_clicked_at,
      consent_requested_at, consent_asked_at, delivered_at, delivered_event_id
    )
    select
      t.message_key, t.recipient, t.source_id, t.provider, t.message_id, t.request_id, t.channel, t.campaign,
      coalesce((t.status).is_final, false), (t.status).at, (t.status).rank, (t.status).event_id,
      (t.status).status, (t.status).error_code, (t.status).reason, t.least_final, t.greatest_final,
      t.first_event_at, t.last_event_at, t.opens, t.first_opened_at, t.clicks, t.first_clicked_at,
      t.consent_requested_at, t.consent_asked_at, (t.delivered).at, (t.delivered).event_id
    from (
      select
        coalesce(f.request_id, f.message_id) as message_key, coalesce(f.recipient, '') as recipient, f.source_id,
        min(f.provider) as provider,
        max(f.message_id collate "C") as message_id, max(f.request_id collate "C") as request_id,
        max(f.channel collate "C") as channel, max(f.campaign collate "C") as campaign,
        tidings._greatest(
          case when r.rank is not null then
            row(r.rank >= 4, f.occurred_at, r.rank, f.event_id, r.status, f.error_code, f.reason)::tidings._status
          end) as status,
        min(r.status collate "C") filter (where r.rank >= 4) as least_final,
        max(r.status collate "C") filter (where r.rank >= 4) as greatest_final,
        min(f.occurred_at) as first_event_at, max(f.occurred_at) as last_event_at,
        count(*) filter (where f.kind = 'message.opened') as opens,
        min(f.occurred_at) filter (where f.kind = 'message.opened') as first_opened_at,
        count(*) filter (where f.kind = 'message.clicked') as clicks,
        min(f.occurred_at) filter (where f.kind = 'message.clicked') as first_clicked_at,
        max(f.occurred_at) filter (where f.kind = 'consent.requested') as consent_requested_at,
        max(f.asked_at) filter (where f.kind in ('consent.requested', 'message.delivered')) as consent_asked_at,
        tidings._greatest(row(f.occurred_at, f.event_id, null)::tidings._latest)
          filter (where f.kind = 'message.delivered' and f.asked_at is not null) as delivered
      from unnest(facts) f
      cross join lateral (select tidings._status_of(f.kind) as status, tidings._rank(tidings._status_of(f.kind)) as rank) r
      where f.kind like 'message.%' and coalesce(f.request_id, f.message_id) is not null
        or f.kind in ('consent.requested', 'consent.denied', 'consent.expired') and f.request_id is not null and f.recipient is not null
      group by 1, 2, 3
      offset 0  -- else the two would be computed once for each of their fields
    ) t
    order by t.message_key, t.recipient, t.source_id
    on conflict (message_key, recipient, source_id) do update set
      (is_final, status_at, status_rank, status_event_id, status, error_code, reason) = (
        select coalesce((b.status).is_final, false), (b.status).at, (b.status).rank, (b.status).event_id,
          (b.status).status, (b.status).error_code, (b.status).reason
        from (select greatest(
          case when m.status is not null then
            row(m.is_final, m.status_at, m.status_rank, m.status_event_id, m.status, m.error_code, m.reason)::tidings._status
          end,
          case when excluded.status is not null then
            row(excluded.is_final, excluded.status_at, excluded.status_rank, excluded.status_event_id,
              excluded.status, excluded.error_code, excluded.reason)::tidings._status
          end
        ) as status) b
      ),
      message_id = greatest(m.message_id collate "C", excluded.message_id collate "C"),
      request_id = greatest(m.request_id collate "C", excluded.request_id collate "C"),
      channel = greatest(m.channel collate "C", excluded.channel collate "C"),
      campaign = greatest(m.campaign collate "C", excluded.campaign collate "C"),
      least_final = least(m.least_final collate "C", excluded.least_final collate "C"),
      greatest_final = greatest(m.greatest_final collate "C", excluded.greatest_final collate "C"),
      first_event_at = least(m.first_event_at, excluded.first_event_at),
      last_event_at = greatest(m.last_event_at, excluded.last_event_at),
      opens = m.opens + excluded.opens,
      first_opened_at = least(m.first_opened_at, excluded.first_opened_at),
      clicks = m.clicks + excluded.clicks,
      first_clicked_at = least(m.first_clicked_at, excluded.first_clicked_at),
      consent_requested_at = greatest(m.consent_requested_at, excluded.consent_requested_at),
      consent_asked_at = greatest(m.consent_asked_at, excluded.consent_asked_at),
      delivered_at = greatest(m.delivered_at, excluded.delivered_at),
      delivered_event_id = case
        when m.delivered_at > excluded.delivered_at or excluded.delivered_at is null then m.delivered_event_id
        when m.delivered_at = excluded.delivered_at then greatest(m.delivered_event_id, excluded.delivered_event_id)
        else excluded.delivered_event_id
      end
    returning m.recipient, m.source_id, m.provider, m.consent_requested_at, m.consent_asked_at, m.delivered_at, m.delivered_event_id
  )
  select array_agg((m.recipient, m.source_id, m.provider, m.consent_asked_at, m.delivered_at, m.delivered_event_id)::tidings._grant)
  into grants
  from merged m
  where m.consent_requested_at is not null and m.delivered_at is not null and m.recipient <> '';
  return grants;
end
$$;
comment on function _add_to_message(_fact[]) is 'Internal: adds these facts to tidings.message, and returns those of the messages that grant a consent.';

select pg_catalog.pg_extension_config_dump('tidings.message', '');

revoke all on function _rank(text), _status_of(text), _add_to_message(_fact[]) from public;
