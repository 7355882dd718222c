-- Verification and normalization: the pure functions, which every role may call.

create function hmac_sha1(body bytea, key bytea) returns bytea
  language c immutable strict parallel safe as 'MODULE_PATHNAME', 'hmac_sha1_wrapper';
comment on function hmac_sha1(bytea, bytea) is
  'HMAC-SHA1 of a body under a key: 20 bytes (RFC 2104; vectors in RFC 2202).';
create function verify_hmac_sha1(body bytea, key bytea, signature text) returns boolean
  language c immutable strict parallel safe as 'MODULE_PATHNAME', 'verify_hmac_sha1_wrapper';
comment on function verify_hmac_sha1(bytea, bytea, text) is
  'Whether a signature is the full HMAC-SHA1 tag of the body under the key, compared in constant time. The signature is 40 hexadecimal digits of either case, or base64 (standard or URL-safe, padded or not), with an optional prefix "sha1=". The result is false for a truncated or malformed signature and for an empty key.';

create function _unmet(
  provider_name text, secrets text[], url_tokens text[], allow_unauthenticated boolean, allow_from text[], body bytea, headers text
)
  returns text
  language c immutable parallel safe as 'MODULE_PATHNAME', 'unmet_wrapper';
comment on function _unmet(text, text[], text[], boolean, text[], bytea, text) is 'Internal: what a request lacks of this policy, for the owner of the source alone; null if the request meets the policy.';
create function _peer_address(headers text) returns text
  language c immutable strict parallel safe as 'MODULE_PATHNAME', 'peer_address_wrapper';
comment on function _peer_address(text) is 'Internal: the address in the header peer-address, in its canonical form; null if there is none.';
create function _check_options(provider_name text, options text) returns void
  language c immutable strict parallel safe as 'MODULE_PATHNAME', 'check_options_0_5_wrapper';
comment on function _check_options(text, text) is 'Internal: raises SQLSTATE 22023 unless the provider exists and its sources accept these options.';
create function _is_dialed(provider_name text) returns boolean
  language c immutable strict parallel safe as 'MODULE_PATHNAME', 'is_dialed_wrapper';
comment on function _is_dialed(text) is 'Internal: whether the worker dials this provider and resumes its stream from a cursor.';
create function _asks_consent(provider_name text) returns boolean
  language c immutable strict parallel safe as 'MODULE_PATHNAME', 'asks_consent_wrapper';
comment on function _asks_consent(text) is 'Internal: whether this provider holds a message back until the recipient consents to it.';

create type normalized_event as (
  ordinal int,
  event_id ulid,
  kind text,
  provider_kind text,
  channel text,
  occurred_at timestamptz,
  request_id text,
  message_id text,
  recipient text,
  campaign text,
  error_code text,
  reason text,
  payload jsonb,
  error text
);
comment on type normalized_event is 'One item of a provider''s request in the common vocabulary.';
comment on column normalized_event.ordinal is 'Number of the item in the request, from 1.';
comment on column normalized_event.event_id is 'Identity of the event: the provider''s ULID, or a ULID derived from the content of the event; null if nothing in the item distinguishes the event from another one.';
comment on column normalized_event.kind is 'What the event means: message.delivered, consent.granted, .. or other.';
comment on column normalized_event.provider_kind is 'The provider''s own name of the kind.';
comment on column normalized_event.channel is 'sms, push, email, chat, or the provider''s word in lower case.';
comment on column normalized_event.occurred_at is 'Time of the event by the provider''s clock; null if the item carries no time.';
comment on column normalized_event.request_id is 'The send request that the message belongs to.';
comment on column normalized_event.message_id is 'The provider''s id of the message.';
comment on column normalized_event.recipient is 'The person to whom the message was sent, or who wrote to us: a number, an address, a device or a subscriber.';
comment on column normalized_event.campaign is 'The provider''s campaign.';
comment on column normalized_event.error_code is 'The provider''s code of a failure.';
comment on column normalized_event.reason is 'The provider''s explanation of a failure or a state.';
comment on column normalized_event.payload is 'The item as sent; null if jsonb cannot represent it.';
comment on column normalized_event.error is 'Why the item is not an event; null if it is one.';

