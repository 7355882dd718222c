-- The answer to a request.

create type receipt as (
  verdict text,
  inserted int,
  duplicate int,
  rejected int,
  detail text,
  ordinal int
);
comment on type receipt is 'What became of a request.';
comment on column receipt.verdict is 'accepted: every item has its outcome in the counts; unauthorized, malformed: kept in tidings.rejected; unknown_source, disabled, fenced: not kept. Fenced is what a worker read of a stream under a lease that is over: see tidings.stream_lease.';
comment on column receipt.inserted is 'How many items became events.';
comment on column receipt.duplicate is 'How many items were events that had been stored before.';
comment on column receipt.rejected is 'How many items were no events, and are kept in tidings.rejected.';
comment on column receipt.detail is 'What was wrong, of the first items that were; null where nothing was.';
comment on column receipt.ordinal is 'The request''s place in the batch, from 1.';
