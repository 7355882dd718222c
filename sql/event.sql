-- What was stored, and what could not be.

create table event (
  id ulid not null,
  event_id ulid not null,
  source_id int not null,
  provider text not null,
  kind text not null,
  provider_kind text not null,
  channel text,
  occurred_at timestamptz not null,
  received_at timestamptz not null,
  request_id text,
  message_id text,
  recipient text,
  campaign text,
  error_code text,
  reason text,
  payload jsonb not null
) partition by range (occurred_at);
comment on table event is
  'Every event, once. Written by ingest alone; followed with events_after. The parent carries no index, because a dump of one could not be restored: each partition has its own.';
comment on column event.id is 'Its position in the log, given at ingestion: the cursor.';
comment on column event.event_id is 'Its identity: the provider''s ULID, or one derived from what the event says.';
comment on column event.source_id is 'tidings.source.id.';
comment on column event.provider is 'One of providers().';
comment on column event.kind is 'What it means: message.delivered, consent.granted, .. or other.';
comment on column event.provider_kind is 'What the provider calls it.';
comment on column event.channel is 'sms, push, email, chat, or the provider''s word in lower case.';
comment on column event.occurred_at is 'The provider''s clock; where it sends no time, when the event was first received.';
comment on column event.received_at is 'Our clock, when the request arrived.';
comment on column event.request_id is 'The send request that the message belongs to.';
comment on column event.message_id is 'The provider''s id of the message.';
comment on column event.recipient is 'The person: whom it was sent to, or who wrote to us; a number, an address, a device or a subscriber.';
comment on column event.campaign is 'The provider''s campaign.';
comment on column event.error_code is 'The provider''s code of a failure.';
comment on column event.reason is 'The provider''s words about a failure or a state.';
comment on column event.payload is 'The item as sent.';

create table event_default partition of event default;
comment on table event_default is 'The events of times that no other partition holds.';

-- The same event always carries the same occurred_at, so it meets itself in the same
-- partition, and this key deduplicates exactly. event_id leads, so that it serves
-- look-ups by event too; its first bits are a time, so inserts stay at the right edge.
-- No other unique index: ON CONFLICT DO NOTHING would take its conflicts for duplicates.
alter table event_default add primary key (event_id, occurred_at, source_id);
create index event_default_id_idx on event_default (id);
create index event_default_message_id_idx on event_default (message_id) where message_id is not null;
create index event_default_recipient_idx on event_default (recipient) where recipient is not null;
create index event_default_request_id_idx on event_default (request_id) where request_id is not null;

create table rejected (
  id ulid primary key,
  received_at timestamptz not null,
  source_id int not null,
  verdict text not null check (verdict in ('unauthorized', 'malformed', 'item')),
  reason text not null,
  ordinal int,
  headers jsonb,
  body bytea,
  body_bytes int not null
);
create index rejected_source_idx on rejected (source_id, verdict, id);
comment on table rejected is
  'What could not be taken as an event, with the reason; kept within a bound for each source and verdict: the newest 1000, and of those the newest 16 MB.';
comment on column rejected.id is 'In the order of rejection.';
comment on column rejected.received_at is 'When the request arrived.';
comment on column rejected.source_id is 'tidings.source.id.';
comment on column rejected.verdict is 'unauthorized: the request failed its source''s policy; malformed: its body could not be cut into items; item: one item was no event.';
comment on column rejected.reason is 'What was wrong.';
comment on column rejected.ordinal is 'The item''s place in its request, from 1; null of a whole request.';
comment on column rejected.headers is 'Of a whole request: its headers; without its secrets where they were the right ones.';
comment on column rejected.body is 'The body, or the item, as it arrived; of more than 1 MB only the beginning.';
comment on column rejected.body_bytes is 'How many bytes it had.';

-- What a dump carries: everything that is data.
select pg_catalog.pg_extension_config_dump('tidings.source', '');
select pg_catalog.pg_extension_config_dump('tidings.source_id_seq', '');
select pg_catalog.pg_extension_config_dump('tidings.source_secret', '');
select pg_catalog.pg_extension_config_dump('tidings.stream', '');
select pg_catalog.pg_extension_config_dump('tidings.event_default', '');
select pg_catalog.pg_extension_config_dump('tidings.rejected', '');
