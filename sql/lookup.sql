-- Looking messages and events up by what people know of them. Each function is inlined, so that
-- a query that adds conditions to it reads only what it needs; therefore none has a search_path
-- of its own, and every name is qualified.
--
-- A condition on the columns themselves stands beside each condition on the number, because
-- two keys may have one hash, and partitions of before 0.5.0 have indexes on the columns.

create function find_messages(id text) returns setof message
  language sql stable parallel safe
as $$
  select m.* from tidings.message m where m.message_key = $1
  union all
  select m.* from tidings.message m where m.message_id = $1 and m.message_id <> m.message_key
$$;
comment on function find_messages(text) is
  'Returns the messages of this message id or send request, one for each recipient.';

create function message_events(message message) returns setof event
  language sql stable parallel safe
as $$
  select e.*
  from tidings.event e
  where tidings._lookup(coalesce(e.request_id, e.message_id), e.recipient) = tidings._lookup(message.message_key, message.recipient)
    and coalesce(e.request_id, e.message_id) is not null
    and (e.request_id = message.message_key or e.request_id is null and e.message_id = message.message_key)
    and coalesce(e.recipient, '') = message.recipient and e.source_id = message.source_id
$$;
comment on function message_events(message) is
  'Returns the events of a message: SELECT e.* FROM tidings.find_messages(''m-1'') m, tidings.message_events(m) e.';

create function request_events(request_id text) returns setof event
  language sql stable parallel safe
as $$
  select e.*
  from tidings.event e
  where tidings._lookup(coalesce(e.request_id, e.message_id), e.recipient)
      between hashtext($1 collate "C")::bigint << 32 and (hashtext($1 collate "C")::bigint << 32) + 4294967295
    and coalesce(e.request_id, e.message_id) is not null
    and e.request_id = $1
$$;
comment on function request_events(text) is 'Returns the events of a send request.';

create function recipient_events(recipient text) returns setof event
  language sql stable parallel safe
as $$
  select e.*
  from tidings.message m
  cross join lateral (
    select e.* from tidings.message_events(m) e where e.kind like 'message.%'
    offset 0  -- each message is looked up, rather than all events read
  ) e
  where m.recipient = $1 and m.recipient <> ''
  union all
  select e.*
  from tidings.event e
  where e.recipient = $1 and e.recipient is not null and (e.kind not like 'message.%' or coalesce(e.request_id, e.message_id) is null)
$$;
comment on function recipient_events(text) is
  'Returns the events of a recipient. Those about messages are found through tidings.message.';

revoke all on function
  _lookup(text, text), find_messages(text), message_events(message), request_events(text), recipient_events(text)
from public;
