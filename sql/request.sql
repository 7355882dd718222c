-- Send requests: the provider's summary, and the status of the messages that were received.

create table request_summary (
  request_id text not null,
  source_id int not null,
  provider text not null,
  first_event_at timestamptz not null,
  last_event_at timestamptz not null,
  completed_at timestamptz,
  completed_event_id ulid,
  summary jsonb,
  failed_at timestamptz,
  failed_event_id ulid,
  primary key (request_id, source_id)
);
comment on table request_summary is 'Each send request with the provider''s summary. tidings.request compares the summary with the events that were received.';
comment on column request_summary.request_id is 'The send request.';
comment on column request_summary.source_id is 'tidings.source.id.';
comment on column request_summary.provider is 'The provider.';
comment on column request_summary.first_event_at is 'The time of its first event.';
comment on column request_summary.last_event_at is 'The time of its last event.';
comment on column request_summary.completed_at is 'When the provider reported the request as complete; null before that.';
comment on column request_summary.completed_event_id is 'tidings.event.event_id of the event that reported it.';
comment on column request_summary.summary is 'The summary that the provider sent when the request ended, or that it sent last.';
comment on column request_summary.failed_at is 'When the provider reported that the request stopped before every recipient was processed.';
comment on column request_summary.failed_event_id is 'tidings.event.event_id of the event that reported it.';

create function _add_to_request_summary(facts _fact[]) returns void
  language plpgsql volatile
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  insert into tidings.request_summary as r (
    request_id, source_id, provider, first_event_at, last_event_at,
    completed_at, completed_event_id, failed_at, failed_event_id, summary
  )
  select t.request_id, t.source_id, t.provider, t.first_event_at, t.last_event_at,
    (t.completed).at, (t.completed).event_id, (t.failed).at, (t.failed).event_id, (greatest(t.completed, t.failed)).value::jsonb
  from (
    select
      f.request_id, f.source_id, min(f.provider) as provider,
      min(f.occurred_at) as first_event_at, max(f.occurred_at) as last_event_at,
      tidings._greatest(row(f.occurred_at, f.event_id, f.summary)::tidings._latest) filter (where f.kind = 'request.completed') as completed,
      tidings._greatest(row(f.occurred_at, f.event_id, f.summary)::tidings._latest) filter (where f.kind = 'request.failed') as failed
    from unnest(facts) f
    where f.request_id is not null
    group by f.request_id, f.source_id
    offset 0  -- else the two would be computed once for each of their fields
  ) t
  order by t.request_id, t.source_id
  on conflict (request_id, source_id) do update set
    (completed_at, completed_event_id, failed_at, failed_event_id, summary) = (
      select (b.completed).at, (b.completed).event_id, (b.failed).at, (b.failed).event_id, (greatest(b.completed, b.failed)).value::jsonb
      from (
        select
          greatest(
            case when r.completed_at is not null then
              row(r.completed_at, r.completed_event_id, r.summary::text)::tidings._latest
            end,
            case when excluded.completed_at is not null then
              row(excluded.completed_at, excluded.completed_event_id, excluded.summary::text)::tidings._latest
            end
          ) as completed,
          greatest(
            case when r.failed_at is not null then
              row(r.failed_at, r.failed_event_id, r.summary::text)::tidings._latest
            end,
            case when excluded.failed_at is not null then
              row(excluded.failed_at, excluded.failed_event_id, excluded.summary::text)::tidings._latest
            end
          ) as failed
      ) b
    ),
    first_event_at = least(r.first_event_at, excluded.first_event_at),
    last_event_at = greatest(r.last_event_at, excluded.last_event_at);
end
$$;
comment on function _add_to_request_summary(_fact[]) is 'Internal: adds these facts to tidings.request_summary.';

create function _count(value text) returns bigint
  language sql immutable strict parallel safe
  set search_path = pg_catalog, tidings, pg_temp
as $$
  select case when value ~ '^[0-9]{1,18}$' then value::bigint end
$$;
comment on function _count(text) is 'Internal: a count from a provider''s text; null for anything else.';

