-- What a team writes in SQL alone, for one body ($1) of SMS states: the items are taken
-- apart, named in our vocabulary and stored once each. There is neither a policy, nor an
-- outcome of each item, nor state, and one bad item fails its batch.
insert into contender.event (
  event_id, source_id, provider, kind, provider_kind, channel, occurred_at, received_at,
  message_id, recipient, reason, payload
)
select
  md5(concat_ws('|', i ->> 'MessageId', i ->> 'Status', i ->> 'ReportDateTime', i ->> 'ReportDescription'))::uuid,
  1,
  'arpoone',
  case i ->> 'Status'
    when 'DELIVERED' then 'message.delivered'
    when 'NOT_DELIVERED' then 'message.failed'
    when 'PENDING' then 'message.pending'
    else 'other'
  end,
  i ->> 'Status',
  'sms',
  (i ->> 'ReportDateTime')::timestamptz,
  now(),
  i ->> 'MessageId',
  i ->> 'Msisdn',
  i ->> 'ReportDescription',
  i
from jsonb_array_elements(convert_from($1, 'UTF8')::jsonb) i
on conflict do nothing
