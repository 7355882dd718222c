-- A gRPC source's own schema, where the provider's real one differs from the one that
-- the worker has: package, service, method, names and numbers.

create table source_schema (
  source_id int primary key,
  method text not null,
  descriptor_set bytea not null,
  names jsonb not null default '{}',
  updated_at timestamptz not null default now()
);
comment on table source_schema is
  'The schema of a source whose provider speaks another one than the worker has. Made by set_source_schema.';
comment on column source_schema.source_id is 'The source.';
comment on column source_schema.method is 'The gRPC method: /package.Service/Method.';
comment on column source_schema.descriptor_set is 'An encoded google.protobuf.FileDescriptorSet.';
comment on column source_schema.names is 'The provider''s names of fields and enum values, and ours.';
comment on column source_schema.updated_at is 'When it was set.';
select pg_catalog.pg_extension_config_dump('tidings.source_schema', '');

create trigger notify after insert or update or delete or truncate on source_schema
  for each statement execute function _notify_source();

create function _check_schema(provider text, method text, proto text, descriptor_set bytea, names text)
  returns bytea
  language c immutable parallel safe
  as 'MODULE_PATHNAME', 'check_schema_wrapper';
comment on function _check_schema(text, text, text, bytea, text) is
  'Internal: the descriptor set, compiled where it is given as text; SQLSTATE 22023 unless the method is in it and its messages can be read.';

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
  'Gives a gRPC source (Ppoppo, Pushwoosh) the schema that its provider really speaks; a running worker uses it at once. "method" is /package.Service/Method. The schema is either "proto", the text of a .proto file, or "descriptor_set", an encoded FileDescriptorSet. "names" maps names of the provider to those that the worker has, of fields ("id", or "Message.id" where several messages have one) and of enum values: {"id": "event_id", "Target.phone": "ppnum", "DELIVERED_OK": "RECIPIENT_DELIVERED"}. The event may also stand inside a message, alone or repeated. Events that were stored by another schema stay as they were; to have them as this one reads them, see set_stream_cursor. SQLSTATE 42704 where there is no such source, 22023 where the schema cannot be used, with the reason.';

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
  'Takes a source''s own schema away: the worker''s is used again. SQLSTATE 42704 where there is no such source.';

revoke all on function
  _check_schema(text, text, text, bytea, text), set_source_schema(text, text, text, bytea, jsonb), reset_source_schema(text)
from public;
