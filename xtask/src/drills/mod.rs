//! The runs that are started by hand. Each has its own private cluster.
//!
//! - [`demo`]: the emulated providers, live, and the proof
//! - [`soak`]: the same for a long time, to see that nothing grows
//! - [`outage`]: Postgres goes away while webhooks arrive
//! - [`strangers`]: those who call and never ask, for long
//! - [`overload`]: more webhooks than Postgres takes
//! - [`chaos`]: the whole while its parts fail, in cycles
//! - [`fuzz`]: the fuzz targets, each for a while
//! - [`sqlsmith`]: SQL at random against the extension

pub(crate) mod chaos;
pub(crate) mod demo;
pub(crate) mod fuzz;
pub(crate) mod outage;
pub(crate) mod overload;
pub(crate) mod soak;
pub(crate) mod sqlsmith;
pub(crate) mod strangers;
