-- ALTER EXTENSION tidings UPDATE from 0.4.0.

-- As at CREATE EXTENSION, where it is the schema that must be one's own.
do $$
declare
  owner constant regrole := (select e.extowner from pg_catalog.pg_extension e where e.extname = 'tidings');
  is_superuser constant boolean := (select r.rolsuper from pg_catalog.pg_roles r where r.oid = owner);
begin
  if owner <> (select r.oid from pg_catalog.pg_roles r where r.rolname = current_user) then
    raise exception using
      errcode = 'insufficient_privilege',
      message = pg_catalog.format('extension tidings belongs to role %s', owner),
      detail = 'What the update makes would belong to you, and run with your rights rather than its owner''s.',
      hint = pg_catalog.format(
        case when is_superuser then 'First run SET ROLE %1$s.'
          else 'First run ALTER ROLE %1$s SUPERUSER and SET ROLE %1$s; afterwards ALTER ROLE %1$s NOSUPERUSER.' end,
        owner);
  end if;
end
$$;

-- A row of it has one column more.
drop function _normalize(text, text, text, bytea);
-- take _normalize from normalize.sql
grant execute on function _normalize(text, text, text, bytea) to public;
-- take _custom_id from normalize.sql
-- take _summary from normalize.sql
-- take _add_to_message from message.sql
-- take _add_to_consent from consent.sql
-- take _add_to_subscriber from subscriber.sql
-- take _add_to_request_summary from request.sql
-- take _add_to_state from state.sql
-- take _require_batch from ingest.sql
-- take _store from ingest.sql
-- take _ingest from ingest.sql
-- take erase_recipient from rejected.sql
-- comments normalize.sql
-- comments message.sql
-- comments consent.sql
-- comments subscriber.sql
-- comments request.sql
-- comments state.sql
-- comments ingest.sql
revoke all on function
  _custom_id(text, text), _summary(text, text),
  _add_to_message(ulid, ulid), _add_to_consent(ulid, ulid), _add_to_subscriber(ulid, ulid),
  _add_to_request_summary(ulid, ulid),
  _require_batch(text[], bytea[], jsonb[]), _store(text[], bytea[], jsonb[], boolean[], int[], timestamptz)
from public;
