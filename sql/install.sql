-- CREATE EXTENSION tidings: these files, in this order. Each uses what those before it
-- created.

-- include bootstrap.sql

-- types, and what is known without a table
-- include ulid.sql
-- include normalize.sql

-- where events come from
-- include source.sql
-- include provider.sql
-- include schema.sql

-- what is stored
-- include event.sql
-- include undated.sql
-- include lease.sql
-- include gap.sql
-- include stream.sql
-- include receipt.sql
-- include state.sql
-- include message.sql
-- include consent.sql
-- include subscriber.sql
-- include request.sql
-- include lookup.sql
-- include log_head.sql
-- include log.sql
-- include ingest.sql

-- who reads it
-- include read.sql
-- include consumer.sql
-- include lag.sql

-- upkeep
-- include retention.sql
-- include partition.sql
-- include maintain.sql
-- include rejected.sql

-- include grants.sql
