-- What the events add up to: where every message is, who may be written to, who is
-- subscribed, and what a send request came to.
--
-- A row here is a function of the set of its events. Every column is a minimum, a
-- maximum or a count over events, each of which is stored once, or belongs to the event
-- that is greatest by a total order. So neither the order of arrival nor a repetition
-- matters, and rebuild_state gives the same rows from the events alone. Texts are
-- compared by their bytes, so that this holds under every collation.

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
  primary key (message_key, recipient, source_id)
);
create index message_message_id_idx on message (message_id) where message_id is not null;
create index message_recipient_idx on message (recipient) where recipient <> '';
create index message_unfinished_idx on message (first_event_at) where not is_final;
comment on table message is
  'The current status of each message to each recipient. The status is the event greatest by (is final, occurred_at, rank, event_id); opens and clicks are counted beside it.';
comment on column message.message_key is 'What the provider tells messages apart by: the send request where it names one, else the message.';
comment on column message.recipient is 'Whom it was sent to; empty where the provider does not say.';
comment on column message.source_id is 'tidings.source.id.';
comment on column message.provider is 'One of providers().';
comment on column message.message_id is 'The provider''s id of the message.';
comment on column message.request_id is 'The send request that it belongs to.';
comment on column message.channel is 'sms, push, email, chat, or the provider''s word in lower case.';
comment on column message.campaign is 'The provider''s campaign.';
comment on column message.status is 'message.accepted < message.sent < message.pending < final: message.delivered, message.failed, message.rejected, message.expired, message.bounced. Null where only opens, clicks and the like are known.';
comment on column message.is_final is 'Whether the status is a final one.';
comment on column message.status_at is 'When the status was reached, by the provider''s clock.';
comment on column message.status_rank is 'The rank of the status; final from 4 on.';
comment on column message.status_event_id is 'tidings.event.event_id of the event that gave the status.';
comment on column message.error_code is 'Of that event.';
comment on column message.reason is 'Of that event.';
comment on column message.least_final is 'The first of the final statuses seen, in the order of their names.';
comment on column message.greatest_final is 'The last of them.';
comment on column message.final_conflict is 'Whether two different final statuses were seen, such as failed after delivered.';
comment on column message.first_event_at is 'The time of its first event.';
comment on column message.last_event_at is 'The time of its last event.';
comment on column message.opens is 'How often it was opened.';
comment on column message.first_opened_at is 'When first.';
comment on column message.clicks is 'How often it was clicked.';
comment on column message.first_clicked_at is 'When first.';

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
comment on table consent is 'Whether a recipient allows messages of an app: the last word by (occurred_at, event_id).';
comment on column consent.recipient is 'The recipient.';
comment on column consent.source_id is 'tidings.source.id: the app.';
comment on column consent.provider is 'The provider.';
comment on column consent.status is 'consent.requested, consent.granted or consent.denied.';
comment on column consent.status_at is 'When, by the provider''s clock.';
comment on column consent.status_event_id is 'tidings.event.event_id of the event that said so.';
comment on column consent.requested_at is 'When it was last requested.';
comment on column consent.granted_at is 'When it was last granted.';
comment on column consent.denied_at is 'When it was last denied.';

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
comment on table subscriber is 'Each subscriber as its subscriber events left it.';
comment on column subscriber.recipient is 'The subscriber''s id.';
comment on column subscriber.source_id is 'tidings.source.id.';
comment on column subscriber.provider is 'The provider.';
comment on column subscriber.status is 'subscriber.subscribed or subscriber.unsubscribed, whichever came last; null where only updates came.';
comment on column subscriber.status_at is 'When.';
comment on column subscriber.status_event_id is 'tidings.event.event_id of the event that said so.';
comment on column subscriber.custom_id is 'Your own id of it, as the last event that carries one says.';
comment on column subscriber.custom_id_at is 'When that event came.';
comment on column subscriber.custom_id_event_id is 'tidings.event.event_id of that event.';
comment on column subscriber.first_event_at is 'The time of its first event.';
comment on column subscriber.last_event_at is 'The time of its last event.';

