-- The providers that the library supports.

create function providers(out name text, out scheme text, out is_dialed boolean, out options text[])
  returns setof record
  language c immutable parallel safe rows 4
  as 'MODULE_PATHNAME', 'providers_wrapper';
comment on function providers() is
  'The supported providers. "scheme" is how a request proves its origin: authorization (the whole Authorization value), url-token (the provider has no scheme, so the last part of the URL), hmac-sha1 (a signature of the body), or dialed (not at all, because the worker opens the connection). "options" are those that add_source accepts for a source of the provider.';

create view source_policy as
  select
    s.name, s.provider, p.scheme,
    d.secrets, d.url_tokens,
    case
      when p.is_dialed then 'the connection'
      when d.secrets + d.url_tokens > 0 then 'proof'
      when (s.options ->> 'allow_unauthenticated')::boolean then 'anything'
      else 'nothing'
    end as accepts
  from source s
  cross join lateral (
    select
      (count(*) filter (where x.kind = 'secret'))::int as secrets,
      (count(*) filter (where x.kind = 'url_token'))::int as url_tokens
    from source_secret x
    where x.source_id = s.id and (x.expires_at is null or x.expires_at > statement_timestamp())
  ) d
  join providers() p on p.name = s.provider;
comment on view source_policy is 'What each source demands of a request, without the secrets themselves.';
comment on column source_policy.name is 'The source.';
comment on column source_policy.provider is 'Its provider.';
comment on column source_policy.scheme is 'How its requests prove their origin: see providers().';
comment on column source_policy.secrets is 'Number of secrets of the scheme that are accepted now; two during the overlap of a rotation.';
comment on column source_policy.url_tokens is 'Number of URL tokens (option url_token) that are accepted now. A URL token is demanded in addition to the scheme.';
comment on column source_policy.accepts is 'proof: requests that carry a secret, and a URL token if one is set; the connection: events that arrive on the connection that the worker opens; anything: see allow_unauthenticated; nothing: the source has no secret yet.';

revoke all on function providers() from public;
