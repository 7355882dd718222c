-- The own schemas of gRPC sources, for providers whose real schema differs from the
-- worker's in package, service, method, names or numbers.

create table source_schema (
  source_id int primary key,
  method text not null,
  descriptor_set bytea not null,
  names jsonb not null default '{}',
  updated_at timestamptz not null default now()
);
comment on table source_schema is
  'The schemas of sources whose provider uses another schema than the worker''s own. set_source_schema adds a row.';
comment on column source_schema.source_id is 'The source.';
comment on column source_schema.method is 'The gRPC method: /package.Service/Method.';
comment on column source_schema.descriptor_set is 'An encoded google.protobuf.FileDescriptorSet.';
comment on column source_schema.names is 'The provider''s names of fields and enum values, mapped to ours.';
comment on column source_schema.updated_at is 'When it was set.';
select pg_catalog.pg_extension_config_dump('tidings.source_schema', '');

create trigger notify after insert or update or delete or truncate on source_schema
  for each statement execute function _notify_source();

create function _check_schema(provider text, method text, proto text, descriptor_set bytea, names text)
  returns bytea
  language c immutable parallel safe
  as 'MODULE_PATHNAME', 'check_schema_wrapper';
comment on function _check_schema(text, text, text, bytea, text) is
  'Internal: returns the descriptor set, compiled if it is given as text. SQLSTATE 22023 unless it contains the method and its messages can be decoded.';

create function set_source_schema(
  name text, method text, proto text default null, descriptor_set bytea default null, names jsonb default '{}'
)
  returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
declare
  s tidings.source := tidings._source(name);
begin
  if num_nonnulls(proto, descriptor_set) <> 1 then
    raise exception using
      errcode = 'invalid_parameter_value',
      message = 'give either proto or descriptor_set',
      hint = 'proto is the text of a .proto file; descriptor_set is what protoc --include_imports --descriptor_set_out writes.';
  end if;
  insert into tidings.source_schema as c (source_id, method, descriptor_set, names)
  values (
    s.id, set_source_schema.method,
    tidings._check_schema(s.provider, set_source_schema.method, proto, set_source_schema.descriptor_set, coalesce(set_source_schema.names, '{}')::text),
    coalesce(set_source_schema.names, '{}'))
  on conflict (source_id) do update
  set method = excluded.method, descriptor_set = excluded.descriptor_set, names = excluded.names, updated_at = now();
end
$$;
comment on function set_source_schema(text, text, text, bytea, jsonb) is
  'Sets the schema that the provider of a gRPC source really uses; a running worker uses it at once. "method" is /package.Service/Method. The schema is either "proto", the text of a .proto file, or "descriptor_set", an encoded FileDescriptorSet. "names" maps the provider''s names of fields ("id", or "Message.id" if several messages have such a field) and of enum values to the names that the worker uses: {"id": "event_id", "Target.phone": "recipient", "DELIVERED_OK": "DELIVERED"}. The event may also be nested in a message, singly or repeated. Events that are already stored are not changed; to read them again by this schema, see set_stream_cursor. SQLSTATE 42704 if there is no such source, 22023 if the schema cannot be used, with the reason.';

create function reset_source_schema(name text)
  returns void
  language plpgsql
  set search_path = pg_catalog, tidings, pg_temp
as $$
begin
  delete from tidings.source_schema where source_id = (tidings._source(name)).id;
end
$$;
comment on function reset_source_schema(text) is
  'Removes the schema of a source, so that the worker''s own is used again. SQLSTATE 42704 if there is no such source.';

revoke all on function
  _check_schema(text, text, text, bytea, text), set_source_schema(text, text, text, bytea, jsonb), reset_source_schema(text)
from public;