create table request_summary (
  request_id text not null,
  source_id int not null,
  provider text not null,
  first_event_at timestamptz not null,
  last_event_at timestamptz not null,
  completed_at timestamptz,
  completed_event_id ulid,
  summary jsonb,
  primary key (request_id, source_id)
);
comment on table request_summary is 'Each send request, with what the provider says that it came to. tidings.request sets what was seen beside it.';
comment on column request_summary.request_id is 'The send request.';
comment on column request_summary.source_id is 'tidings.source.id.';
comment on column request_summary.provider is 'The provider.';
comment on column request_summary.first_event_at is 'The time of its first event.';
comment on column request_summary.last_event_at is 'The time of its last event.';
comment on column request_summary.completed_at is 'When the provider said that it is complete; null before.';
comment on column request_summary.completed_event_id is 'tidings.event.event_id of the event that said so.';
comment on column request_summary.summary is 'What the provider said then.';

create function _count(value text) returns bigint
  language sql immutable strict parallel safe
  set search_path = pg_catalog, tidings, pg_temp
as $$
  select case when value ~ '^[0-9]{1,18}$' then value::bigint end
$$;
comment on function _count(text) is 'Internal: a count as a provider wrote it; null of anything else.';

create view request as
  select
    s.request_id, s.source_id, s.provider, s.first_event_at, s.last_event_at, s.completed_at,
    p.delivered, p.failed,
    m.delivered as seen_delivered,
    m.failed as seen_failed,
    m.unfinished as seen_unfinished,
    p.delivered - m.delivered as delivered_difference,
    p.failed - m.failed as failed_difference
  from request_summary s
  cross join lateral (
    select tidings._count(s.summary ->> 'delivered') as delivered, tidings._count(s.summary ->> 'failed') as failed
  ) p
  cross join lateral (
    select
      count(*) filter (where m.status = 'message.delivered') as delivered,
      count(*) filter (where m.is_final and m.status <> 'message.delivered') as failed,
      count(*) filter (where not m.is_final) as unfinished
    from message m
    where m.message_key = s.request_id and m.source_id = s.source_id
  ) m;
comment on view request is 'Each send request: the provider''s summary, and what was seen of its messages. A difference other than 0 means that events are missing, or still on their way.';
comment on column request.request_id is 'The send request.';
comment on column request.source_id is 'tidings.source.id.';
comment on column request.provider is 'The provider.';
comment on column request.first_event_at is 'The time of its first event.';
comment on column request.last_event_at is 'The time of its last event.';
comment on column request.completed_at is 'When the provider said that it is complete; null before.';
comment on column request.delivered is 'To how many recipients it was delivered, as the provider says.';
comment on column request.failed is 'To how many it was not, as the provider says.';
comment on column request.seen_delivered is 'How many of its messages were seen delivered.';
comment on column request.seen_failed is 'How many were seen to end otherwise.';
comment on column request.seen_unfinished is 'How many were seen, and have no final status.';
comment on column request.delivered_difference is 'delivered - seen_delivered; null before it is complete.';
comment on column request.failed_difference is 'failed - seen_failed; null before it is complete.';

-- Two values of which the greater counts: composite values compare field by field.

create type _status as (
  is_final boolean,
  at timestamptz,
  rank int,
  event_id ulid,
  status text,
  error_code text,
  reason text
);
comment on type _status is 'Internal: a delivery status, in the order in which one outdoes another.';
comment on column _status.is_final is 'message.is_final.';
comment on column _status.at is 'message.status_at.';
comment on column _status.rank is 'message.status_rank.';
comment on column _status.event_id is 'message.status_event_id.';
comment on column _status.status is 'message.status.';
comment on column _status.error_code is 'message.error_code.';
comment on column _status.reason is 'message.reason.';

