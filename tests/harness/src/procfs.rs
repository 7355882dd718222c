//! Resource use of a process, from /proc.

use anyhow::{Context as _, Result};
use std::fs;

/// Resource use of a process at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident, in bytes.
    pub resident: u64,
    /// The most that was ever resident, in bytes.
    pub peak: u64,
    /// Resident and its own: without files and memory that others have too, such as a
    /// server's shared buffers.
    pub private: u64,
    pub threads: u64,
    pub descriptors: u64,
}

impl Usage {
    pub fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}");
        let status = fs::read_to_string(format!("{path}/status"))
            .with_context(|| format!("cannot read {path}/status"))?;
        let descriptors = fs::read_dir(format!("{path}/fd"))
            .with_context(|| format!("cannot read {path}/fd"))?
            .count();
        Ok(Self {
            descriptors: u64::try_from(descriptors)?,
            ..Self::read(&status).with_context(|| format!("{path}/status is not as documented"))?
        })
    }

    /// From `/proc/<pid>/status`; sizes stand there in kB.
    fn read(status: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        Some(Self {
            resident: field("VmRSS:")? * 1024,
            peak: field("VmHWM:")? * 1024,
            private: field("RssAnon:")? * 1024,
            threads: field("Threads:")?,
            descriptors: 0,
        })
    }
}

/// The processes whose parent this one is.
pub fn children(parent: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot list processes")? {
        let entry = entry?;
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // Gone meanwhile.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        if parent_of(&stat) == Some(parent) {
            children.push(pid);
        }
    }
    Ok(children)
}

/// `pid (name) state ppid ..`, where the name may hold anything.
fn parent_of(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(parent_of("12 (postgres) S 34 12 12"), Some(34));
        assert_eq!(parent_of("12 (a) S 9 (b) T 34 12 12"), Some(34));
        assert_eq!(parent_of("12"), None);
    }

    #[test]
    fn this_process_is_seen() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(
            usage.resident > 0 && usage.peak >= usage.private,
            "{usage:?}"
        );
        assert!(usage.threads >= 1 && usage.descriptors >= 3, "{usage:?}");
    }

    #[test]
    fn sizes_are_bytes() {
        let status = "Name:\tx\nVmHWM:\t  12 kB\nVmRSS:\t  10 kB\nRssAnon:\t 4 kB\nThreads:\t3\n";
        let usage = Usage::read(status).unwrap();
        assert_eq!(
            (usage.resident, usage.peak, usage.private),
            (10_240, 12_288, 4_096)
        );
        assert_eq!(usage.threads, 3);
        assert_eq!(Usage::read("VmRSS: x kB"), None);
    }
}