-- The estimate of rows makes the planner expect a batch; otherwise it would join the
-- batch to itself row by row.
create function _normalize(
  provider text, source text, options text, body bytea,
  out ordinal int, out event_id ulid, out kind text, out provider_kind text, out channel text,
  out occurred_at timestamptz, out request_id text, out message_id text, out recipient text,
  out campaign text, out error_code text, out reason text, out payload jsonb, out error text,
  out item bytea, out cursor text
)
  returns setof record
  language c immutable strict parallel safe cost 1000 rows 100
  as 'MODULE_PATHNAME', 'normalize_0_5_wrapper';
comment on function _normalize is
  'Internal: returns the items of a body that was sent to a source, each with the cursor of its stream after the item. A single row with a null ordinal means that the whole body is malformed.';

-- The parts of stored events that state needs. They are read from the payload, at ingest
-- as well as by rebuild_state, so that both come to the same result.
create function _custom_id(provider text, payload text) returns text
  language c immutable strict parallel safe as 'MODULE_PATHNAME', 'custom_id_wrapper';
comment on function _custom_id(text, text) is 'Internal: your own id of a subscriber, from the payload of an event; null if the payload has none.';
create function _summary(provider text, payload text) returns jsonb
  language c immutable strict parallel safe as 'MODULE_PATHNAME', 'summary_wrapper';
comment on function _summary(text, text) is 'Internal: the summary of a send request, from the payload of an event; null if the payload has none.';
create function _asked_at(provider text, payload text) returns timestamptz
  language c immutable strict parallel safe as 'MODULE_PATHNAME', 'asked_at_wrapper';
comment on function _asked_at(text, text) is 'Internal: when the recipient was asked for consent, from the payload of an event; null if the payload does not tell.';

create function _raise_malformed(reason text) returns boolean
  language c immutable strict parallel safe as 'MODULE_PATHNAME', 'raise_malformed_wrapper';
comment on function _raise_malformed(text) is 'Internal: raises SQLSTATE 22032 with this message.';

create function tidings.normalize(provider text, body bytea)
  returns setof normalized_event
  language sql immutable strict parallel safe rows 100
  set search_path = pg_catalog, tidings, pg_temp
as $$
  select ordinal, event_id, kind, provider_kind, channel, occurred_at, request_id, message_id,
         recipient, campaign, error_code, reason, payload, error
  from _normalize($1, '', '{}', $2)
  where ordinal is not null or _raise_malformed(error)
$$;
comment on function tidings.normalize(text, bytea) is
  'Normalizes a body of this provider (see providers()), and returns a row for each item. If an item is not an event, "error" gives the reason. Derived ids differ from those of stored events, because the name of the source is part of a derived id. Times without an offset are read as UTC. SQLSTATE 22032 if the body contains no JSON object, not even a damaged one, or if its first two lines both begin with no bracket; 22023 for an unknown provider.';

create function tidings.normalize(provider text, body jsonb)
  returns setof normalized_event
  language sql immutable strict parallel safe rows 100
  set search_path = pg_catalog, tidings, pg_temp
as $$
  select * from tidings.normalize($1, convert_to($2::text, 'UTF8'))
$$;
comment on function tidings.normalize(text, jsonb) is
  'The same for a body that is jsonb. An id that is derived from the bytes of an item (see docs/providers.md) is derived from the jsonb form of the item.';

create function _receipt(text text) returns ulid
  language c immutable strict parallel safe as 'MODULE_PATHNAME', 'receipt_wrapper';
comment on function _receipt(text) is 'Internal: the receipt id in a header, a ULID or a UUID; null for anything else.';
create function _receipt_event_id(
  provider_name text, source text, receipt ulid, received_at timestamptz, ordinal int, item text
)
  returns ulid
  language c immutable strict parallel safe as 'MODULE_PATHNAME', 'receipt_event_id_wrapper';
comment on function _receipt_event_id(text, text, ulid, timestamptz, int, text) is 'Internal: the identity of an event that has no identity of its own, derived from its receipt id.';
