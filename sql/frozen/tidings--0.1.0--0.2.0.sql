-- ALTER EXTENSION tidings UPDATE from 0.1.0: the state tables, consumers, upkeep.
--
-- What is new is included as it is installed; what has changed is replaced. The state
-- of the events that are stored already is made at the end.

-- The log: why no reader ever skips an event.
--
-- Ids are given before a transaction commits, so a reader of "id > cursor" would pass
-- the ids of a slow transaction and never come back. Here a writer announces, before it
-- takes an id, the millisecond from which it will take them, and a reader stops short
-- of every announcement:
--
--   writer   reads the clock; takes a shared advisory lock on that millisecond, until it
--            commits; reads the clock again; its ids lie at or above both readings
--            (_log_enter, _log_start, _log_id)
--   reader   reads the clock; reads which milliseconds are locked; its horizon is the
--            least of them all; in a new snapshot, returns what lies below it
--            (_log_horizon, events_after)
--
-- A writer that the reader's scan does not see either has not locked yet, and its second
-- reading of the clock will be at or above the reader's, or has released its lock, which
-- Postgres does only after its rows became visible, so that the new snapshot sees them.
-- Where the clock steps back, ids go on above the greatest that was committed, and
-- readers wait until the clock has caught up. The greatest is looked for among the
-- events; whoever removes events notes it first, in log_mark.

create table log_mark (
  one_row boolean primary key default true check (one_row),
  newest ulid not null
);
comment on table log_mark is 'The greatest position when events were last removed: none is given at or below it again. No row before that.';
comment on column log_mark.one_row is 'There is one row at most.';
comment on column log_mark.newest is 'The position.';
select pg_catalog.pg_extension_config_dump('tidings.log_mark', '');

create or replace function _log_newest() returns ulid
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  return greatest(
    (select e.id from tidings.event e order by e.id desc limit 1),
    (select m.newest from tidings.log_mark m));
end
$$;
comment on function _log_newest() is 'Internal: the greatest position that was committed, of events that are there or were; null of none.';

create or replace function _log_keep(removed ulid) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  insert into tidings.log_mark as m (newest)
  select removed where removed is not null
  on conflict (one_row) do update set newest = greatest(m.newest, excluded.newest);
end
$$;
comment on function _log_keep(ulid) is
  'Internal: notes the greatest position, or one at or above it, of the events that this transaction removes.';

create or replace function _require_log_access() returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
    raise exception using
      errcode = 'active_sql_transaction',
      message = format('the log cannot be used in a %s transaction', upper(current_setting('transaction_isolation'))),
      detail = 'Its snapshot is older than the locks that tell which events are complete.',
      hint = 'Use READ COMMITTED.';
  end if;
  if pg_is_in_recovery() then
    raise exception using
      errcode = 'read_only_sql_transaction',
      message = 'the log cannot be followed on a standby',
      detail = 'The locks that tell which events are complete are on the primary.',
      hint = 'Connect to the primary.';
  end if;
end
$$;
comment on function _require_log_access() is 'Internal: SQLSTATE 25001 in REPEATABLE READ and SERIALIZABLE, 25006 on a standby.';

create or replace function _log_horizon() returns bigint
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  clock_ms bigint := tidings._clock_ms();  -- before the locks are read, never after
begin
  return least(clock_ms, (
    select min((l.classid::bigint & 65535) << 32 | l.objid::bigint)
    from pg_locks l
    where l.locktype = 'advisory' and l.granted
      and l.objsubid = 1 and l.classid::bigint >> 16 = 29801  -- the tag, x7469
      and l.database = (select d.oid from pg_database d where d.datname = current_database())
  ));
end
$$;
comment on function _log_horizon() is
  'Internal: the millisecond since 1970 below which the log is complete, for a snapshot taken after this returns.';

comment on function _clock_ms() is 'Internal: the clock, in milliseconds since 1970.';
comment on function _log_enter() is 'Internal: announces, until the end of the transaction, that ids are given from now on.';
comment on function _log_start(ulid) is 'Internal: starts a run of ids, above this one where the clock is behind it.';
comment on function _log_id() is 'Internal: the next id of the run.';
comment on function _notifies() is 'Internal: whether tidings.notify is on.';

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
comment on column message.provider is 'ppoppo, pushwoosh, arpoone or pushpushgo.';
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

-- Bytes in, rows out: verify, normalize, store, in one statement for a whole batch.

