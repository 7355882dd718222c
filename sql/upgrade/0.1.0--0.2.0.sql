-- ALTER EXTENSION tidings UPDATE from 0.1.0: the state tables, consumers, upkeep.
--
-- What is new is included as it is installed; what has changed is replaced. The state
-- of the events that are stored already is made at the end.

-- replace log.sql
-- include state.sql
-- replace ingest.sql
-- include consumer.sql
-- include lag.sql
-- include maintain.sql
-- include rejected.sql
-- replace grants.sql

select rebuild_state();
