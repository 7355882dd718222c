//! What every part of the process needs: its end, its log and its numbers.

pub(crate) mod backoff;
pub(crate) mod drain;
pub(crate) mod exit;
pub(crate) mod gauges;
pub(crate) mod log;
pub(crate) mod metric;
