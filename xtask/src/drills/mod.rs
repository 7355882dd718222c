//! The runs that are started by hand. Each has its own private cluster.
//!
//! - [`demo`]: the emulated providers, live, and the proof
//! - [`soak`]: the same for a long time, to see that nothing grows
//! - [`outage`]: Postgres goes away while webhooks arrive
//! - [`chaos`]: the whole while its parts fail, in cycles
//! - [`fuzz`]: the fuzz targets, each for a while
//! - [`sqlsmith`]: SQL at random against the extension

pub(crate) mod chaos;
pub(crate) mod demo;
pub(crate) mod fuzz;
pub(crate) mod outage;
pub(crate) mod soak;
pub(crate) mod sqlsmith;