create type _latest as (
  at timestamptz,
  event_id ulid,
  value text
);
comment on type _latest is 'Internal: what an event said, in the order in which a later one outdoes it.';
comment on column _latest.at is 'The event''s time.';
comment on column _latest.event_id is 'The event.';
comment on column _latest.value is 'What it said.';

-- Neither strict nor with a search_path of its own: so that it is inlined.
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
  'Internal: the rank of a delivery status, final from 4 on; null of a kind that is none.';

-- Adds the events of these positions, each of which must be added once. The keys are
-- sorted, so that concurrent batches about the same messages never deadlock.
create function _add_to_state(first_id ulid, last_id ulid) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  insert into tidings.message as m (
    message_key, recipient, source_id, provider, message_id, request_id, channel, campaign,
    is_final, status_at, status_rank, status_event_id, status, error_code, reason, least_final, greatest_final,
    first_event_at, last_event_at, opens, first_opened_at, clicks, first_clicked_at
  )
  select
    t.message_key, t.recipient, t.source_id, t.provider, t.message_id, t.request_id, t.channel, t.campaign,
    coalesce((t.status).is_final, false), (t.status).at, (t.status).rank, (t.status).event_id,
    (t.status).status, (t.status).error_code, (t.status).reason, t.least_final, t.greatest_final,
    t.first_event_at, t.last_event_at, t.opens, t.first_opened_at, t.clicks, t.first_clicked_at
  from (
    select
      e.message_key, e.recipient, e.source_id, min(e.provider) as provider,
      max(e.message_id collate "C") as message_id, max(e.request_id collate "C") as request_id,
      max(e.channel collate "C") as channel, max(e.campaign collate "C") as campaign,
      (array_agg(e.status order by e.status desc) filter (where e.status is distinct from null))[1] as status,  -- "is not null" would ask it of every field
      min(e.kind collate "C") filter (where (e.status).is_final) as least_final,
      max(e.kind collate "C") filter (where (e.status).is_final) as greatest_final,
      min(e.occurred_at) as first_event_at, max(e.occurred_at) as last_event_at,
      count(*) filter (where e.kind = 'message.opened') as opens,
      min(e.occurred_at) filter (where e.kind = 'message.opened') as first_opened_at,
      count(*) filter (where e.kind = 'message.clicked') as clicks,
      min(e.occurred_at) filter (where e.kind = 'message.clicked') as first_clicked_at
    from (
      select
        coalesce(e.request_id, e.message_id) as message_key, coalesce(e.recipient, '') as recipient, e.source_id,
        e.provider, e.message_id, e.request_id, e.channel, e.campaign, e.kind, e.occurred_at,
        case when r.rank is not null then
          row(r.rank >= 4, e.occurred_at, r.rank, e.event_id, e.kind, e.error_code, e.reason)::tidings._status
        end as status
      from tidings.event e
      cross join lateral (select tidings._rank(e.kind) as rank) r
      where e.id between first_id and last_id
        and e.kind like 'message.%' and coalesce(e.request_id, e.message_id) is not null
    ) e
    group by e.message_key, e.recipient, e.source_id
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
    first_clicked_at = least(m.first_clicked_at, excluded.first_clicked_at);

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

  insert into tidings.subscriber as b (
    recipient, source_id, provider, status_at, status_event_id, status,
    custom_id_at, custom_id_event_id, custom_id, first_event_at, last_event_at
  )
  select t.recipient, t.source_id, t.provider, (t.status).at, (t.status).event_id, (t.status).value,
    (t.custom_id).at, (t.custom_id).event_id, (t.custom_id).value, t.first_event_at, t.last_event_at
  from (
    select
      e.recipient, e.source_id, min(e.provider) as provider,
      (array_agg(e.status order by e.status desc) filter (where e.kind in ('subscriber.subscribed', 'subscriber.unsubscribed')))[1] as status,
      (array_agg(e.custom_id order by e.custom_id desc) filter (where (e.custom_id).value is not null))[1] as custom_id,
      min(e.occurred_at) as first_event_at, max(e.occurred_at) as last_event_at
    from (
      select e.recipient, e.source_id, e.provider, e.kind, e.occurred_at,
        row(e.occurred_at, e.event_id, e.kind)::tidings._latest as status,
        row(e.occurred_at, e.event_id, nullif(e.payload ->> 'customId', ''))::tidings._latest as custom_id
      from tidings.event e
      where e.id between first_id and last_id and e.kind like 'subscriber.%' and e.recipient is not null
    ) e
    group by e.recipient, e.source_id
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

  insert into tidings.request_summary as r (
    request_id, source_id, provider, first_event_at, last_event_at, completed_at, completed_event_id, summary
  )
  select t.request_id, t.source_id, t.provider, t.first_event_at, t.last_event_at,
    (t.completed).at, (t.completed).event_id, (t.completed).value::jsonb
  from (
    select
      e.request_id, e.source_id, min(e.provider) as provider,
      min(e.occurred_at) as first_event_at, max(e.occurred_at) as last_event_at,
      (array_agg(e.completed order by e.completed desc) filter (where e.kind = 'request.completed'))[1] as completed
    from (
      select e.request_id, e.source_id, e.provider, e.kind, e.occurred_at,
        row(e.occurred_at, e.event_id, nullif(e.payload -> 'summary', 'null')::text)::tidings._latest as completed
      from tidings.event e
      where e.id between first_id and last_id and e.request_id is not null
    ) e
    group by e.request_id, e.source_id
  ) t
  order by t.request_id, t.source_id
  on conflict (request_id, source_id) do update set
    (completed_at, completed_event_id, summary) = (
      select (b.completed).at, (b.completed).event_id, (b.completed).value::jsonb
      from (select greatest(
        case when r.completed_at is not null then
          row(r.completed_at, r.completed_event_id, r.summary::text)::tidings._latest
        end,
        case when excluded.completed_at is not null then
          row(excluded.completed_at, excluded.completed_event_id, excluded.summary::text)::tidings._latest
        end
      ) as completed) b
    ),
    first_event_at = least(r.first_event_at, excluded.first_event_at),
    last_event_at = greatest(r.last_event_at, excluded.last_event_at);
end
$$;
comment on function _add_to_state(ulid, ulid) is 'Internal: adds the events of these positions to the state tables.';

create function rebuild_state(out state text, out rows bigint)
  returns setof record
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  perform tidings._require_log_access();
  -- Waits for ingest that has added its events, and holds back what has not: whatever
  -- is stored then is either seen here, or added when this has ended.
  lock table tidings.message, tidings.consent, tidings.subscriber, tidings.request_summary in access exclusive mode;
  truncate tidings.message, tidings.consent, tidings.subscriber, tidings.request_summary;
  perform tidings._add_to_state('00000000000000000000000000', '7ZZZZZZZZZZZZZZZZZZZZZZZZZ');
  return query
    select 'message', count(*) from tidings.message
    union all select 'consent', count(*) from tidings.consent
    union all select 'subscriber', count(*) from tidings.subscriber
    union all select 'request_summary', count(*) from tidings.request_summary;
end
$$;
comment on function rebuild_state() is
  'Makes the state tables anew from the events, and says how many rows each has. They come out as they were, but for what came from events that retention has removed since: it is needed only where events were changed by hand. Ingest and readers of the state wait for it. SQLSTATE 25001 in REPEATABLE READ and SERIALIZABLE, whose snapshot would be too old.';

select pg_catalog.pg_extension_config_dump('tidings.message', '');
select pg_catalog.pg_extension_config_dump('tidings.consent', '');
select pg_catalog.pg_extension_config_dump('tidings.subscriber', '');
select pg_catalog.pg_extension_config_dump('tidings.request_summary', '');

revoke all on function _rank(text), _count(text), _add_to_state(ulid, ulid), rebuild_state() from public;
