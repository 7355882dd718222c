//! `CREATE EXTENSION tidings`: a thin shell that gives Postgres what `tidings-core` knows.
//!
//! Rust computes rows, SQL stores rows: the tables, the writing and the reading are in
//! `sql/`, which reads from top to bottom.
//!
//! # Layout
//!
//! - [`ulid`]: the type, its text form, and the functions over it
//! - [`signature`]: HMAC-SHA1, and a source's policy
//! - [`normalize`]: a body becomes rows
//! - [`source`]: the providers, and what is checked when a source is added
//! - [`schema`]: what is checked when a source gets a schema of its own
//! - [`log`]: the lock and the ids of the log
//! - [`error`]: SQLSTATE, message, detail and hint

mod error;
mod log;
mod normalize;
mod schema;
mod signature;
mod source;
mod ulid;

use pgrx::prelude::*;

::pgrx::pg_module_magic!(name, version);

extension_sql_file!("../../sql/bootstrap.sql", bootstrap);
extension_sql_file!(
    "../../sql/ulid.sql",
    name = "ulid",
    requires = [
        ulid::ulid_in,
        ulid::ulid_out,
        ulid::ulid_from_bytea,
        ulid::ulid_to_timestamptz,
        ulid::ulid_at,
        ulid::gen_ulid,
        ulid::ulid_smaller,
        ulid::ulid_larger,
    ]
);
extension_sql_file!(
    "../../sql/normalize.sql",
    name = "normalize",
    requires = ["ulid", signature::hmac_sha1, signature::verify_hmac_sha1]
);
extension_sql_file!(
    "../../sql/source.sql",
    name = "source",
    requires = ["normalize"]
);
extension_sql_file!(
    "../../sql/provider.sql",
    name = "provider",
    requires = ["source"]
);
extension_sql_file!(
    "../../sql/schema.sql",
    name = "schema",
    requires = ["provider"]
);
extension_sql_file!("../../sql/event.sql", name = "event", requires = ["schema"]);
extension_sql_file!(
    "../../sql/undated.sql",
    name = "undated",
    requires = ["event"]
);
extension_sql_file!(
    "../../sql/lease.sql",
    name = "lease",
    requires = ["undated"]
);
extension_sql_file!(
    "../../sql/stream.sql",
    name = "stream",
    requires = ["lease"]
);
extension_sql_file!(
    "../../sql/receipt.sql",
    name = "receipt",
    requires = ["stream"]
);
extension_sql_file!(
    "../../sql/state.sql",
    name = "state",
    requires = ["receipt"]
);
extension_sql_file!("../../sql/log.sql", name = "log", requires = ["state"]);
extension_sql_file!("../../sql/ingest.sql", name = "ingest", requires = ["log"]);
extension_sql_file!("../../sql/read.sql", name = "read", requires = ["ingest"]);
extension_sql_file!(
    "../../sql/consumer.sql",
    name = "consumer",
    requires = ["read"]
);
extension_sql_file!("../../sql/lag.sql", name = "lag", requires = ["consumer"]);
extension_sql_file!(
    "../../sql/retention.sql",
    name = "retention",
    requires = ["lag"]
);
extension_sql_file!(
    "../../sql/partition.sql",
    name = "partition",
    requires = ["retention"]
);
extension_sql_file!(
    "../../sql/maintain.sql",
    name = "maintain",
    requires = ["partition"]
);
extension_sql_file!(
    "../../sql/rejected.sql",
    name = "rejected",
    requires = ["maintain"]
);
extension_sql_file!("../../sql/grants.sql", finalize);

/// Called when the library is loaded.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    log::register_settings();
}
