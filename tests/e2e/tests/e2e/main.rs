//! One binary, so that everything is linked once and runs side by side.

mod clock;
mod consumers;
mod crash;
mod documents;
mod drain;
mod dump;
mod hooks;
mod log;
mod plans;
mod providers;
mod sources;
mod state;
mod upgrade;
mod version;
