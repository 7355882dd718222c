-- A gRPC source may bring the schema that its provider really speaks.

\set SHOW_CONTEXT never
set timezone to 'UTC';

select tidings.add_source('chat', 'ppoppo', 'jwt') is not null
  and tidings.add_source('push', 'pushwoosh', 'Bearer t') is not null
  and tidings.add_source('sms', 'arpoone', 'token') is not null as added;

select $$
syntax = "proto3";
package real.v2;
service Events { rpc Follow(From) returns (stream Envelope); }
message From { optional string since = 9; }
message Envelope { Happening happening = 4; }
message Happening { string id = 7; Sort sort = 3; Person person = 12; string at = 2; }
message Person { string phone = 5; }
enum Sort { SORT_NONE = 0; SORT_OK = 40; }
$$ as proto \gset

-- Its names are mapped to those that the worker has; those that are the same need none.
select tidings.set_source_schema('chat', '/real.v2.Events/Follow', proto => :'proto',
  names => '{"id": "event_id", "since": "after_event_id", "sort": "event_type", "SORT_OK": "RECIPIENT_DELIVERED", "person": "recipient", "Person.phone": "ppnum", "at": "occurred_at"}');
select s.name, c.method, length(c.descriptor_set) > 100 as compiled, c.names ->> 'SORT_OK' as name
from tidings.source_schema c join tidings.source s on s.id = c.source_id;

-- The same, compiled already; and again, in place of it.
select tidings.set_source_schema('chat', 'real.v2.Events/Follow', descriptor_set => c.descriptor_set, names => c.names)
from tidings.source_schema c;
select count(*) from tidings.source_schema;

-- What the worker could not use is refused, with the reason.
select tidings.set_source_schema('chat', '/real.v2.Events/Follow', proto => :'proto');
select tidings.set_source_schema('chat', '/real.v2.Events/Read', proto => :'proto');
select tidings.set_source_schema('chat', '/real.v2.Nothing/Follow', proto => :'proto');
select tidings.set_source_schema('chat', '/real.v2.Events/Follow', proto => :'proto', names => '{"no_such_field": "event_id"}');
select tidings.set_source_schema('chat', '/real.v2.Events/Follow', proto => :'proto', names => '["id"]');
select tidings.set_source_schema('chat', '/real.v2.Events/Follow', proto => :'proto', names => '{"id": 7}');
select tidings.set_source_schema('chat', '/real.v2.Events/Follow', proto => 'message {');
select tidings.set_source_schema('chat', '/real.v2.Events/Follow', proto => 'syntax = "proto3"; import "other.proto";');
select tidings.set_source_schema('chat', '/real.v2.Events/Follow', descriptor_set => '\xffff');
select tidings.set_source_schema('chat', '/real.v2.Events/Follow', descriptor_set => '');
select tidings.set_source_schema('chat', '/real.v2.Events/Follow');
select tidings.set_source_schema('chat', null, proto => :'proto');
select tidings.set_source_schema('push', '/real.v2.Events/Follow', proto => :'proto');
select tidings.set_source_schema('sms', '/real.v2.Events/Follow', proto => :'proto');
select tidings.set_source_schema('nobody', '/real.v2.Events/Follow', proto => :'proto');
select count(*) from tidings.source_schema;

select tidings.reset_source_schema('chat');
select tidings.reset_source_schema('chat');
select tidings.reset_source_schema('nobody');
select count(*) from tidings.source_schema;

-- It goes with its source.
select tidings.set_source_schema('chat', '/real.v2.Events/Follow', proto => :'proto',
  names => '{"id": "event_id", "since": "after_event_id", "sort": "event_type"}');
select tidings.drop_source(name) from tidings.source where name in ('chat', 'push', 'sms') order by name;
select count(*) from tidings.source_schema;
