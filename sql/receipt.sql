-- The answer to a request.

create type receipt as (
  verdict text,
  inserted int,
  duplicate int,
  rejected int,
  detail text,
  ordinal int
);
comment on type receipt is 'The answer to a request.';
comment on column receipt.verdict is 'accepted: the counts give the outcome of every item; unauthorized, malformed: the request is kept in tidings.rejected; unknown_source, disabled, fenced: the request is not kept. fenced: a worker read these events of a stream under a lease that is no longer valid, see tidings.stream_lease.';
comment on column receipt.inserted is 'Number of items that were stored as events.';
comment on column receipt.duplicate is 'Number of items whose events had been stored before.';
comment on column receipt.rejected is 'Number of items that are not events, and are kept in tidings.rejected.';
comment on column receipt.detail is 'Reasons of the first rejected items, or the reason why the request was refused; null if there are none.';
comment on column receipt.ordinal is 'Number of the request in the batch, from 1.';
