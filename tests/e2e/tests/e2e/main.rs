//! One binary, so that everything is linked once and runs side by side.

mod check;
mod clock;
mod consumers;
mod crash;
mod documents;
mod drain;
mod dump;
mod failover;
mod faults;
mod flow;
mod forms;
mod hooks;
mod log;
mod outage;
mod peer;
mod plans;
mod pooler;
mod providers;
mod schema;
mod secrets;
mod sources;
mod spool;
mod state;
mod tls;
mod upgrade;
mod version;
