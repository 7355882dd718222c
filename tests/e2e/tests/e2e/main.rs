//! One binary, so that everything is linked once and runs side by side.

mod crash;
mod drain;
mod dump;
mod hooks;
mod log;
mod providers;
mod readme;
mod sources;
mod version;
