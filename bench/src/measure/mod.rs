//! What a figure is made of: time, CPU, WAL, and the statistics of rounds.

pub(crate) mod cpu;
pub(crate) mod meter;
pub(crate) mod stats;
