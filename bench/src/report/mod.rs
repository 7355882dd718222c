//! The figures of a run, as JSON in target/bench and as BENCHMARKS.md.

pub(crate) mod machine;
pub(crate) mod notes;
pub(crate) mod page;
pub(crate) mod results;
