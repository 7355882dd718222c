-- ALTER EXTENSION tidings UPDATE from 0.3.0: leases of streams, limits, and what an outage
-- asks for.

-- replace ingest.sql
