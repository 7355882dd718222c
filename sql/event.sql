-- Stored events, and rejected items and requests.

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
  'All events, each stored once. Only ingest writes to the table; events_after follows it. The parent has no index, because a dump of an index on it could not be restored: each partition has its own indexes.';
comment on column event.id is 'Position of the event in the log, assigned at ingestion: the cursor.';
comment on column event.event_id is 'Identity of the event: the provider''s ULID, or a ULID derived from the content of the event.';
comment on column event.source_id is 'tidings.source.id.';
comment on column event.provider is 'The provider: one of providers().';
comment on column event.kind is 'What the event means: message.delivered, consent.granted, .. or other.';
comment on column event.provider_kind is 'The provider''s own name of the kind.';
comment on column event.channel is 'sms, push, email, chat, or the provider''s word in lower case.';
comment on column event.occurred_at is 'Time of the event by the provider''s clock; the time of its first arrival if the provider sends no time; the time of its receipt id if the provider sends neither a time nor an id.';
comment on column event.received_at is 'When the request arrived: by the clock of the worker, or by the server''s if the worker''s was ahead of it.';
comment on column event.request_id is 'The send request that the message belongs to.';
comment on column event.message_id is 'The provider''s id of the message.';
comment on column event.recipient is 'The person to whom the message was sent, or who wrote to us: a number, an address, a device or a subscriber.';
comment on column event.campaign is 'The provider''s campaign.';
comment on column event.error_code is 'The provider''s code of a failure.';
comment on column event.reason is 'The provider''s explanation of a failure or a state.';
comment on column event.payload is 'The item as sent.';

create table event_default partition of event default;
comment on table event_default is 'The events whose time falls into no other partition.';

-- The same event always has the same occurred_at, and therefore the same partition, so
-- that this key recognizes duplicates exactly. event_id leads, so that the index also
-- serves look-ups by event; its first bits are a time, so that inserts stay at the right
-- edge. There must be no other unique index, because ON CONFLICT DO NOTHING would treat
-- its conflicts as duplicates.
alter table event_default add primary key (event_id, occurred_at, source_id);
create index event_default_id_idx on event_default (id);
-- Events that are removed can be published, also as rows of the parent, which has no key.
alter table event replica identity full;
alter table event_default replica identity full;

-- Users look events up by message, send request and recipient. An index on each of these texts
-- would cost more than all else together: their values arrive in no order, so that every event
-- would touch a page of each. One number of 8 bytes stands for all three, the hash of the
-- message in its upper half and that of the recipient in its lower half; lookup.sql has the
-- functions that use it. tidings.message tells which messages a recipient has. What is not
-- about a message is looked up by its recipient.
--
-- The function has no search_path of its own, so that it is inlined.
create function _lookup(message_key text, recipient text) returns bigint
  language sql immutable parallel safe
as $$
  select (hashtext(message_key collate "C")::bigint << 32) | (hashtext(coalesce(recipient, '') collate "C")::bigint & 4294967295)
$$;
comment on function _lookup(text, text) is 'Internal: the number under which the events of a message to a recipient are found; those of one message have the same upper half.';
create index event_default__lookup_idx on event_default (_lookup(coalesce(request_id, message_id), recipient))
  where coalesce(request_id, message_id) is not null;
create index event_default_recipient_idx on event_default (recipient)
  where recipient is not null and (kind not like 'message.%' or coalesce(request_id, message_id) is null);

create table rejected (
  id ulid primary key,
  received_at timestamptz not null,
  source_id int not null,
  verdict text not null check (verdict in ('unauthorized', 'malformed', 'item', 'refused')),
  reason text not null,
  ordinal int,
  headers jsonb,
  body bytea,
  body_bytes int not null,
  peer inet,
  spool_bytes bigint
);
-- The headers of unauthorized requests may contain secrets. There is no policy, as for
-- tidings.source_secret.
alter table rejected enable row level security;
create index rejected_source_idx on rejected (source_id, verdict, id) where spool_bytes is null;
create index rejected_spooled_idx on rejected (source_id, id desc) where spool_bytes is not null;
comment on table rejected is
  'Refused requests and rejected items, with the reason. They are kept within a bound for each source and verdict: the newest 1000 rows, and of those the newest 16 MB. Rows whose requests came through a worker''s spool are apart from that bound, because these requests were answered 200 before they were verified: they are kept whole, for each source as many bytes as the spool may hold (spool_bytes). For those that maintain removes it writes a gap (tidings.gap).';
comment on column rejected.id is 'Id of the row; ids are in the order of rejection.';
comment on column rejected.received_at is 'When the request arrived, as in event.received_at.';
comment on column rejected.source_id is 'tidings.source.id.';
comment on column rejected.verdict is 'unauthorized: the request failed the policy of its source; malformed: its body could not be cut into items; item: one item is not an event; refused: the worker refused the request before it could be verified, because of its size, its encoding, its path, its method or its time.';
comment on column rejected.reason is 'The reason of the rejection. For an unauthorized request it says which header or token is missing or does not match, that the source has no secret, or that it does not allow the address of the sender.';
comment on column rejected.ordinal is 'Number of the item in its request, from 1; null for a whole request.';
comment on column rejected.headers is 'Headers of a whole request, without its secrets if the request passed the policy of its source. They contain the address of the sender as peer-address.';
comment on column rejected.body is 'The body or the item as it arrived: only the first 1 MB of it, unless the request came through a spool; for the verdict refused, the part that the worker had read, at most 64 kB.';
comment on column rejected.body_bytes is 'Number of bytes that arrived, or that the sender announced; greater than the length of body if there was more than was kept.';
comment on column rejected.spool_bytes is 'Size of the worker''s spool (--spool-bytes) through which the request came, and therefore the bound of such rows of a source; null for a request that came directly.';
comment on column rejected.peer is 'The address of the sender: that of its connection, or the one that a proxy which the worker trusts reports; null if it is not known.';

-- A dump contains all data.
select pg_catalog.pg_extension_config_dump('tidings.source', '');
select pg_catalog.pg_extension_config_dump('tidings.source_id_seq', '');
select pg_catalog.pg_extension_config_dump('tidings.former_name', '');
select pg_catalog.pg_extension_config_dump('tidings.dropped_source', '');
select pg_catalog.pg_extension_config_dump('tidings.source_secret', '');
select pg_catalog.pg_extension_config_dump('tidings.stream', '');
select pg_catalog.pg_extension_config_dump('tidings.event_default', '');
select pg_catalog.pg_extension_config_dump('tidings.rejected', '');
