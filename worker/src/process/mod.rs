//! The parts that the whole process shares: its end, its log and its metrics.

pub(crate) mod backoff;
pub(crate) mod drain;
pub(crate) mod exit;
pub(crate) mod gauges;
pub(crate) mod log;
pub(crate) mod metric;
pub(crate) mod receipt;
pub(crate) mod reload;
pub(crate) mod seldom;
