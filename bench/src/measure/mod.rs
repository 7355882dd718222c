//! The parts of a figure: time, CPU, WAL, and the statistics of rounds.

pub(crate) mod cpu;
pub(crate) mod meter;
pub(crate) mod stats;
