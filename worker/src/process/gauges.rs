//! Gauges of the process as the system sees it: its memory, its file descriptors.

use std::fs;

use metrics::gauge;
use rustix::process::{Resource, getrlimit};

use super::metric;

/// Sets the gauges of the process, as far as the system reports the values.
pub(crate) fn count() {
    if let Some(bytes) = resident() {
        gauge!(metric::PROCESS_MEMORY).set(bytes as f64);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        gauge!(metric::PROCESS_FDS).set(open.count() as f64);
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        gauge!(metric::PROCESS_MAX_FDS).set(most as f64);
    }
}

fn resident() -> Option<usize> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = pages.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_of_the_process() {
        assert!(resident().is_some_and(|bytes| bytes > 1 << 20));
    }
}
