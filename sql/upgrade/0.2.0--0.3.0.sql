-- ALTER EXTENSION tidings UPDATE from 0.2.0: schemas and state of streams, events
-- without a time.

drop function _normalize(text, text, text, bytea);
-- take _normalize from normalize.sql
-- take normalize from normalize.sql
-- take drop_source from source.sql
-- include provider.sql
-- include schema.sql
-- include undated.sql
-- include stream.sql
-- replace ingest.sql
-- take _maintain from maintain.sql
-- take _replay_batch from rejected.sql
-- replace grants.sql
-- comments normalize.sql
-- comments source.sql
-- comments event.sql
-- comments state.sql
