//! What the Makefile calls, as a library, so that the end-to-end tests run
//! against the same private clusters and processes as the demo does.
//!
//! # Layout
//! - [`paths`], [`step`]: where things are; running a command and saying so
//! - [`server`]: a Postgres installation, as its `pg_config` describes it
//! - [`install`]: builds the extension and copies it into that installation
//! - [`leash`], [`cluster`], [`pgbouncer`], [`process`], [`worker`], [`emulator`]: what runs, and
//!   that it ends and is removed however this program ends
//! - [`sources`], [`ledger`], [`reconcile`]: what the emulator plays, and what became of it
//! - [`stage`], [`play`] with [`follow`] and [`metrics`]: one run of it all
//! - [`demo`] with [`table`]: the run as people see it
//! - [`soak`]: the same for a long time, to see that nothing grows; [`procfs`]
//! - [`outage`]: Postgres goes away while webhooks arrive
//! - [`chaos`] with [`proxy`]: the same while everything fails, in cycles
//! - [`regress`], [`mod@test`], [`lint`]: the checks
//! - [`python`]: what the peer of another stack runs in
//! - [`fuzz`]: the fuzz targets, each for a while
//! - [`sqlsmith`]: SQL at random against the extension
//! - [`http`]: the few HTTP requests that the above need

use std::time::Duration;

/// So long may anything take that is waited for: some of the product's own pauses are a
/// minute, and with jitter two.
pub const DEADLINE: Duration = Duration::from_secs(180);

pub mod chaos;
pub mod cluster;
pub mod demo;
pub mod emulator;
pub mod follow;
pub mod fuzz;
pub mod http;
pub mod install;
pub mod leash;
pub mod ledger;
pub mod lint;
pub mod metrics;
pub mod outage;
pub mod paths;
pub mod pgbouncer;
pub mod play;
pub mod process;
pub mod procfs;
pub mod proxy;
pub mod python;
pub mod reconcile;
pub mod regress;
pub mod server;
pub mod soak;
pub mod sources;
pub mod sqlsmith;
pub mod stage;
pub mod step;
pub mod table;
pub mod test;
pub mod upgrade;
pub mod worker;
