//! Private Postgres clusters, workers, proxies and emulated providers for tests and
//! drills, and the reconciliation of each event.
//!
//! # Layout
//! - [`paths`], [`step`]: where things are; running a command and saying so
//! - [`server`]: a Postgres installation, as its `pg_config` describes it
//! - [`leash`], [`cluster`], [`pgbouncer`], [`nginx`], [`process`], [`worker`], [`emulator`]: what
//!   runs, and that it ends and is removed however this program ends
//! - [`proxy`]: a way between two of them that can be cut, delayed or silenced
//! - [`faketime`]: another clock for a cluster
//! - [`sources`], [`ledger`], [`reconcile`]: what the emulator plays, and what became of it
//! - [`outcomes`]: the provider's own list of send requests and recipients
//! - [`stage`], [`play`] with [`follow`] and [`metrics`]: one run of it all
//! - [`outage`]: Postgres goes away while webhooks arrive
//! - [`strangers`]: those who call and never ask, and what is no HTTP
//! - [`python`]: what the peer of another gRPC stack runs in
//! - [`procfs`], [`http`], [`table`]: what a process uses, a few HTTP requests, a table to print

use std::time::Duration;

/// Time limit for every wait. Some pauses of the product are a minute, and with jitter
/// two.
pub const DEADLINE: Duration = Duration::from_secs(180);

pub mod cluster;
pub mod emulator;
pub mod faketime;
pub mod follow;
pub mod http;
pub mod leash;
pub mod ledger;
pub mod metrics;
pub mod nginx;
pub mod node;
pub mod outage;
pub mod outcomes;
pub mod paths;
pub mod pgbouncer;
pub mod play;
pub mod process;
pub mod procfs;
pub mod proxy;
pub mod python;
pub mod reconcile;
pub mod server;
pub mod sources;
pub mod stage;
pub mod step;
pub mod strangers;
pub mod table;
pub mod worker;