create or replace function _without_secrets(headers jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, tidings, pg_temp
as $$
  select case jsonb_typeof(headers) when 'object' then headers - '{authorization,url-token}'::text[] end
$$;
comment on function _without_secrets(jsonb) is
  'Internal: the headers of a request that passed its policy, without what let it pass.';

create or replace function _ingest(sources text[], bodies bytea[], headers jsonb[], verified boolean[])
  returns setof receipt
  language plpgsql volatile rows 100
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  idle interval := current_setting('idle_in_transaction_session_timeout');
  started_at timestamptz := clock_timestamp();
  newest tidings.ulid;
  first_id tidings.ulid;  -- of the events that are stored
  last_id tidings.ulid;
  receipts tidings.receipt[];
  is_replay constant boolean := verified is not null;
begin
  if cardinality(sources) is distinct from cardinality(bodies)
     or cardinality(sources) is distinct from cardinality(headers)
     or cardinality(sources) is null then
    raise exception using
      errcode = 'array_subscript_error',
      message = 'sources, bodies and headers are not of one length',
      detail = format('They have %s, %s and %s elements.',
        coalesce(cardinality(sources), 0), coalesce(cardinality(bodies), 0), coalesce(cardinality(headers), 0)),
      hint = 'Pass one source, one body and one object of headers for each request.';
  end if;
  perform tidings._require_log_access();

  -- Readers wait for a transaction that has ids: an idle one must not hold them for long.
  if idle not between '1 ms' and '10 s' then
    perform set_config('idle_in_transaction_session_timeout', '10s', true);
  end if;

  -- Each of the following is a statement of its own, in this order: see log.sql.
  perform tidings._log_enter();
  newest := tidings._log_newest();
  perform tidings._log_start(newest);

  with request as materialized (
    select
      r.ordinal::int, r.source, r.body, r.headers, s.id as source_id, s.provider,
      coalesce(s.options ->> 'timezone', 'UTC') as timezone,
      tidings._receipt(r.headers ->> 'receipt-id') as receipt,
      case
        when s.id is null then 'unknown_source'
        when not s.enabled then 'disabled'
        when r.verified then case when r.body is null then 'malformed' end
        when not tidings._verify(s.provider, p.secrets, p.url_tokens, p.allow_unauthenticated, r.body, r.headers::text)
          then 'unauthorized'
        when r.body is null then 'malformed'
      end as refused
    from unnest(sources, bodies, headers, verified) with ordinality r (source, body, headers, verified, ordinal)
    left join (tidings.source s join tidings._policy p on p.source_id = s.id) on s.name = r.source
    order by r.ordinal  -- positions are given in the order of the requests
  ),
  item as materialized (
    select
      r.ordinal as request, r.source_id, r.provider, r.source, r.receipt,
      coalesce(r.receipt::timestamptz, started_at) as received_at,
      n.*, tidings._log_id() as id
    from request r
    cross join lateral tidings._normalize(r.provider, r.source, r.timezone, r.body) n
    where r.refused is null
  ),
  stored as (
    insert into tidings.event (
      id, event_id, source_id, provider, kind, provider_kind, channel, occurred_at, received_at,
      request_id, message_id, recipient, campaign, error_code, reason, payload
    )
    select
      i.id,
      -- What has no identity is identified by its receipt, or else is an event each time.
      coalesce(i.event_id, tidings._receipt_event_id(i.provider, i.source, i.receipt, i.received_at, i.ordinal, i.payload::text), i.id) as event_id,
      i.source_id, i.provider, i.kind, i.provider_kind, i.channel,
      coalesce(i.occurred_at, i.received_at) as occurred_at,
      i.received_at, i.request_id, i.message_id, i.recipient, i.campaign, i.error_code, i.reason, i.payload
    from item i
    where i.error is null
    -- By the key, so that concurrent batches with the same events never deadlock; of
    -- equal events the first is stored.
    order by 2, 8, 3, 1
    on conflict do nothing
    returning id
  ),
  refusal (source_id, received_at, verdict, reason, ordinal, headers, body) as (
    select r.source_id, coalesce(r.receipt::timestamptz, started_at), r.refused,
      case r.refused when 'unauthorized' then 'the request does not carry what the source demands' else 'the body is null' end,
      null::int, case r.refused when 'unauthorized' then r.headers else tidings._without_secrets(r.headers) end, r.body
    from request r
    where r.refused in ('unauthorized', 'malformed')
    union all
    select i.source_id, i.received_at, 'malformed', i.error, null, tidings._without_secrets(r.headers), r.body
    from item i join request r on r.ordinal = i.request
    where i.ordinal is null
    union all
    select i.source_id, i.received_at, 'item', i.error, i.ordinal, null, i.item
    from item i
    where i.error is not null and i.ordinal is not null
  ),
  kept as (
    insert into tidings.rejected (id, received_at, source_id, verdict, reason, ordinal, headers, body, body_bytes)
    select tidings._log_id(), f.received_at, f.source_id, f.verdict, f.reason, f.ordinal, f.headers,
      substr(f.body, 1, 1 << 20), coalesce(octet_length(f.body), 0)
    from refusal f
    where not is_replay
  ),
  resumed as (
    insert into tidings.stream as t (source_id, cursor, updated_at)
    select distinct on (i.source_id) i.source_id, c.cursor, started_at
    from item i
    cross join lateral (
      select coalesce(i.payload -> 'event_id', i.payload -> 'eventId') as id, coalesce(i.payload ->> 'event_id', i.payload ->> 'eventId') as cursor
    ) c
    where not is_replay and tidings._is_dialed(i.provider) and jsonb_typeof(c.id) = 'string' and c.cursor <> ''
    order by i.source_id, i.request desc, i.ordinal desc
    on conflict (source_id) do update set cursor = excluded.cursor, updated_at = excluded.updated_at
  ),
  outcome as (
    select
      i.request,
      count(s.id)::int as inserted,
      (count(*) filter (where i.error is null) - count(s.id))::int as duplicate,
      (count(*) filter (where i.error is not null and i.ordinal is not null))::int as rejected,
      bool_or(i.ordinal is null) as malformed,
      (array_agg(coalesce('item ' || i.ordinal || ': ', '') || i.error order by i.ordinal)
        filter (where i.error is not null))[1:3] as reasons
    from item i
    left join stored s on s.id = i.id
    group by i.request
  )
  select array_agg((
      coalesce(r.refused, case when o.malformed then 'malformed' else 'accepted' end),
      coalesce(o.inserted, 0), coalesce(o.duplicate, 0), coalesce(o.rejected, 0),
      case r.refused
        when 'unknown_source' then format('no source is named %s', coalesce('"' || r.source || '"', 'null'))
        when 'disabled' then format('source "%s" is disabled', r.source)
        when 'unauthorized' then 'the request does not carry what the source demands'
        when 'malformed' then 'the body is null'
        else array_to_string(o.reasons, '; ') || case when o.rejected > 3 then '; ..' else '' end
      end,
      r.ordinal
    )::tidings.receipt order by r.ordinal),
    (select min(s.id) from stored s), (select max(s.id) from stored s)
  into receipts, first_id, last_id
  from request r
  left join outcome o on o.request = r.ordinal;

  if not is_replay and exists (select from unnest(receipts) r where r.rejected > 0 or r.verdict in ('unauthorized', 'malformed')) then
    perform tidings._trim_rejected(sources);
  end if;
  if first_id is not null then
    -- No other transaction has an id between: each takes a run of its own.
    perform tidings._add_to_state(first_id, last_id);
    if tidings._notifies() then
      notify tidings;
    end if;
  end if;
  return query select r.* from unnest(receipts) r;
end
$$;
comment on function _ingest(text[], bytea[], jsonb[], boolean[]) is
  'Internal: ingest_batch. With "verified" it is a replay of what is in tidings.rejected: where that is true the request passed its policy when it arrived, and is not verified again; what is refused is not kept once more; and no stream''s cursor moves.';

create or replace function ingest_batch(sources text[], bodies bytea[], headers jsonb[])
  returns setof receipt
  language plpgsql volatile security definer rows 100
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  return query select r.* from tidings._ingest(sources, bodies, headers, null) r;
end
$$;
comment on function ingest_batch(text[], bytea[], jsonb[]) is
  'Takes many requests in one statement, and tells of each what became of it, in their order. All of it is stored when the transaction commits: answer the senders after that. One bad request, or one bad item, fails no other. Headers have names in lower case; "url-token" is the token of the URL, and "receipt-id" (a UUID of version 7, or a ULID) the time and identity of the receipt, so that a batch can be repeated. SQLSTATE 2202E where the arrays differ in length, 25001 in REPEATABLE READ and SERIALIZABLE, 25006 on a standby.';

create or replace function ingest(source text, body bytea, headers jsonb default '{}')
  returns receipt
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  answer tidings.receipt;
begin
  select r.* into answer from tidings.ingest_batch(array[source], array[body], array[headers]) r;
  return answer;
end
$$;
comment on function ingest(text, bytea, jsonb) is
  'Takes one request as a provider sent it: verifies it, normalizes it, stores each event once. See ingest_batch for many at a time, and for what the headers are.';

create or replace function _trim_rejected(sources text[]) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  -- Waits for nobody: a replay that holds a row may be waiting for an event of this transaction.
  delete from tidings.rejected r
  using (
    select l.id
    from tidings.rejected l
    join (
      select k.id, row_number() over newest_first as n, sum(octet_length(k.body) + coalesce(pg_column_size(k.headers), 0)) over newest_first as bytes
      from tidings.rejected k
      where k.source_id in (select s.id from tidings.source s where s.name = any (sources))
      window newest_first as (partition by k.source_id, k.verdict order by k.id desc rows unbounded preceding)
    ) x on x.id = l.id
    where x.n > 1000 or (x.n > 1 and x.bytes > 16 << 20)
    for update of l skip locked
  ) x
  where r.id = x.id;
end
$$;
comment on function _trim_rejected(text[]) is 'Internal: holds tidings.rejected within its bound.';


-- Named consumers: who follows the log, and how far each has come.
--
-- An ack made in the transaction that holds the application's own effects gives each
-- event its effect exactly once, for both are committed or neither is. So an ack that
-- could double or skip an effect is refused:
--
--   one at a time   poll and ack lock the consumer's row until their transaction ends.
--                   What was polled belongs to the session that polled it until it is
--                   acknowledged or that session ends; then the next to poll gets it
--   never back      what was acknowledged is not acknowledged again, however often it
--                   was polled
--   never beyond    only what the last poll returned can be acknowledged
--
-- A session is a process id and the start of that process: a process id is used again,
-- and a restored dump brings those of another cluster.

create table consumer (
  name text primary key check (char_length(name) between 1 and 63),
  position ulid,
  polled_to ulid,
  polled_by int,
  polled_session timestamptz,
  created_at timestamptz not null default now(),
  polled_at timestamptz,
  acked_at timestamptz,
  check ((polled_to is null) = (polled_by is null)),
  check (polled_to > position)
);
comment on table consumer is
  'Who follows the log by name, and how far each has come. Made by create_consumer, moved by ack and seek.';
comment on column consumer.name is '1 to 63 characters.';
comment on column consumer.position is 'The events up to here are acknowledged; null at the start of the log.';
comment on column consumer.polled_to is 'The events up to here were returned by the last poll, and are not all acknowledged; null where none are left.';
comment on column consumer.polled_by is 'The process id of the session that has them.';
comment on column consumer.polled_session is 'When that process started.';
comment on column consumer.created_at is 'When it was made.';
comment on column consumer.polled_at is 'When a poll last returned events.';
comment on column consumer.acked_at is 'When events were last acknowledged.';

select pg_catalog.pg_extension_config_dump('tidings.consumer', '');

create function create_consumer(name text, start_at ulid default null) returns void
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  if name is null or char_length(name) not between 1 and 63 then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = format('invalid consumer name %s', coalesce('"' || name || '"', 'null')),
      hint = 'A name has 1 to 63 characters.';
  end if;
  insert into tidings.consumer (name, position)
  values (create_consumer.name, create_consumer.start_at)
  on conflict do nothing;
  if not found then
    raise exception using
      errcode = 'duplicate_object',
      message = format('consumer "%s" already exists', name),
      hint = 'tidings.seek moves it; tidings.drop_consumer removes it.';
  end if;
end
$$;
comment on function create_consumer(text, ulid) is
  'Makes a consumer that gets the events after this position; all events, from the start of the log, where it is null. To begin with what is stored from now on: tidings.gen_ulid(). SQLSTATE 22023 for a name that has not 1 to 63 characters, 42710 where it is taken.';

create function _lock_consumer(name text) returns consumer
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  found_consumer tidings.consumer;
begin
  select * into found_consumer from tidings.consumer c where c.name = _lock_consumer.name for update;
  if not found then
    raise exception using
      errcode = 'undefined_object',
      message = format('consumer %s does not exist', coalesce('"' || name || '"', 'null')),
      hint = 'SELECT name FROM tidings.consumer lists the consumers; tidings.create_consumer makes one.';
  end if;
  return found_consumer;
end
$$;
comment on function _lock_consumer(text) is
  'Internal: the consumer of this name, locked until the transaction ends, or SQLSTATE 42704.';

create function _live_session(of_pid int, started_at timestamptz) returns text
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  if of_pid is null then
    return null;
  end if;
  perform pg_stat_clear_snapshot();  -- sessions are as they are now, not as when first looked at
  return (
    select coalesce(a.application_name, '')
    from pg_stat_get_activity(of_pid) a
    where coalesce(a.backend_start = started_at, true)
  );
end
$$;
comment on function _live_session(int, timestamptz) is
  'Internal: the application name of this session, or null where it has ended. Where its start cannot be seen, it is taken to live.';

create function _is_this_session(of_pid int, started_at timestamptz) returns boolean
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  return of_pid = pg_backend_pid() and tidings._live_session(of_pid, started_at) is not null;
end
$$;
comment on function _is_this_session(int, timestamptz) is 'Internal: whether this is the session that calls.';

create function poll(name text, max_events int default 1000) returns setof event
  language plpgsql volatile security definer rows 1000
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  c tidings.consumer;
  e tidings.event;
  application text;
  last_id tidings.ulid;
begin
  if max_events is null or max_events < 1 then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = 'max_events is less than 1 or null',
      hint = 'Pass how many events to return at most.';
  end if;
  perform tidings._require_log_access();

  c := tidings._lock_consumer(name);
  if c.polled_by is not null and not tidings._is_this_session(c.polled_by, c.polled_session) then
    application := tidings._live_session(c.polled_by, c.polled_session);
    if application is not null then
      raise exception using
        errcode = 'object_in_use',
        message = format('consumer "%s" is in use by another session', name),
        detail = format('Process %s (application "%s") polled events at %s and has not acknowledged them.',
          c.polled_by, application, c.polled_at),
        hint = format('They are free when it acknowledges them or ends. To take them from it, SELECT pg_terminate_backend(%s), or move the consumer with tidings.seek.', c.polled_by);
    end if;
  end if;

  for e in select * from tidings.events_after(c.position, least(max_events, 10000)) loop
    last_id := e.id;
    return next e;
  end loop;

  if last_id is not null or c.polled_to is not null then
    update tidings.consumer u
    set polled_to = last_id,
      polled_by = case when last_id is not null then pg_backend_pid() end,
      polled_session = (select a.backend_start from pg_stat_get_activity(pg_backend_pid()) a where last_id is not null),
      polled_at = case when last_id is not null then clock_timestamp() else u.polled_at end
    where u.name = poll.name;
  end if;
end
$$;
comment on function poll(text, int) is
  'The events that a consumer has not acknowledged, oldest first: at most max_events of them, and never more than 10000. They are the same at each poll until this session acknowledges them with ack; until then, or until it ends, another session gets SQLSTATE 55006, which names it. A poll while another transaction polls or acknowledges waits for it (lock_timeout bounds the wait). Through a connection pool that gives each transaction another session, poll and ack in one transaction. SQLSTATE 42704 where there is no such consumer, 22023 where max_events is less than 1, 25001 in REPEATABLE READ and SERIALIZABLE, 25006 on a standby.';

create function ack(name text, upto ulid) returns void
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  c tidings.consumer;
begin
  if upto is null then
    raise exception using
      errcode = 'null_value_not_allowed',
      message = 'the position to acknowledge is null',
      hint = 'Pass the id of the last event that was dealt with; where poll returned none, there is nothing to acknowledge.';
  end if;

  c := tidings._lock_consumer(name);
  if upto <= c.position then
    raise exception using
      errcode = 'object_not_in_prerequisite_state',
      message = format('consumer "%s" has acknowledged these events already', name),
      detail = format('It is at %s; %s is not after that.', c.position, upto),
      hint = 'Roll back what this transaction did for them: it was done before. tidings.seek moves a consumer back.';
  end if;
  if c.polled_by is not null and not tidings._is_this_session(c.polled_by, c.polled_session) then
    raise exception using
      errcode = 'object_in_use',
      message = format('another session polled consumer "%s" last', name),
      detail = format('It is process %s (%s).', c.polled_by,
        coalesce('application "' || tidings._live_session(c.polled_by, c.polled_session) || '"', 'which has ended')),
      hint = 'Roll back what this transaction did for these events, and poll again. Poll and ack in one session; through a connection pool, in one transaction.';
  end if;
  if c.polled_to is null or upto > c.polled_to then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = format('consumer "%s" has not polled these events', name),
      detail = case
        when c.polled_to is null then format('Nothing that it polled is left to acknowledge, up to %s.', upto)
        else format('Its last poll went up to %s; %s is after that.', c.polled_to, upto)
      end,
      hint = 'Pass the id of an event that the last poll returned. A poll whose transaction was rolled back, or that came before a seek, does not count: poll again.';
  end if;

  update tidings.consumer u
  set position = upto,
    acked_at = clock_timestamp(),
    polled_to = nullif(c.polled_to, upto),
    polled_by = case when upto < c.polled_to then c.polled_by end,
    polled_session = case when upto < c.polled_to then c.polled_session end
  where u.name = ack.name;
end
$$;
comment on function ack(text, ulid) is
  'Acknowledges what a consumer polled, up to and with the event of this id: it is not returned again. In the transaction that holds the effects of these events, it makes each of them exactly once. SQLSTATE 42704 where there is no such consumer, 55000 where that is acknowledged already, 55006 where another session polled last, 22023 where the last poll did not return it, 22004 for null. On each of these the effects are to be rolled back too.';

create function _move_consumer(name text, new_position ulid) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  perform tidings._lock_consumer(name);
  update tidings.consumer u
  set position = new_position, polled_to = null, polled_by = null, polled_session = null
  where u.name = _move_consumer.name;
end
$$;
comment on function _move_consumer(text, ulid) is
  'Internal: puts a consumer at this position, and takes from a session what it polled.';

create function seek(name text, to_id ulid) returns void
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  if to_id is null then
    raise exception using
      errcode = 'null_value_not_allowed',
      message = 'the position is null',
      hint = 'The start of the log is ''00000000000000000000000000''.';
  end if;
  perform tidings._move_consumer(name, to_id);
end
$$;
comment on function seek(text, ulid) is
  'Moves a consumer, back or forth: it goes on after this position. What a session has polled and not acknowledged is taken from it, its ack will be refused. A literal needs its name or type: seek(''app'', to_id => ''01..''). SQLSTATE 42704 where there is no such consumer, 22004 for null.';

create function seek(name text, at timestamptz) returns void
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  if at is null then
    raise exception using
      errcode = 'null_value_not_allowed',
      message = 'the time is null',
      hint = 'The start of the log is ''1970-01-01 00:00:00+00''.';
  end if;
  -- A position is what was acknowledged: here the greatest id before that millisecond.
  perform tidings._move_consumer(name, case
    when tidings.ulid_at(at) > '00000000000000000000000000'
    then (substr(tidings.ulid_at(at - interval '1 millisecond')::bytea, 1, 6) || '\xffffffffffffffffffff')::tidings.ulid
  end);
end
$$;
comment on function seek(text, timestamptz) is
  'Moves a consumer, back or forth: it goes on with the first event that was stored at or after the millisecond of this time. What a session has polled and not acknowledged is taken from it, its ack will be refused. A literal needs its name or type: seek(''app'', at => ''2026-01-01''). SQLSTATE 42704 where there is no such consumer, 22004 for null, 22008 before 1970.';

create function drop_consumer(name text) returns void
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  perform tidings._lock_consumer(name);
  delete from tidings.consumer c where c.name = drop_consumer.name;
end
$$;
comment on function drop_consumer(text) is
  'Removes a consumer. SQLSTATE 42704 where there is no such consumer.';

revoke all on function
  create_consumer(text, ulid), poll(text, int), ack(text, ulid), seek(text, ulid), seek(text, timestamptz), drop_consumer(text),
  _lock_consumer(text), _live_session(int, timestamptz), _is_this_session(int, timestamptz), _move_consumer(text, ulid)
from public;

-- How far everybody is behind, and who holds readers back. Cheap by construction: it
-- reads at most 10,000 events for all sources, and 10,000 for each consumer, by the
-- index on id. Its functions act with the owner's rights, so that whoever may see the
-- view needs to see neither the events nor what other roles' sessions do.

create function _log_holder(
  out horizon timestamptz,
  out behind interval,
  out pid int,
  out application_name text,
  out age interval
)
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  clock_ms bigint;
  horizon_ms bigint;
begin
  if pg_is_in_recovery() then
    return;  -- the locks are on the primary
  end if;
  perform pg_stat_clear_snapshot();
  clock_ms := tidings._clock_ms();  -- before the locks are read, as in _log_horizon
  select l.ms, l.pid, coalesce(a.application_name, 'prepared transaction ' || p.gid), clock_timestamp() - coalesce(a.xact_start, p.prepared)
  into horizon_ms, pid, application_name, age
  from (
    select (k.classid::bigint & 65535) << 32 | k.objid::bigint as ms, k.pid, k.virtualtransaction
    from pg_locks k
    where k.locktype = 'advisory' and k.granted
      and k.objsubid = 1 and k.classid::bigint >> 16 = 29801
      and k.database = (select d.oid from pg_database d where d.datname = current_database())
  ) l
  left join pg_stat_get_activity(null) a on a.pid = l.pid
  left join lateral (  -- a prepared transaction has no process; the lock on its own id tells which it is
    select x.gid, x.prepared
    from pg_prepared_xacts x join pg_locks t on t.transactionid = x.transaction
    where l.pid is null and t.pid is null and t.virtualtransaction = l.virtualtransaction
  ) p on true
  order by l.ms, a.xact_start
  limit 1;
  horizon_ms := least(horizon_ms, clock_ms);
  horizon := to_timestamp(0) + horizon_ms * interval '1 millisecond';
  behind := (clock_ms - horizon_ms) * interval '1 millisecond';
end
$$;
comment on function _log_holder() is
  'Internal: the log''s horizon, how far it is behind the clock, and the transaction that holds it there: nulls where none does, and on a standby.';

create function _log_tail() returns table (source_id int, received_at timestamptz)
  language plpgsql stable security definer rows 10
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  return query
    select distinct on (t.source_id) t.source_id, t.received_at
    from (select e.id, e.source_id, e.received_at from tidings.event e order by e.id desc limit 10000) t
    order by t.source_id, t.id desc;
end
$$;
comment on function _log_tail() is
  'Internal: of each source that has one among the newest 10000 events, when the last was received.';

create function _unacknowledged(after ulid, out events int, out oldest_at timestamptz)
  language plpgsql stable security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  start_at tidings.ulid := coalesce(after, '00000000000000000000000000');
begin
  select count(*) into events
  from (select from tidings.event e where e.id > start_at order by e.id limit 10000) x;
  select e.received_at into oldest_at
  from tidings.event e where e.id > start_at order by e.id limit 1;
end
$$;
comment on function _unacknowledged(ulid) is
  'Internal: how many events lie after this position, counted up to 10000, and when the first of them was received.';

create view lag as
  select
    f.what, f.name, f.last_received_at, f.cursor, f.cursor_age, f.position, f.behind, f.oldest_age,
    h.horizon, h.behind as horizon_age, h.pid as holder_pid, h.application_name as holder_application, h.age as holder_age
  from (
    select
      'source' as what, s.name, t.received_at as last_received_at, m.cursor, clock_timestamp() - m.updated_at as cursor_age,
      null::ulid as position, null::int as behind, null::interval as oldest_age
    from source s
    left join stream m on m.source_id = s.id
    left join _log_tail() t on t.source_id = s.id
    union all
    select 'consumer', c.name, null, null, null, c.position, u.events, clock_timestamp() - u.oldest_at
    from consumer c
    cross join lateral _unacknowledged(c.position) u
  ) f
  cross join _log_holder() h;
comment on view lag is
  'How far each source and each consumer is behind, and which transaction holds readers back. Cheap: looks at no more than 10000 events for all sources and 10000 for each consumer.';
comment on column lag.what is 'source or consumer.';
comment on column lag.name is 'Its name.';
comment on column lag.last_received_at is 'Of a source: when its last event was received; null where none of the newest 10000 events of the log is its own.';
comment on column lag.cursor is 'Of a source that is a resumable stream: where it goes on, see stream_cursor.';
comment on column lag.cursor_age is 'Of a source that is a resumable stream: how long ago its cursor moved.';
comment on column lag.position is 'Of a consumer: the events up to here are acknowledged; null at the start of the log.';
comment on column lag.behind is 'Of a consumer: how many events it has not acknowledged, with those that the horizon withholds; 10000 stands for that many or more.';
comment on column lag.oldest_age is 'Of a consumer: how long ago the first of these was received; null where there are none.';
comment on column lag.horizon is 'Of the log: readers get the events stored before this time. The same in every row; null on a standby.';
comment on column lag.horizon_age is 'How far that is behind the clock.';
comment on column lag.holder_pid is 'The process whose ingest transaction holds the horizon there; null where none does, or a prepared transaction.';
comment on column lag.holder_application is 'Its application_name, or the name of the prepared transaction.';
comment on column lag.holder_age is 'How long ago its transaction began.';

revoke all on function _log_holder(), _log_tail(), _unacknowledged(ulid) from public;

-- Upkeep: partitions ahead of the events, retention, and an end for what was rejected.
--
-- A new partition takes over rows that the default partition holds. While that happens,
-- nobody may see an event twice, or not at all, or store it a second time:
--
--   without locks   the partition is built beside the table: rows copied, indexes made
--   locked          what came or went since is caught up, the rows leave the default
--                   partition, the new one is attached; all in one transaction
--
-- The lock is the strongest, and on the parent first. On the default partition alone it
-- would not do: a query that was being planned would wait there, know nothing of the new
-- partition, and then read with a snapshot in which the rows have moved. Everybody else
-- comes through the parent too, so that nobody holds what this waits for while waiting
-- for what this holds.

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

create type maintained as (
  action text,
  object text,
  rows bigint,
  detail text
);
comment on type maintained is 'What tidings.maintain did.';
comment on column maintained.action is 'created, dropped: a partition; deleted, trimmed: rows; kept, left: what could have gone, or moved, and did not; busy: nothing was done.';
comment on column maintained.object is 'The table.';
comment on column maintained.rows is 'How many rows moved into it, went with it, went from it, or stay.';
comment on column maintained.detail is 'Which, and why.';

create type _partition as (
  name text,
  starts_at timestamptz,
  ends_at timestamptz,
  is_past boolean,
  rows bigint,
  fingerprint bigint
);
comment on type _partition is
  'Internal: a partition to be made, with the number of its rows, and a sum by which a copy of them is known to be exact.';

create function _partitions(out relation regclass, out starts_at timestamptz, out ends_at timestamptz)
  returns setof record
  language plpgsql stable
  set search_path = pg_catalog, tidings, pg_temp
  set timezone = 'UTC'
  set datestyle = 'ISO, YMD'  -- bounds are read as text
as $$
begin
  return query
    select
      c.oid::regclass,
      coalesce(substring(b.bound from 'FROM \(''([^'']*)''\)')::timestamptz, '-infinity'),  -- MINVALUE
      coalesce(substring(b.bound from 'TO \(''([^'']*)''\)')::timestamptz, 'infinity')
    from pg_inherits i
    join pg_class c on c.oid = i.inhrelid
    cross join lateral (select pg_get_expr(c.relpartbound, c.oid) as bound) b
    where i.inhparent = 'tidings.event'::regclass and b.bound <> 'DEFAULT';
end
$$;
comment on function _partitions() is 'Internal: the partitions of tidings.event but for the default one, with their times.';

create function _object(relation regclass) returns text
  language plpgsql stable
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  return (
    select format('%I.%I', n.nspname, c.relname)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.oid = relation
  );
end
$$;
comment on function _object(regclass) is 'Internal: the name of a table with its schema.';

create function _missing_partitions(at timestamptz, settings retention) returns setof _partition
  language plpgsql stable
  set search_path = pg_catalog, tidings, pg_temp
  set timezone = 'UTC'
as $$
declare
  enough constant int := 10000;
  width constant interval := ('1 ' || settings.partition_width)::interval;
  this timestamptz := date_trunc(settings.partition_width, at, 'UTC');
begin
  return query
    with held as materialized (
      select date_trunc(settings.partition_width, e.occurred_at, 'UTC') as starts_at, count(*) as n
      from tidings.event_default e
      where isfinite(e.occurred_at)
      group by 1
    ),
    wanted as (
      select a.starts_at, coalesce(h.n, 0) as n
      from generate_series(this, this + settings.partitions_ahead * width, width) a (starts_at)
      left join held h using (starts_at)
      union all
      select h.starts_at, h.n
      from held h
      where h.starts_at < this
        and (h.n >= enough or h.starts_at >= this - settings.partitions_ahead * width)
        and (settings.keep_events is null or h.starts_at + width > at - settings.keep_events)
    ),
    -- Where the width was changed, partitions that exist cover a part of a range.
    gap as (
      select lower(g.range) as starts_at, upper(g.range) as ends_at, w.n,
        w.starts_at < this as is_past,
        g.range = tstzrange(w.starts_at, w.starts_at + width) as is_whole
      from wanted w
      cross join lateral unnest(
        tstzmultirange(tstzrange(w.starts_at, w.starts_at + width)) - coalesce(
          (select range_agg(tstzrange(p.starts_at, p.ends_at)) from tidings._partitions() p), '{}')
      ) g (range)
    )
    select
      to_char(g.starts_at, case
        when not g.is_whole then case when g.starts_at = date_trunc('day', g.starts_at) then '"event_from_"YYYYMMDD' else '"event_from_"YYYYMMDD"t"HH24MISS' end
        when settings.partition_width = 'week' then '"event_"IYYY"w"IW'
        else '"event_"YYYY"_"MM'
      end),
      g.starts_at, g.ends_at, g.is_past, g.n, null::bigint
    from gap g
    order by g.is_past, case when not g.is_past then g.starts_at end, g.starts_at desc;
end
$$;
comment on function _missing_partitions(timestamptz, retention) is
  'Internal: the partitions to make: the current one and those ahead, then those of times past, the latest first, that the default partition holds enough events of: any in the last "partitions_ahead" ranges, 10000 in one before them.';

create function _build_partition(p _partition) returns _partition
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
  set timezone = 'UTC'
  set datestyle = 'ISO, YMD'
as $$
begin
  execute format('create table tidings.%I (like tidings.event_default including all excluding comments)', p.name);
  execute format('comment on table tidings.%I is %L', p.name, format('The events from %s to %s.', p.starts_at, p.ends_at));
  -- With this in place it is attached without being read.
  execute format('alter table tidings.%I add constraint event_range check (occurred_at >= %L and occurred_at < %L)',
    p.name, p.starts_at, p.ends_at);
  if p.rows > 0 then
    execute format('insert into tidings.%I select d.* from tidings.event_default d where d.occurred_at >= $1 and d.occurred_at < $2', p.name)
      using p.starts_at, p.ends_at;
    execute format('analyze tidings.%I', p.name);
  end if;
  execute format('select count(*), bit_xor(tidings.ulid_hash_extended(n.event_id, n.source_id)) from tidings.%I n', p.name)
    into p.rows, p.fingerprint;
  return p;
end
$$;
comment on function _build_partition(_partition) is
  'Internal: makes a partition beside the table, as event_default is made, with a copy of the rows that are to move into it.';

create function _lock_event(partitions regclass[]) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  own_timeout constant text := current_setting('lock_timeout');
  partition regclass;
  holders text;
begin
  -- Whoever comes after this waits behind it: each attempt is short, and lets them pass.
  -- It outlasts deadlock_timeout, after which an autovacuum gives way.
  for attempt in 1..5 loop
    begin
      perform set_config('lock_timeout', case when own_timeout::interval > '0' then own_timeout else '2s' end, true);
      lock table only tidings.event in access exclusive mode;
      lock table only tidings.event_default in access exclusive mode;
      foreach partition in array partitions loop
        execute format('lock table only %s in access exclusive mode', partition);
      end loop;
      perform set_config('lock_timeout', own_timeout, true);
      return;
    exception when lock_not_available or deadlock_detected then
      perform pg_stat_clear_snapshot();
      holders := (
        select string_agg(format('process %s (%s), since %s', a.pid, coalesce(nullif(a.application_name, ''), a.backend_type), a.xact_start), '; ' order by a.xact_start)
        from pg_stat_activity a
        where a.pid <> pg_backend_pid() and exists (
          select from pg_locks l
          where l.pid = a.pid and l.granted and l.relation = any ('{tidings.event, tidings.event_default}'::regclass[] || partitions)
            and l.database = (select d.oid from pg_database d where d.datname = current_database()))
      );
      perform pg_sleep(0.1 + random() * 0.2);
    end;
  end loop;
  raise exception using
    errcode = 'lock_not_available',
    message = 'the partitions of tidings.event are in use',
    detail = format('They were used last by: %s. Nothing was changed.', coalesce(holders, 'sessions that have ended since')),
    hint = 'Call tidings.maintain() again when these transactions have ended. lock_timeout, where it is set, is the time of each of its 5 attempts; else that is 2 s.';
end
$$;
comment on function _lock_event(regclass[]) is
  'Internal: keeps everybody out of tidings.event, its default partition and these until the transaction ends, or SQLSTATE 55P03.';

create function _move_rows(partitions _partition[]) returns _partition[]
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  held tidings._partition[];
begin
  held := (
    select array_agg((p.name, p.starts_at, p.ends_at, p.is_past, coalesce(h.n, 0), h.fingerprint)::tidings._partition order by p.ordinal)
    from unnest(partitions) with ordinality p (name, starts_at, ends_at, is_past, rows, fingerprint, ordinal)
    left join (
      select x.name, count(*) as n, bit_xor(tidings.ulid_hash_extended(d.event_id, d.source_id)) as fingerprint
      from tidings.event_default d
      join unnest(partitions) x on d.occurred_at >= x.starts_at and d.occurred_at < x.ends_at
      group by x.name
    ) h using (name)
  );
  for i in 1..cardinality(partitions) loop
    if held[i] is distinct from partitions[i] then
      -- What came since it was copied, and what was erased.
      execute format($sql$
        insert into tidings.%1$I
        select d.* from tidings.event_default d
        where d.occurred_at >= $1 and d.occurred_at < $2
          and not exists (
            select from tidings.%1$I n
            where n.event_id = d.event_id and n.occurred_at = d.occurred_at and n.source_id = d.source_id)
        $sql$, held[i].name) using held[i].starts_at, held[i].ends_at;
      execute format($sql$
        delete from tidings.%1$I n
        where not exists (
          select from tidings.event_default d
          where d.event_id = n.event_id and d.occurred_at = n.occurred_at and d.source_id = n.source_id)
        $sql$, held[i].name);
    end if;
  end loop;
  if exists (select from unnest(held) h where h.rows > 0) then
    delete from tidings.event_default d
    where d.occurred_at <@ (select range_agg(tstzrange(h.starts_at, h.ends_at)) from unnest(held) h where h.rows > 0);
  end if;
  return held;
end
$$;
comment on function _move_rows(_partition[]) is
  'Internal: makes the copies in these partitions exact, takes the rows from the default partition, and tells how many there were.';

create function _attach_partitions(partitions _partition[]) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
  set timezone = 'UTC'
  set datestyle = 'ISO, YMD'
as $$
declare
  p tidings._partition;
begin
  -- The default partition is read once, for all of them, rather than by each ATTACH.
  execute (
    select 'alter table tidings.event_default ' || string_agg(
      format('add constraint %I check (occurred_at < %L or occurred_at >= %L)', 'not_' || n.name, n.starts_at, n.ends_at), ', ')
    from unnest(partitions) n
  );
  foreach p in array partitions loop
    execute format('alter table tidings.event attach partition tidings.%I for values from (%L) to (%L)', p.name, p.starts_at, p.ends_at);
    execute format('alter table tidings.%I drop constraint event_range', p.name);
  end loop;
  execute (
    select 'alter table tidings.event_default ' || string_agg(format('drop constraint %I', 'not_' || n.name), ', ')
    from unnest(partitions) n
  );
end
$$;
comment on function _attach_partitions(_partition[]) is 'Internal: attaches partitions whose rows are in them.';

create function _unread(relation regclass) returns text
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  names text;
begin
  execute format($sql$
    select string_agg('"' || c.name || '"', ', ' order by c.name)
    from tidings.consumer c
    where exists (select from %s e where e.id > coalesce(c.position, '00000000000000000000000000'))
    $sql$, relation) into names;
  return names;
end
$$;
comment on function _unread(regclass) is 'Internal: the consumers that have not acknowledged all events of this partition, or null.';

create function _delete_expired(before timestamptz) returns bigint
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  deleted bigint;
  newest tidings.ulid;
begin
  -- Waits for nobody, so that nobody waits for this in a circle.
  with expired as (
    select d.ctid
    from tidings.event_default d
    where d.occurred_at < before
      and not exists (
        select from tidings.consumer c where d.id > coalesce(c.position, '00000000000000000000000000'))
    limit 100000
    for update of d skip locked
  ),
  gone as (
    delete from tidings.event_default d using expired x where d.ctid = x.ctid
    returning d.id
  )
  select count(*), max(g.id) into deleted, newest from gone g;
  perform tidings._log_keep(newest);
  return deleted;
end
$$;
comment on function _delete_expired(timestamptz) is
  'Internal: deletes from the default partition events that occurred before this time and that every consumer has acknowledged, at most 100000.';

create function _trim_rejected_before(before timestamptz) returns bigint
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  trimmed bigint;
begin
  with expired as (
    select r.id from tidings.rejected r where r.received_at < before for update skip locked
  )
  delete from tidings.rejected r using expired x where r.id = x.id;
  get diagnostics trimmed = row_count;
  return trimmed;
end
$$;
comment on function _trim_rejected_before(timestamptz) is 'Internal: deletes what was rejected of requests that arrived before this time.';

-- The order matters: nothing that ingest might wait for is touched before the lock is
-- taken, and while it is held nothing is done that could be done before.
create function _maintain(at timestamptz) returns setof maintained
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
  set timezone = 'UTC'
  set datestyle = 'ISO, YMD'
as $$
declare
  most_moved constant bigint := 1000000;
  settings tidings.retention;
  expires_at timestamptz;
  p tidings._partition;
  partition record;
  planned tidings._partition[] := '{}';
  expired regclass[] := '{}';
  expired_rows bigint[] := '{}';
  moved bigint := 0;
  rows_left bigint := 0;
  unread text;
  n bigint;
begin
  perform tidings._require_log_access();
  begin
    select r.* into strict settings from tidings.retention r for no key update nowait;
  exception
    when no_data_found then
      raise exception using
        errcode = 'object_not_in_prerequisite_state',
        message = 'tidings.retention has no row',
        hint = 'INSERT INTO tidings.retention DEFAULT VALUES brings it back.';
    when lock_not_available then
      return next ('busy', 'tidings.retention', null, 'another session runs tidings.maintain, or changes the settings')::tidings.maintained;
      return;
  end;
  expires_at := at - settings.keep_events;

  -- Without locks.
  for p in select m.* from tidings._missing_partitions(at, settings) m loop
    if p.is_past and moved >= most_moved then
      rows_left := rows_left + p.rows;
      continue;
    end if;
    p := tidings._build_partition(p);
    moved := moved + p.rows;
    planned := planned || p;
  end loop;
  for partition in
    select x.relation, tidings._object(x.relation) as object
    from tidings._partitions() x where x.ends_at <= expires_at order by x.starts_at
  loop
    execute format('select count(*) from %s', partition.relation) into n;
    unread := tidings._unread(partition.relation);
    if unread is null then
      expired := expired || partition.relation;
      expired_rows := expired_rows || n;
    else
      return next ('kept', partition.object, n, format('not acknowledged by %s', unread))::tidings.maintained;
    end if;
  end loop;

  if cardinality(planned) + cardinality(expired) > 0 then
    perform tidings._lock_event(expired);
  end if;
  if cardinality(expired) > 0 then
    perform tidings._log_keep(tidings._log_newest());
  end if;
  if cardinality(planned) > 0 then
    planned := tidings._move_rows(planned);
    perform tidings._attach_partitions(planned);
    foreach p in array planned loop
      return next ('created', 'tidings.' || p.name, p.rows, format('from %s to %s', p.starts_at, p.ends_at))::tidings.maintained;
    end loop;
  end if;
  for i in 1..cardinality(expired) loop
    unread := tidings._unread(expired[i]);
    if unread is null then
      return next ('dropped', tidings._object(expired[i]), expired_rows[i], format('expired before %s', expires_at))::tidings.maintained;
      execute format('drop table %s', expired[i]);
    else
      return next ('kept', tidings._object(expired[i]), expired_rows[i], format('not acknowledged by %s', unread))::tidings.maintained;
    end if;
  end loop;

  n := tidings._delete_expired(expires_at);
  if n > 0 then
    return next ('deleted', 'tidings.event_default', n, format('expired before %s', expires_at))::tidings.maintained;
  end if;
  n := tidings._trim_rejected_before(at - settings.keep_rejected);
  if n > 0 then
    return next ('trimmed', 'tidings.rejected', n, format('received before %s', at - settings.keep_rejected))::tidings.maintained;
  end if;
  if rows_left > 0 then
    return next ('left', 'tidings.event_default', rows_left, 'moved to partitions by the next calls')::tidings.maintained;
  end if;
end
$$;
comment on function _maintain(timestamptz) is 'Internal: tidings.maintain at this time.';

create function maintain() returns setof maintained
  language plpgsql volatile security definer
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  return query select m.* from tidings._maintain(now()) m;
end
$$;
comment on function maintain() is
  'Does the upkeep by the settings in tidings.retention, and says what it did, a row each: makes the partition of the current time and those ahead; moves events there that the default partition holds, and past ones to partitions of their own where there are enough of them (any in the last "partitions_ahead" ranges, 10000 in an older one; after a million rows the rest is left to the next call); drops the partitions that are wholly expired, deletes what has expired in the default one; trims tidings.rejected. Nothing that a consumer has not acknowledged is removed; see the rows "kept". All of it or, on an error, none. To be called now and then by the worker, or by any scheduler; where another call is running it returns a row "busy". Where there is something to make or to drop, ingest and readers wait for the time of the move, one to two seconds for each million rows. SQLSTATE 55P03 where others hold tidings.event too long, 25001 in REPEATABLE READ and SERIALIZABLE, 25006 on a standby, 55000 where tidings.retention has no row.';

revoke all on function
  _replace_retention(), _partitions(), _object(regclass), _missing_partitions(timestamptz, retention), _build_partition(_partition),
  _lock_event(regclass[]), _move_rows(_partition[]), _attach_partitions(_partition[]), _unread(regclass),
  _delete_expired(timestamptz), _trim_rejected_before(timestamptz), _maintain(timestamptz), maintain()
from public;

-- What was rejected: taken again after a fix, and forgotten on request.

create function _first_receipt(headers jsonb, received_at timestamptz, id ulid) returns jsonb
  language plpgsql immutable
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  if jsonb_typeof(headers) = 'object' then
    if tidings._receipt(headers ->> 'receipt-id') is not null then
      return headers;
    end if;
  else
    headers := '{}';
  end if;
  return headers || jsonb_build_object('receipt-id',
    (substr(tidings.ulid_at(received_at)::bytea, 1, 6) || substr(id::bytea, 7))::tidings.ulid);
end
$$;
comment on function _first_receipt(jsonb, timestamptz, ulid) is
  'Internal: the headers of a row of tidings.rejected with a receipt-id: its own, or else one of the millisecond in which it arrived, the same each time.';

-- Rows of one head are one request: equal items of one request, which only together are
-- as many events as they were.
create function _replay_batch(ids ulid[], heads ulid[], first_ordinal int) returns setof receipt
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  q record;
  answer tidings.receipt;
  requests jsonb;  -- of each: head, source, provider, timezone, verdict
  sources text[];
  bodies bytea[];
  headers jsonb[];
  verified boolean[];
  next_ordinal int := first_ordinal;
begin
  -- A row that another transaction deletes or replays is left to it.
  with kept as materialized (
    select r.id, r.source_id, r.received_at, r.verdict, r.headers, r.body, b.head
    from unnest(ids, heads) b (id, head)
    join tidings.rejected r on r.id = b.id
    order by r.id
    for update of r skip locked
  ),
  request as (
    select k.head, min(k.verdict) as verdict, min(k.source_id) as source_id, min(k.received_at) as received_at,
      (array_agg(k.headers))[1] as headers,
      case when min(k.verdict) = 'item' then '['::bytea || string_agg(k.body, ','::bytea) || ']'::bytea
        else (array_agg(k.body))[1] end as body
    from kept k
    group by k.head
    having count(*) = (select count(*) from unnest(heads) h (head) where h.head = k.head)
  )
  select
    jsonb_agg(jsonb_build_object('head', r.head, 'source', s.name, 'provider', s.provider,
      'timezone', coalesce(s.options ->> 'timezone', 'UTC'), 'verdict', r.verdict) order by r.head),
    array_agg(s.name order by r.head), array_agg(r.body order by r.head),
    array_agg(tidings._first_receipt(r.headers, r.received_at, r.head) order by r.head),
    array_agg(r.verdict <> 'unauthorized' order by r.head)
  into requests, sources, bodies, headers, verified
  from request r
  left join tidings.source s on s.id = r.source_id;
  if requests is null then
    return;
  end if;

  for answer in select r.* from tidings._ingest(sources, bodies, headers, verified) r order by r.ordinal loop
    select x.* into q
    from jsonb_to_record(requests -> (answer.ordinal - 1)) x (head tidings.ulid, source text, provider text, timezone text, verdict text);
    case
      when answer.verdict = 'accepted' and answer.rejected = 0 then
        delete from tidings.rejected r where r.id in (select b.id from unnest(ids, heads) b (id, head) where b.head = q.head);
      when answer.verdict = 'accepted' and q.verdict <> 'item' then
        -- As at any request: what is left of it are the items that are no events.
        insert into tidings.rejected (id, received_at, source_id, verdict, reason, ordinal, headers, body, body_bytes)
        select tidings.gen_ulid(), r.received_at, r.source_id, 'item', n.error, n.ordinal, null,
          substr(n.item, 1, 1 << 20), octet_length(n.item)
        from tidings.rejected r
        cross join lateral tidings._normalize(q.provider, q.source, q.timezone, r.body) n
        where r.id = q.head and n.error is not null;
        delete from tidings.rejected r where r.id = q.head;
        perform tidings._trim_rejected(array[q.source]);
      when answer.verdict = 'accepted' then
        update tidings.rejected r
        set reason = (
          select n.error
          from tidings._normalize(q.provider, q.source, q.timezone, bodies[answer.ordinal]) n
          where n.error is not null order by n.ordinal limit 1)
        where r.id in (select b.id from unnest(ids, heads) b (id, head) where b.head = q.head);
      when answer.verdict = 'malformed' and q.verdict <> 'item' then
        -- It passed its policy, so its secrets are the right ones.
        update tidings.rejected r
        set verdict = 'malformed', reason = answer.detail, headers = tidings._without_secrets(r.headers)
        where r.id = q.head;
      else
        null;  -- it stays as it is
    end case;
    answer.ordinal := next_ordinal;
    next_ordinal := next_ordinal + 1;
    return next answer;
  end loop;
end
$$;
comment on function _replay_batch(ulid[], ulid[], int) is
  'Internal: takes these rows of tidings.rejected again. Rows with the same head are items of one request, and equal.';

create function replay_rejected(source text default null) returns setof receipt
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  of_source constant int := case when source is not null then (tidings._source(source)).id end;
  q record;
  ids tidings.ulid[] := '{}';
  heads tidings.ulid[] := '{}';
  bytes bigint := 0;
  answers int := 0;
  answer tidings.receipt;
begin
  perform tidings._require_log_access();
  -- Before any row of tidings.rejected, as ingest does it: nobody waits in a circle.
  lock table only tidings.event in row exclusive mode;
  -- The plan, without the bodies; what comes while it is carried out is not in it.
  for q in
    select min(r.id) as head, array_agg(r.id order by r.id) as ids, sum(r.bytes) as bytes,
      min(r.verdict) as verdict, bool_or(r.is_cut) as is_cut,
      format('only the first %s of its %s bytes were kept', min(r.bytes), min(r.body_bytes)) as cut
    from (
      select r.id, r.verdict, r.source_id, r.received_at, r.body_bytes,
        coalesce(octet_length(r.body), 0) as bytes,
        coalesce(r.body_bytes > octet_length(r.body), false) as is_cut,
        case r.verdict when 'item' then md5(r.body) else r.id::text end as same,
        case r.verdict when 'item' then
          row_number() over (partition by r.source_id, r.verdict, r.received_at, md5(r.body), r.ordinal order by r.id)
        end as request
      from tidings.rejected r
      where of_source is null or r.source_id = of_source
    ) r
    group by r.source_id, r.verdict, r.received_at, r.same, r.request
    order by 1
  loop
    if q.is_cut or cardinality(ids) >= 200 or bytes + q.bytes > 8 << 20 then
      for answer in select * from tidings._replay_batch(ids, heads, answers + 1) loop
        answers := answers + 1;
        return next answer;
      end loop;
      ids := '{}';
      heads := '{}';
      bytes := 0;
    end if;
    if q.is_cut then
      answers := answers + 1;
      return next (case q.verdict when 'unauthorized' then 'unauthorized' else 'malformed' end, 0, 0, 0, q.cut, answers)::tidings.receipt;
      continue;
    end if;
    ids := ids || q.ids;
    heads := heads || array_fill(q.head, array[cardinality(q.ids)]);
    bytes := bytes + q.bytes;
  end loop;
  return query select * from tidings._replay_batch(ids, heads, answers + 1);
end
$$;
comment on function replay_rejected(text) is
  'Takes what was rejected, of one source or of all, again: after a secret was corrected, or the extension was updated. Events get the time at which they arrived first. A request that was not authorized is verified with the secrets of now; another one has passed. What is accepted leaves tidings.rejected; of a request with items that are no events, these stay; everything else stays as it was, with the reason of now, and so does what has been cut because of its length. Says what became of each request, or item, in the order of rejection. All in one transaction, in batches of 200 rows or 8 MB. A stopped source''s rows stay. SQLSTATE 42704 where there is no such source, 25001 in REPEATABLE READ and SERIALIZABLE, 25006 on a standby.';

create type erased as (
  object text,
  rows bigint
);
comment on type erased is 'What tidings.erase_recipient removed.';
comment on column erased.object is 'The table.';
comment on column erased.rows is 'How many of its rows.';

create function _json_pattern(value text) returns text
  language plpgsql immutable
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  pattern text := '';
  c text;
  code int;
  unit int;
  hex text;
  digit text;
  escaped text;
  short text;
begin
  foreach c in array string_to_array(value, null) loop
    code := ascii(c);
    escaped := '';
    foreach unit in array case
      when code < 65536 then array[code]
      else array[55296 + ((code - 65536) >> 10), 56320 + ((code - 65536) & 1023)]
    end loop
      hex := lpad(to_hex(unit), 4, '0');
      foreach digit in array '{a,b,c,d,e,f}'::text[] loop
        hex := replace(hex, digit, '[' || digit || upper(digit) || ']');
      end loop;
      escaped := escaped || '\\\\u' || hex;
    end loop;
    short := case c
      when '"' then '"' when '/' then '/' when '\' then '\\\\'
      when chr(8) then 'b' when chr(9) then 't' when chr(10) then 'n' when chr(12) then 'f' when chr(13) then 'r'
    end;
    pattern := pattern || format('(?:%s|%s%s)',
      regexp_replace(encode(convert_to(c, 'UTF8'), 'escape'), '([^a-zA-Z0-9])', '\\\1', 'g'),
      escaped, '|\\\\' || short);
  end loop;
  return pattern;
end
$$;
comment on function _json_pattern(text) is
  'Internal: a regular expression for this text in encode(.., ''escape'') of a body: each character as it is, or as JSON may escape it.';

create function erase_recipient(recipient text) returns setof erased
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  erased_events bigint;
  request_ids text[];
  source_ids int[];
  n bigint;
begin
  if coalesce(recipient, '') = '' then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = 'the recipient is empty',
      hint = 'Pass it as it stands in tidings.event.recipient.';
  end if;
  -- Ingest waits until this is done: state and events go together.
  lock table only tidings.event in share row exclusive mode;
  perform tidings._log_keep(tidings._log_newest());

  with gone as (
    delete from tidings.event e where e.recipient = erase_recipient.recipient
    returning e.request_id, e.source_id
  )
  select coalesce(sum(g.n), 0), array_agg(g.request_id), array_agg(g.source_id)
  into erased_events, request_ids, source_ids
  from (select x.request_id, x.source_id, count(*) as n from gone x group by 1, 2) g;
  return next ('tidings.event', erased_events)::tidings.erased;

  delete from tidings.message m where m.recipient = erase_recipient.recipient;
  get diagnostics n = row_count;
  return next ('tidings.message', n)::tidings.erased;
  delete from tidings.consent c where c.recipient = erase_recipient.recipient;
  get diagnostics n = row_count;
  return next ('tidings.consent', n)::tidings.erased;
  delete from tidings.subscriber b where b.recipient = erase_recipient.recipient;
  get diagnostics n = row_count;
  return next ('tidings.subscriber', n)::tidings.erased;

  -- What a send request came to is told by the events that are left.
  update tidings.request_summary r set
    first_event_at = x.first_event_at, last_event_at = x.last_event_at,
    completed_at = (x.completed).at, completed_event_id = (x.completed).event_id, summary = (x.completed).value::jsonb
  from (
    select e.request_id, e.source_id, min(e.occurred_at) as first_event_at, max(e.occurred_at) as last_event_at,
      (array_agg(row(e.occurred_at, e.event_id, e.payload ->> 'summary')::tidings._latest
        order by row(e.occurred_at, e.event_id, e.payload ->> 'summary')::tidings._latest desc)
        filter (where e.kind = 'request.completed'))[1] as completed
    from tidings.event e
    join unnest(request_ids, source_ids) k (request_id, source_id) on k.request_id = e.request_id and k.source_id = e.source_id
    group by e.request_id, e.source_id
  ) x
  where r.request_id = x.request_id and r.source_id = x.source_id;
  delete from tidings.request_summary r
  using unnest(request_ids, source_ids) k (request_id, source_id)
  where r.request_id = k.request_id and r.source_id = k.source_id
    and not exists (select from tidings.event e where e.request_id = k.request_id and e.source_id = k.source_id);
  get diagnostics n = row_count;
  return next ('tidings.request_summary', n)::tidings.erased;

  delete from tidings.rejected r
  where encode(r.body, 'escape') ~ tidings._json_pattern(erase_recipient.recipient);
  get diagnostics n = row_count;
  return next ('tidings.rejected', n)::tidings.erased;
end
$$;
comment on function erase_recipient(text) is
  'Removes a person: the events to this recipient, written exactly so, what they left in the state tables, and what was rejected and contains the text anywhere, also inside of a longer word, as it is or in the escapes of JSON. Says how many rows. It does not find a recipient that is written otherwise (another case, a number with spaces, percent-encoded, another Unicode form: call it for each), nor payloads of other recipients'' events, or of events without one, that mention it. An event that a provider sends again later is stored again. Ingest waits while it runs. SQLSTATE 22023 where it is empty or null.';

revoke all on function
  _first_receipt(jsonb, timestamptz, ulid), _replay_batch(ulid[], ulid[], int), replay_rejected(text),
  _json_pattern(text), erase_recipient(text)
from public;

-- Who may do what. PUBLIC has the type and the pure functions; nothing else.

create or replace function _require_role(role regrole)
  returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  if role is null then
    raise exception using
      errcode = 'null_value_not_allowed', message = 'the role is null', hint = 'Pass the name of a role.';
  end if;
end
$$;
comment on function _require_role(regrole) is 'Internal: SQLSTATE 22004 where there is no role.';

create or replace function grant_reader(role regrole)
  returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  perform tidings._require_role(role);
  execute format('grant usage on schema tidings to %s', role);
  execute format(
    'grant select on tidings.source, tidings.event, tidings.event_default, tidings.stream,'
    ' tidings.message, tidings.consent, tidings.subscriber, tidings.request_summary, tidings.request,'
    ' tidings.consumer, tidings.lag, tidings.retention to %s', role);
  execute format(
    'grant execute on function tidings.events_after(tidings.ulid, int, text, text[]), tidings.stream_cursor(text),'
    ' tidings._source(text), tidings._require_log_access(), tidings._log_horizon(), tidings._clock_ms(),'
    ' tidings._count(text), tidings._log_holder(), tidings._log_tail(), tidings._unacknowledged(tidings.ulid),'
    ' tidings.poll(text, int), tidings.ack(text, tidings.ulid) to %s', role);
end
$$;
comment on function grant_reader(regrole) is
  'Lets a role query events, state, sources and lag, and follow the log, also by the consumers that there are: to make, move and drop them is administration. It sees no secret, and nothing of what was rejected.';

create or replace function grant_worker(role regrole)
  returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  perform tidings._require_role(role);
  execute format('grant usage on schema tidings to %s', role);
  execute format('grant select on tidings.source to %s', role);
  execute format(
    'grant execute on function tidings.ingest(text, bytea, jsonb), tidings.ingest_batch(text[], bytea[], jsonb[]),'
    ' tidings.verify(text, bytea, jsonb), tidings.find_source(text, jsonb),'
    ' tidings.stream_cursor(text), tidings.stream_secret(text), tidings.maintain() to %s', role);
end
$$;
comment on function grant_worker(regrole) is
  'Lets a role do what the worker does: read the sources, verify, ingest, and call maintain. It can read no table but tidings.source, and no secret but the tokens with which it dials.';

revoke all on all functions in schema tidings from public;
grant usage on schema tidings to public;

do $$
declare
  pure regprocedure;
begin
  for pure in
    select p.oid
    from pg_catalog.pg_proc p
    where p.pronamespace = 'tidings'::regnamespace
      and (p.proname ~ '^(ulid_|gen_ulid$|hmac_sha1$|verify_hmac_sha1$)'
           or p.proname in ('normalize', '_normalize', '_raise_malformed'))
  loop
    execute pg_catalog.format('grant execute on function %s to public', pure);
  end loop;
end
$$;


select rebuild_state();