-- Recipients who were held when the request ended are delivered or fail afterwards. Up to
-- their number the excess over the summary is no difference: first that of the delivered
-- ones, then that of the failed ones.
create view request as
  select
    s.request_id, s.source_id, s.provider, s.first_event_at, s.last_event_at, s.completed_at,
    p.delivered, p.failed,
    m.delivered as seen_delivered,
    m.failed as seen_failed,
    m.unfinished as seen_unfinished,
    p.delivered - m.delivered + x.delivered as delivered_difference,
    p.failed - m.failed + least(greatest(m.failed - p.failed, 0), coalesce(p.pending_consent, 0) - x.delivered) as failed_difference,
    p.total_recipients, p.pending_consent, s.failed_at,
    case when s.failed_at is not null and (s.completed_at is null or s.failed_at > s.completed_at) then
      p.total_recipients - p.delivered - p.failed - p.pending_consent
    end as unprocessed,
    m.held as seen_held
  from request_summary s
  cross join lateral (
    select
      coalesce(tidings._count(s.summary ->> 'total_recipients'), tidings._count(s.summary ->> 'totalRecipients')) as total_recipients,
      coalesce(tidings._count(s.summary ->> 'pending_consent'), tidings._count(s.summary ->> 'pendingConsent')) as pending_consent,
      tidings._count(s.summary ->> 'delivered') as delivered, tidings._count(s.summary ->> 'failed') as failed
  ) c
  -- A summary that counts all recipients leaves counts of 0 out.
  cross join lateral (
    select c.total_recipients,
      coalesce(c.pending_consent, c.total_recipients * 0) as pending_consent,
      coalesce(c.delivered, c.total_recipients * 0) as delivered,
      coalesce(c.failed, c.total_recipients * 0) as failed
  ) p
  cross join lateral (
    select
      count(*) filter (where m.status = 'message.delivered') as delivered,
      count(*) filter (where m.is_final and m.status <> 'message.delivered') as failed,
      count(*) filter (where not m.is_final) as unfinished,
      count(*) filter (where not m.is_final and m.consent_requested_at is not null) as held
    from message m
    where m.message_key = s.request_id and m.source_id = s.source_id
  ) m
  cross join lateral (
    select least(greatest(m.delivered - p.delivered, 0), coalesce(p.pending_consent, 0)) as delivered
  ) x;
comment on view request is 'Each send request: the provider''s summary, and the status of the messages that were received. A difference other than 0 means that events are missing, or have not arrived yet.';
comment on column request.request_id is 'The send request.';
comment on column request.source_id is 'tidings.source.id.';
comment on column request.provider is 'The provider.';
comment on column request.first_event_at is 'The time of its first event.';
comment on column request.last_event_at is 'The time of its last event.';
comment on column request.completed_at is 'When the provider reported the request as complete; null before that, and if it failed.';
comment on column request.delivered is 'Number of recipients to which the request was delivered, by the provider''s summary.';
comment on column request.failed is 'Number of recipients to which delivery failed, by the provider''s summary.';
comment on column request.seen_delivered is 'Number of its messages whose status is delivered.';
comment on column request.seen_failed is 'Number of its messages with another final status.';
comment on column request.seen_unfinished is 'Number of its messages without a final status.';
comment on column request.delivered_difference is 'delivered - seen_delivered, where recipients who waited for consent when the request ended may be delivered later; null before the request has ended.';
comment on column request.failed_difference is 'failed - seen_failed, where recipients who waited for consent when the request ended may fail later; null before the request has ended.';
comment on column request.total_recipients is 'Number of recipients, by the provider''s summary.';
comment on column request.pending_consent is 'Number of recipients who waited for consent when the request ended, by the provider''s summary.';
comment on column request.failed_at is 'When the provider reported that the request stopped before every recipient was processed; null if it did not.';
comment on column request.unprocessed is 'For a request that failed: number of recipients that the provider never processed, by its summary. They stay pending for ever.';
comment on column request.seen_held is 'Number of its messages that wait for the consent of the recipient.';

select pg_catalog.pg_extension_config_dump('tidings.request_summary', '');

revoke all on function _count(text), _add_to_request_summary(_fact[]) from public;
