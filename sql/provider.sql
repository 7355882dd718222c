-- The providers, as the library knows them.

create function providers(out name text, out scheme text, out is_dialed boolean, out options text[])
  returns setof record
  language c immutable parallel safe rows 4
  as 'MODULE_PATHNAME', 'providers_wrapper';
comment on function providers() is
  'The providers that are supported. "scheme" is what a request of theirs carries: authorization (the whole Authorization value), url-token (they have no scheme: the last part of the URL), hmac-sha1 (a signature of the body), or dialed (nothing: the worker opens the connection); "options" are those that add_source takes for a source of theirs.';

create view source_policy as
  select
    s.name, s.provider, p.scheme,
    coalesce(cardinality(d.secrets), 0) as secrets,
    coalesce(cardinality(d.url_tokens), 0) as url_tokens,
    case
      when p.is_dialed then 'the connection'
      when coalesce(cardinality(d.secrets), cardinality(d.url_tokens)) > 0 then 'proof'
      when d.allow_unauthenticated then 'anything'
      else 'nothing'
    end as accepts
  from source s
  join _policy d on d.source_id = s.id
  join providers() p on p.name = s.provider;
comment on view source_policy is 'What each source demands of a request, without the secrets themselves.';
comment on column source_policy.name is 'The source.';
comment on column source_policy.provider is 'Its provider.';
comment on column source_policy.scheme is 'What its requests carry: see providers().';
comment on column source_policy.secrets is 'How many secrets of the scheme are accepted now; two while one replaces another.';
comment on column source_policy.url_tokens is 'How many tokens of option url_token are accepted now. They are demanded on top of the scheme.';
comment on column source_policy.accepts is 'proof: what carries a secret, and a URL token where there is one; the connection: what arrives over the one that the worker opens; anything: see allow_unauthenticated; nothing: it has no secret yet.';

revoke all on function providers() from public;
